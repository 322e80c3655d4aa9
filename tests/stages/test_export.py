"""The stage `export`: which of the run's versions are left when a new one is there. The export is stood in for."""

import json

import pytest

from tests import tiny_shop
from tfrec import config, serving
from tfrec.stages import export
from tfrec.stages.ledger import Run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that exports an empty model each time it is asked."""
    monkeypatch.delenv("TFREC_DATA", raising=False)

    def stand_in(model, dataset, folder, **options):
        version = folder / str(1 + max((int(path.name) for path in folder.glob("[0-9]*")), default=0))
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_text("a model")
        return version

    monkeypatch.setattr(serving, "export", stand_in, raising=False)
    for name in ("open_model", "open_dataset", "_validation", "text_encoder"):
        monkeypatch.setattr(export, name, lambda run: None)
    return Run(config.load(tiny_shop.write(tmp_path / "shop"), ["export.keep=2"]), tmp_path / "run")


def test_the_newest_exports_are_kept(run):
    for number in range(1, 13):
        export.export_stage.perform(run, f"k{number}")
    assert sorted(path.name for path in run.path("export").iterdir()) == ["11", "12"]
    assert run.figures("export")["version"] == 12
    assert run.done("export", "k12")


def test_a_failed_export_costs_none(run, monkeypatch):
    for _ in range(2):
        export.export_stage.perform(run, "k")

    def fail(*arguments, **options):
        raise ValueError("not finite")

    monkeypatch.setattr(serving, "export", fail)
    with pytest.raises(ValueError, match="not finite"):
        export.export_stage.perform(run, "k")
    assert len(list(run.path("export").iterdir())) == 2


@pytest.fixture
def reading(run, monkeypatch):
    """The run with a text model; what its export was asked for."""
    asked = []

    def stand_in(model, dataset, encoder, folder, *, version, **options):
        asked.append({"encoder": encoder, **options})
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "saved_model.pb").write_text("a text model")
        return folder / str(version)

    plain = serving.export

    def numbered(*arguments, version, **options):
        folder = plain(*arguments)
        return folder.rename(folder.with_name(str(version)))

    monkeypatch.setattr(serving, "export", numbered)
    monkeypatch.setattr(serving, "export_text", stand_in, raising=False)
    monkeypatch.setattr(export, "text_encoder", lambda run: "an encoder")
    return asked


def test_a_text_model_takes_the_number_that_is_free_for_both(run, reading):
    published = run.path().parent / "shop" / "saved_models" / "tiny_text" / "6"
    published.mkdir(parents=True)
    for key in ("k1", "k2", "k3"):
        export.export_stage.perform(run, key)
    for name in ("export", "export_text"):
        assert sorted(path.name for path in run.path(name).iterdir()) == ["8", "9"]
    assert {path.parent.parent.name for path in run.files("export")} == {"export", "export_text"}
    assert run.figures("export") == {"version": 9, "text": True}
    assert reading[0].keys() == {"encoder", "k_max", "about", "options"}
    assert reading[0]["options"] == serving.ExportOptions(text_weight=4.0)


def test_a_text_model_can_be_left_out(run, reading, tmp_path, monkeypatch):
    other = Run(config.load(tmp_path / "shop" / "tiny.yaml", ["export.text_model=false"]), tmp_path / "run")
    run.path("export", "1").mkdir(parents=True)
    monkeypatch.setattr(serving, "export", lambda *arguments, version, **options: run.path("export", "1"))
    export.export_stage.perform(other, "k")
    assert other.figures("export") == {"version": 1, "text": False} and not reading


def test_a_text_model_that_fails_takes_its_model_with_it(run, reading, monkeypatch):
    export.export_stage.perform(run, "k1")

    def fail(*arguments, **options):
        raise ValueError("differs")

    monkeypatch.setattr(serving, "export_text", fail)
    with pytest.raises(ValueError, match="differs"):
        export.export_stage.perform(run, "k2")
    assert [path.name for path in run.path("export").iterdir()] == ["1"]
    assert run.done("export", "k1")


def test_vectors_are_stored_and_searched_as_the_pipeline_says(run, tmp_path, monkeypatch):
    changes = ["export.quantization=int8", "export.index=ivf", "export.recall=0.9"]
    other, asked = Run(config.load(tmp_path / "shop" / "tiny.yaml", changes), tmp_path / "run"), []
    run.path("export", "1").mkdir(parents=True)
    monkeypatch.setattr(
        serving, "export", lambda *arguments, options, **rest: asked.append(options) or run.path("export", "1")
    )
    export.export_stage.perform(other, "k")
    assert asked == [serving.ExportOptions("int8", "ivf", 0.9)]
    keys = {json.dumps(config.stage_settings(each.pipeline, "export")) for each in (run, other)}
    assert len(keys) == 2  # Another version is made where one of them changes.
