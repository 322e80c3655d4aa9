"""The stage `export`: which of the run's versions are left when a new one is there. The export is stood in for."""

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
    for name in ("open_model", "open_dataset", "_validation"):
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
