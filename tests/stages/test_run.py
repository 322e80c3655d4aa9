"""Which stages run: all of them once, then exactly those that a change reaches. The work itself is stood in for."""

import dataclasses
import importlib
import json
import os
import shutil

import pytest

from tests import tiny_shop
from tfrec import config, stages
from tfrec.stages.ledger import Run

RUN = importlib.import_module("tfrec.stages.run")  # `tfrec.stages.run` is the function.
AFTER_PREPARE = ["train", "evaluate", "export", "publish"]


@pytest.fixture
def log(monkeypatch):
    """What was performed; all but `prepare` leave a file and a version, and do nothing else."""
    performed, versions = [], iter(range(1, 100))

    def stand_in(name, stage):
        def perform(run, key):
            performed.append(name)
            if name == "prepare":
                stage.perform(run, key)
                return
            run.begin(name)
            run.path(f"{name}.txt").write_text(name)
            run.finish(name, key, [run.path(f"{name}.txt")], version=next(versions))

        kept = stage if name == "prepare" else dataclasses.replace(stage, complete=lambda run: True)
        return dataclasses.replace(kept, perform=perform)

    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setattr(RUN, "STAGES", {name: stand_in(name, stage) for name, stage in RUN.STAGES.items()})
    return performed


@pytest.fixture
def folder(tmp_path):
    tiny_shop.write(tmp_path / "shop")
    return tmp_path


def go(folder, *overrides, only=None, name="tiny"):
    settings = config.load(folder / "shop" / f"{name}.yaml", overrides)
    return stages.run(settings, folder / "run", only=only)


def repeated(log, folder, *overrides):
    """What a second run does."""
    log.clear()
    go(folder, *overrides)
    return list(log)


def everything(folder):
    return {path: path.read_bytes() for path in sorted((folder / "run").rglob("*")) if path.is_file()}


def test_every_stage_is_done_once(log, folder, caplog):
    caplog.set_level("INFO", "tfrec")
    assert go(folder) == folder / "run"
    assert log == list(config.STAGES)
    before = everything(folder)
    assert repeated(log, folder) == []
    assert everything(folder) == before
    assert "train: done before, nothing to do" in caplog.messages


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ("evaluation.cutoffs=[3]", ["evaluate"]),
        ("evaluation.depth=11", ["evaluate"]),
        ("export.k_max=3", ["export", "publish"]),
        ("export.keep=1", ["publish"]),
        ("export.base_path=elsewhere", ["publish"]),
        ("model.dim=4", AFTER_PREPARE),
        ("model.text=/some/preset", AFTER_PREPARE),
        ("training.epochs=1", AFTER_PREPARE),
        ("seed=4", AFTER_PREPARE),
        ("data.max_length=5", ["prepare", *AFTER_PREPARE]),
        ("data.split={kind: time, validation_from: 70%, test_from: 85%}", ["prepare", *AFTER_PREPARE]),
    ],
)
def test_a_changed_setting_repeats_what_depends_on_it(log, folder, change, reached):
    go(folder)
    assert repeated(log, folder, change) == reached
    assert repeated(log, folder, change) == []


def test_changed_content_repeats_everything(log, folder):
    go(folder)
    os.utime(folder / "shop" / "events.csv", (1, 1))
    assert repeated(log, folder) == []
    with open(folder / "shop" / "events.csv", "a", encoding="utf-8") as file:
        file.write("new,001,1700000000,buy\n")
    assert repeated(log, folder) == list(config.STAGES)


def test_a_changed_list_of_cold_items_repeats_everything(log, folder):
    cold = folder / "shop" / "cold.csv"
    cold.write_text("item_id\n001\n")
    go(folder, "data.cold_items=cold.csv")
    cold.write_text("item_id\n002\n")
    assert repeated(log, folder, "data.cold_items=cold.csv") == list(config.STAGES)
    assert repeated(log, folder, "data.cold_items_validation=cold.csv") == list(config.STAGES)


def test_changed_weights_of_a_local_text_model_train_anew(log, folder):
    preset = folder / "preset"
    preset.mkdir()
    (preset / "model.weights.h5").write_bytes(b"one")
    go(folder, f"model.text={preset}")
    (preset / "model.weights.h5").write_bytes(b"two")
    assert repeated(log, folder, f"model.text={preset}") == AFTER_PREPARE


