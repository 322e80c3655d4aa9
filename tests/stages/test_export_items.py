"""The stage `export` with a table of items: what is ranked, what is left alone, and what later commands make of it."""

import dataclasses
import importlib
import json
import logging
import shutil
import types

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import build, cli, config, serving, stages
from tfrec.stages import train
from tfrec.stages.fit import CHECKPOINTS, compiled
from tfrec.stages.prepare import open_dataset
from tfrec.stages.train import _save

RUN = importlib.import_module("tfrec.stages.run")  # `tfrec.stages.run` is the function.
EVERY = 40  # More items than there are: an answer holds all that may be recommended.


def perform_without_training(run, key):
    """The stage `train` but for the epochs: a model whose weights tell items apart."""
    model = compiled(run, open_dataset(run), 1)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    run.path(CHECKPOINTS).mkdir()
    run.finish("train", key, _save(run, model), best_epoch=1, history=[{"val_ndcg@10": 0.5}])


def settings(folder, *changes):
    overrides = [*changes, f"export.k_max={EVERY}", f"export.base_path={folder / 'served'}"]
    return config.load(folder / "shop" / "tiny.yaml", overrides)


def go(folder, only, items=None):
    stages.run(settings(folder), folder / "run", only=only, items=items)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the tables and a run that is trained and exported."""
    folder = tmp_path_factory.mktemp("trained")
    tiny_shop.write(folder / "shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TFREC_DATA", raising=False)
        go(folder, "prepare")
        patch.setitem(RUN.STAGES, "train", dataclasses.replace(RUN.STAGES["train"], perform=perform_without_training))
        go(folder, "train")
    go(folder, "export")
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy that a test may change; the tables stay where the pipeline names them."""
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.delenv("TFREC_DEBUG", raising=False)
    monkeypatch.setattr(logging.getLogger("tfrec"), "level", logging.INFO)
    shutil.copytree(trained, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


def files(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def catalogue(folder, *new, old=None):
    """Write a table: some of the old items, and new ones given as (sku, name, family)."""
    frame = pd.DataFrame(new, columns=["sku", "name", "family"])
    path = folder / "new.csv"
    pd.concat([tiny_shop.items() if old is None else old, frame]).to_csv(path, index=False)
    return path


def scores(version, *histories):
    """Item id -> score, for each history."""
    found = serving.load(version).recommend([list(history) for history in histories], EVERY)
    return [found[found["row"] == row].set_index("item_id")["score"] for row in range(len(histories))]


def ledger(folder):
    return json.loads((folder / "run" / "stages.json").read_text())


def test_new_items_are_ranked_and_nothing_else_is_touched(folder):
    untouched = [folder / "run" / "dataset", folder / "run" / CHECKPOINTS, folder / "run" / "export" / "1"]
    before = [files(path) for path in untouched]
    kept = tiny_shop.items().iloc[10:]
    go(folder, "export", catalogue(folder, ("twin", "跑步 👟", "family 2"), old=kept))
    assert [files(path) for path in untouched] == before
    old, wide = (folder / "run" / "export" / version for version in ("1", "2"))
    histories = ["003", "012"], ["twin", "015"], []  # 003 is gone.
    found = scores(wide, *histories)
    assert all(set(later.index) <= {*kept["sku"], "twin"} for later in found)
    first, second, nobody = found
    earlier = scores(old, histories[0])[0].drop(tiny_shop.items()["sku"][:10], errors="ignore")
    np.testing.assert_allclose(first[earlier.index], earlier, atol=1e-5)
    assert set(first.index) - set(earlier.index) == {"030", "twin"}
    np.testing.assert_allclose(first["twin"], first["030"], atol=1e-6)  # The cold item of its family.
    assert "twin" not in second and "twin" in nobody
    assert (scores(wide, ["003"])[0] - nobody).abs().max() > 0.01  # It still speaks in histories.
    assert serving.load(wide).items[["twin", "003"]].tolist() == ["跑步 👟", "跑步鞋"]


@pytest.mark.long
def test_the_table_may_go_before_the_version_is_published(folder, caplog):
    caplog.set_level(logging.INFO, "tfrec")
    path = catalogue(folder, ("n", "New", "family 1"))
    go(folder, "export", path)
    caplog.clear()
    go(folder, "export", path.rename(folder / "same.csv"))
    assert "export: done before, nothing to do" in caplog.messages
    (folder / "same.csv").unlink()
    go(folder, "publish")
    go(folder, "publish")
    assert caplog.messages[-1] == "publish: done before, nothing to do"
    published = serving.load(folder / "served" / "tiny")
    assert published.version == 2 and "n" in scores(published.folder, ["003"])[0]
    assert published.manifest["catalogue"]["path"] == str(path)


def test_data_set_and_weights_are_taken_as_they_are(folder, trained):
    """The pipeline's own table of items is what changes day by day; the next run, not this export, is for training."""
    table = trained / "shop" / "items.csv"
    sound = table.read_bytes()
    try:
        pd.concat([tiny_shop.items(), pd.DataFrame([{"sku": "n", "name": "N", "family": "family 1"}])]).to_csv(
            table, index=False
        )
        with pytest.raises(ValueError, match="`export` needs the stage `prepare`"):
            go(folder, "export")
        go(folder, "export", table)
        go(folder, "publish")
    finally:
        table.write_bytes(sound)
    assert "n" in scores(folder / "served" / "tiny", ["003"])[0]
    with pytest.raises(ValueError, match="`export` needs the stage `train`, which is not done under these settings"):
        stages.run(settings(folder, "model.dim=4"), folder / "run", only="export", items=table)


@pytest.mark.long
def test_an_export_without_the_table_goes_back_and_says_so(folder, caplog):
    path = catalogue(folder, ("n", "New", "family 1"))
    go(folder, "export", path)
    assert ledger(folder)["export"]["catalogue"]["path"] == str(path)
    go(folder, "export")
    said = f"export: the pipeline's own items again; `tfrec export` with --items {path} brings back those"
    assert caplog.messages.count(said) == 1
    assert "catalogue" not in ledger(folder)["export"]
    assert "n" not in scores(folder / "run" / "export" / "3", ["003"])[0]
    caplog.clear()
    go(folder, "export", path)
    assert "n" in scores(folder / "run" / "export" / "4", ["003"])[0]
    assert "own items again" not in caplog.text


@pytest.mark.long
def test_a_changed_table_is_exported_anew(folder):
    path = catalogue(folder, ("n", "New", "family 1"))
    go(folder, "export", path)
    go(folder, "export", catalogue(folder, ("m", "Newer", "family 1")))
    assert {"m"} == set(scores(folder / "run" / "export" / "3", ["003"])[0].index) - set(tiny_shop.items()["sku"])


def test_a_table_without_new_items_chooses_among_the_old(folder):
    go(folder, "export", catalogue(folder, old=tiny_shop.items().iloc[:4]))
    (answer,) = scores(folder / "run" / "export" / "2", ["003", "017"])
    assert set(answer.index) == {"000", "001", "002"}


SOUND = tiny_shop.items().to_csv(index=False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "there is no file"),
        ("", "is empty"),
        ("sku,name,family\n", "is empty"),
        (SOUND.replace("family", "kind", 1), "has no column 'family'"),
        (SOUND + "003,another,family 3\n", "item_id '003' has two rows"),
        (SOUND.replace("\n0", "\nx0"), "such as 'x000', is known to training, which has '000'"),
        (SOUND + ",nameless,family 1\n", "ids are missing"),
        ("sku,name,family\n030,x,\n", "No item of the table 'items' has a text or a feature"),
    ],
)
def test_tables_that_are_refused_cost_nothing(folder, capsys, text, told):
    path = folder / "new.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    before = files(folder)
    call = ["export", folder / "shop" / "tiny.yaml", "--out", folder / "run", "--items", path]
    call += ["--set", f"export.k_max={EVERY}", "--set", f"export.base_path={folder / 'served'}"]
    capsys.readouterr()
    assert cli.main(list(map(str, call))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("tfrec: error: ")] == lines[-1:]
    assert told in lines[-1]
    assert files(folder) == before


def test_a_failed_export_costs_nothing(folder, monkeypatch):
    before = files(folder / "run")

    def fail(*arguments, **options):
        raise ValueError("not finite")

    monkeypatch.setattr(serving, "export", fail)
    with pytest.raises(ValueError, match="not finite"):
        go(folder, "export", catalogue(folder, ("n", "New", "family 1")))
    assert files(folder / "run") == before


def test_another_stage_takes_no_table(folder):
    for only in (None, "publish"):
        with pytest.raises(ValueError, match="`items` is for the stage `export` alone; received 'new.csv' with"):
            go(folder, only, "new.csv")


def test_the_text_model_of_the_run_embeds_what_is_new(folder, monkeypatch):
    asked = []
    encoder = types.SimpleNamespace(embed=asked.append)
    monkeypatch.setattr(train, "text_encoder", lambda run: encoder)

    def stand_in(model, data, items, text):
        text(["a", "b"])
        return model, data

    monkeypatch.setattr(build, "with_items", stand_in)
    go(folder, "export", catalogue(folder))
    assert asked == [["a", "b"]]
