"""The stage `train`: whose checkpoints it goes on from, and that a failure before the first epoch costs nothing."""

import json
import logging
import warnings

import keras
import numpy as np
import pytest

from tests import tiny_shop
from tfrec import config, stages
from tfrec.stages.fit import CHECKPOINTS, _mark, clear_unless_mine, compiled
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.train import open_model
from tfrec.training import TrainingCheckpoint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    return tmp_path


def opened(folder, *overrides):
    return Run(config.load(tiny_shop.write(folder / "shop"), overrides), folder / "run")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def clear_unless(run, mark, patience=None):
    folders = (run.path(CHECKPOINTS), run.path("tensorboard"))
    checkpoint = TrainingCheckpoint(folders[0], patience=patience)
    clear_unless_mine(folders, mark, checkpoint, run.pipeline.training.epochs)


@pytest.fixture
def started(folder):
    """A run with the checkpoint of a training of three epochs under the mark k1."""
    run = opened(folder)
    run.begin("train")
    clear_unless(run, "k1")
    for name in (CHECKPOINTS, "tensorboard"):
        run.path(name).mkdir(exist_ok=True)
        history = [{"val_ndcg@10": figure} for figure in (0.3, 0.2, 0.1)]
        np.savez(run.path(name, "last.npz"), state=np.array(json.dumps({"history": history})))
    return run


def test_the_checkpoints_of_this_training_stay(started):
    before = contents(started.out)
    clear_unless(started, "k1")
    assert contents(started.out) == before


def test_those_of_another_training_go_and_it_is_said(started, caplog):
    with caplog.at_level(logging.INFO, "tfrec"):
        clear_unless(started, "k2")
        clear_unless(started, "k2")
    assert set(contents(started.out)) == {"config.yaml", "checkpoints/key"}
    assert started.path(CHECKPOINTS, "key").read_text() == "k2"
    folders = f"{started.path(CHECKPOINTS)} and {started.path('tensorboard')}"
    assert caplog.messages == [f"train: removing {folders}: of a training with other settings, data or text model"]


@pytest.mark.parametrize(("change", "patience"), [("training.epochs=2", None), ("training.epochs=9", 1)])
def test_those_of_a_training_that_is_too_long_now_go(started, folder, caplog, change, patience):
    clear_unless(opened(folder, change), "k1", patience)
    assert set(contents(started.out)) == {"config.yaml", "checkpoints/key"}
    assert "longer than epochs and patience now allow" in caplog.text


def test_a_new_run_removes_nothing(folder, caplog):
    run = opened(folder)
    run.begin("train")
    clear_unless(run, "k1")
    assert not caplog.messages


def test_half_removed_checkpoints_are_nobodys(started, monkeypatch):
    def crash(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.rmtree", crash)
        clear_unless(started, "k2")
    clear_unless(started, "k1")  # Back to the first settings: nothing may be taken for whole.
    assert not started.path(CHECKPOINTS, "last.npz").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.text=/no/such/preset", "'/no/such/preset' cannot be a text tower: there is no such folder"),
        ("model={behavior: lstm, dim: 8, time_features: true}", "time_features is true, and the events have no"),
    ],
)
def test_a_model_that_cannot_be_built_leaves_the_checkpoints(started, folder, change, told):
    columns = "data.events.columns={user_id: who, item_id: what, position: at, event_type: kind}"
    settings = opened(folder, columns, change).pipeline
    stages.run(settings, started.out, only="prepare")
    before = contents(started.out)
    with pytest.raises(ValueError, match=told):
        stages.run(settings, started.out, only="train")
    assert contents(started.out) == before


def test_the_model_of_a_pipeline_follows_from_its_settings(started, folder):
    run = opened(folder, "training.mixed_precision=true", "training.learning_rate=0.5", "training.warmup_steps=0")
    stages.run(run.pipeline, run.out, only="prepare")
    model = compiled(run, open_dataset(run), 3)
    assert float(model.optimizer.learning_rate) == 0.5
    assert model.behavior_tower.encoders[0].compute_dtype == "bfloat16"
    model.save(run.path(CHECKPOINTS, "model.keras"))
    assert keras.config.dtype_policy().name == "float32"
    assert open_model(run).behavior_tower.encoders[0].compute_dtype == "bfloat16"


def test_a_damaged_model_says_what_to_do(started):
    started.path(CHECKPOINTS, "model.keras").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"model\.keras is damaged \(.+\)\. Remove it: it is made again") as caught:
        open_model(started)
    assert "\n" not in str(caught.value)


def test_the_mark_is_what_an_epoch_computes(started, folder):
    stages.run(started.pipeline, started.out, only="prepare")

    def mark(*overrides):
        run = opened(folder, "training.warmup_steps=0", *overrides)
        return _mark(run, open_dataset(run), compiled(run, open_dataset(run), 10))

    first, cosine = mark(), "training.schedule=cosine"
    assert mark("training.epochs=9") == mark("training.patience=null") == first
    others = ["training.learning_rate=0.1", "seed=9", "model.dropout=0.1", "training.warmup_steps=1", cosine]
    assert len({first, *map(mark, others)}) == 1 + len(others)
    assert mark(cosine, "training.epochs=9") != mark(cosine)
    warmup = "training.warmup_steps=40"  # Cut to the ten steps of an epoch, however many epochs there are.
    assert mark(warmup, "training.epochs=2") == mark(warmup, "training.epochs=9") != first


@pytest.mark.slow
def test_more_epochs_go_on_from_the_last_and_end_as_at_once(folder):
    def trained(out, epochs):
        changes = ("training.warmup_steps=0", "training.patience=null", f"training.epochs={epochs}")
        pipeline = config.load(tiny_shop.write(folder / "shop"), changes)
        stages.run(pipeline, out, only="prepare")
        stages.run(pipeline, out, only="train")
        run = Run(pipeline, out)
        return open_model(run).get_weights(), [epoch["loss"] for epoch in run.figures("train")["history"]], run

    trained(folder / "twice", 2)
    first = trained(folder / "twice", 2)[2].figures("train")["history"]
    weights, losses, run = trained(folder / "twice", 4)
    assert run.figures("train")["history"][:2] == first  # Their seconds too: they were not computed again.
    at_once, undisturbed, _ = trained(folder / "once", 4)
    assert losses == undisturbed
    assert all((one == other).all() for one, other in zip(weights, at_once, strict=True))


@pytest.mark.slow
def test_a_training_that_diverges_is_an_error_without_warnings(started, folder):
    changes = ("training.learning_rate=1e38", "training.clip_norm=null", "training.warmup_steps=0")
    pipeline = opened(folder, *changes).pipeline
    stages.run(pipeline, started.out, only="prepare")
    with warnings.catch_warnings(), pytest.raises(ValueError, match="diverged in epoch 1: .* Lower training.learning"):
        warnings.simplefilter("error", RuntimeWarning)
        stages.run(pipeline, started.out, only="train")
    assert not list(started.path(CHECKPOINTS).glob("*.npz"))


def test_batches_are_not_what_is_evaluated(started):
    stages.run(started.pipeline, started.out, only="prepare")
    data = open_dataset(started)
    with pytest.raises(
        ValueError, match=r"`data` must be the data set, .*received .*Dataset\. Call tfrec\.evaluate\(mo"
    ):
        stages.evaluate(compiled(started, data, 3), data.test())
