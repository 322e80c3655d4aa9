"""The stage `train`: whose checkpoints it goes on from, and that a failure before the first epoch costs nothing."""

import pytest

from tests import tiny_shop
from tfrec import config, stages
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.train import CHECKPOINTS, _clear_unless_mine, compiled, open_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    return tmp_path


def opened(folder, *overrides):
    return Run(config.load(tiny_shop.write(folder / "shop"), overrides), folder / "run")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def started(folder):
    """A run with the checkpoint of a training under the key k1."""
    run = opened(folder)
    run.begin("train")
    _clear_unless_mine(run, "k1")
    for name in (CHECKPOINTS, "tensorboard"):
        run.path(name).mkdir(exist_ok=True)
        run.path(name, "last.npz").write_bytes(b"123")
    return run


def test_the_checkpoints_of_this_training_stay(started):
    before = contents(started.out)
    _clear_unless_mine(started, "k1")
    assert contents(started.out) == before


def test_those_of_another_training_go(started):
    _clear_unless_mine(started, "k2")
    assert set(contents(started.out)) == {"config.yaml", "checkpoints/key"}
    assert started.path(CHECKPOINTS, "key").read_text() == "k2"


def test_half_removed_checkpoints_are_nobodys(started, monkeypatch):
    def crash(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.rmtree", crash)
        _clear_unless_mine(started, "k2")
    _clear_unless_mine(started, "k1")  # Back to the first settings: nothing may be taken for whole.
    assert not started.path(CHECKPOINTS, "last.npz").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.text=/no/such/preset", "'/no/such/preset' could not be loaded"),
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
    assert open_model(run).behavior_tower.encoders[0].compute_dtype == "bfloat16"


def test_a_damaged_model_says_what_to_do(started):
    started.path(CHECKPOINTS, "model.keras").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"model\.keras is damaged \(.+\)\. Remove it: it is made again") as caught:
        open_model(started)
    assert "\n" not in str(caught.value)