def test_tables_that_moved_are_the_same_tables(log, folder):
    go(folder)
    shutil.copytree(folder / "shop", folder / "moved")
    assert repeated(log, folder, f"data.root={folder / 'moved'}") == []


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("dataset/items.parquet", ["prepare"]),
        ("dataset/manifest.json", ["prepare"]),
        ("dataset/users-00001-of-00002.tfrecord", ["prepare"]),
        ("train.txt", ["train"]),
        ("evaluate.txt", ["evaluate"]),
        ("export.txt", ["export", "publish"]),  # The new version is published.
        ("publish.txt", ["publish"]),
    ],
)
@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_a_damaged_file_repeats_its_stage_and_is_named(log, folder, caplog, name, reached, damage):
    go(folder)
    path = folder / "run" / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "torn":
        path.write_bytes(whole[: len(whole) // 2])
        told = f"{path} has {len(whole) // 2} bytes instead of {len(whole)}"
    else:
        told = f"{path} is missing"
    assert repeated(log, folder) == reached
    assert f"{reached[0]}: done before, but {told}: it is done again" in caplog.messages
    caplog.clear()
    assert repeated(log, folder) == []
    assert caplog.messages == []
    assert name.endswith("txt") or path.read_bytes() == whole


def test_a_damaged_file_of_the_stage_before_is_named(log, folder):
    go(folder)
    shard = folder / "run" / "dataset" / "users-00000-of-00002.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-40])
    with pytest.raises(ValueError) as told:
        go(folder, only="train")
    assert str(told.value) == (
        f"`train` needs the stage `prepare`, which is damaged: {shard} has {len(whole) - 40} bytes instead of "
        f"{len(whole)}. Run `tfrec prepare` first, or `tfrec run` for all."
    )
    with pytest.raises(ValueError, match="which is not done under these settings in"):  # Damaged or not.
        go(folder, "data.max_length=3", only="train")


def test_a_lost_ledger_repeats_everything(log, folder):
    go(folder)
    (folder / "run" / "stages.json").unlink()
    assert repeated(log, folder) == list(config.STAGES)


def test_a_strangers_file_in_the_data_set_is_not_lost(log, folder):
    go(folder)
    (folder / "run" / "dataset" / "notes.txt").write_text("mine")
    (folder / "run" / "dataset" / "manifest.json").unlink()
    with pytest.raises(ValueError, match="holds something else than a dataset"):
        go(folder)
    assert (folder / "run" / "dataset" / "notes.txt").read_text() == "mine"


def test_one_stage_alone_needs_those_before_it(log, folder):
    with pytest.raises(ValueError, match="`train` needs the stage `prepare`, which is not done under these settings"):
        go(folder, only="train")
    assert not (folder / "run").exists()
    go(folder, only="prepare")
    go(folder, only="train")
    with pytest.raises(ValueError, match="`publish` needs the stage `export`"):
        go(folder, only="publish")
    go(folder, only="export")  # Needs no figures.
    go(folder, only="publish")
    assert log == ["prepare", "train", "export", "publish"]


def test_a_refused_stage_leaves_the_run_as_it_was(log, folder):
    go(folder)
    before = everything(folder)
    for overrides, only in [(["model.dim=4"], "evaluate"), (["data.max_length=3"], "train")]:
        with pytest.raises(ValueError, match="is not done under these settings"):
            go(folder, *overrides, only=only)
    with pytest.raises(ValueError, match="`only` must be one of prepare, train, evaluate, export, publish, or None"):
        go(folder, only="deploy")
    assert everything(folder) == before


def test_a_table_that_cannot_be_read_leaves_the_run_as_it_was(log, folder):
    go(folder)
    before = everything(folder)
    sound = (folder / "shop" / "events.csv").read_text()
    (folder / "shop" / "events.csv").write_text(sound.replace("1700", "tomorrow", 1))
    with pytest.raises(ValueError, match="tomorrow"):
        go(folder)
    assert everything(folder) == before
    (folder / "shop" / "events.csv").write_text(sound)
    assert repeated(log, folder) == []


def test_a_first_stage_that_fails_leaves_nothing(log, folder):
    (folder / "shop" / "events.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"events\.csv"):
        go(folder)
    assert not (folder / "run").exists()


def test_a_stage_that_fails_is_not_done_and_the_others_are(log, folder, monkeypatch):
    go(folder)

    def fail(run, key):
        run.begin("train")
        raise ValueError("no weights")

    sound = RUN.STAGES["train"]
    monkeypatch.setitem(RUN.STAGES, "train", dataclasses.replace(sound, perform=fail))
    with pytest.raises(ValueError, match="no weights"):
        go(folder, "model.dim=4")
    ledger = json.loads((folder / "run" / "stages.json").read_text())
    assert sorted(ledger) == ["evaluate", "export", "prepare", "publish"]
    monkeypatch.setitem(RUN.STAGES, "train", sound)
    assert repeated(log, folder) == ["train"]


def test_a_crash_between_data_set_and_ledger_is_noticed(log, folder, monkeypatch):
    go(folder)
    finish = Run.finish

    def crash(run, stage, *rest, **figures):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "finish", crash)
    with pytest.raises(KeyboardInterrupt):
        go(folder, "data.max_length=3")
    monkeypatch.setattr(Run, "finish", finish)
    assert repeated(log, folder) == ["prepare"]
