"""Checkpoints: what they hold, what a crash between two files leaves, and what is said of a damaged one."""

import json
import os

import keras
import numpy as np
import pytest

from tfrec.training import TrainingCheckpoint


def new_model(units=3):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def attached(folder, model, **options):
    checkpoint = TrainingCheckpoint(folder, monitor="val_good", **options)
    checkpoint.set_model(model)
    return checkpoint


def play(checkpoint, figures, first=0):
    """Epochs with these figures; the weights of each are its number."""
    for epoch, figure in enumerate(figures, first):
        fill(checkpoint.model, epoch)
        checkpoint.on_epoch_end(epoch, {"val_good": np.float32(figure), "loss": 1.0})


def fill(model, value):
    for variable in [*model.weights, *model.optimizer.variables]:
        variable.assign(np.full(variable.shape, value, variable.dtype))


def first_weight(model):
    return float(np.asarray(model.weights[0].value).flat[0])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_state_comes_back_to_a_new_model(tmp_path):
    model = new_model()
    play(attached(tmp_path, model), [0.1, 0.5, 0.3])
    other, checkpoint = new_model(), TrainingCheckpoint(tmp_path, monitor="val_good")
    assert checkpoint.restore(other) == 3
    for left, right in zip(
        [*model.variables, *model.optimizer.variables], [*other.variables, *other.optimizer.variables], strict=True
    ):
        assert (np.asarray(left.value) == np.asarray(right.value)).all()
    assert [epoch["val_good"] for epoch in checkpoint.history] == pytest.approx([0.1, 0.5, 0.3])
    assert (checkpoint.best_epoch, checkpoint.stopped) == (1, False)
    checkpoint.restore_best(other)
    assert first_weight(other) == 1


def test_only_the_best_and_the_last_are_kept(tmp_path):
    play(attached(tmp_path, new_model()), [0.1, 0.2, 0.15])
    assert names(tmp_path) == ["best_2.npz", "last.npz"]


def test_patience_counts_from_the_best_epoch_and_a_tie_is_no_better(tmp_path):
    model = new_model()
    checkpoint = attached(tmp_path, model, patience=2)
    play(checkpoint, [0.5, 0.5])
    assert not checkpoint.stopped
    play(checkpoint, [0.4], first=2)
    assert checkpoint.stopped and model.stop_training
    assert checkpoint.best_epoch == 0


def test_a_figure_that_is_no_number_is_never_the_best(tmp_path):
    model = new_model()
    checkpoint = attached(tmp_path, model, patience=3)
    play(checkpoint, [np.nan, np.nan])
    assert names(tmp_path) == ["last.npz"]
    again = TrainingCheckpoint(tmp_path, monitor="val_good")
    assert again.restore(model) == 2
    again.restore_best(model)  # There is none: the last weights stay.
    assert first_weight(model) == 1
    play(checkpoint, [np.nan], first=2)
    assert checkpoint.stopped


@pytest.mark.parametrize("bad", ["loss", "weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_epoch_is_stopped_and_not_stored(tmp_path, bad, value):
    model = new_model()
    checkpoint = attached(tmp_path, model)
    play(checkpoint, [0.1])
    if bad == "weight":
        model.trainable_variables[0].assign(np.full(model.trainable_variables[0].shape, value))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    logs = {"val_good": 0.9, "loss": value if bad == "loss" else 1.0}
    told = rf"diverged in epoch 2: .*({value}|not finite)\. Lower training\.learning_rate, or set training\.clip_norm"
    with pytest.raises(ValueError, match=told):
        checkpoint.on_epoch_end(1, logs)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(checkpoint.history) == 1


def test_tables_that_do_not_change_are_not_stored(tmp_path):
    model, other = new_model(), new_model()
    for each in (model, other):
        object.__setattr__(each, "tables", [each.layers[0].bias])  # Not by Keras, which would track the list.
    play(attached(tmp_path, model), [0.1])
    stored = [np.load(tmp_path / name).files for name in ("last.npz", "best_1.npz")]
    assert [len([name for name in files if not name.startswith(("state", "optimizer"))]) for files in stored] == [2, 2]
    other.tables[0].assign(np.full(3, 7.0))
    checkpoint = TrainingCheckpoint(tmp_path, monitor="val_good")
    checkpoint.restore(other)
    checkpoint.restore_best(other)
    assert first_weight(other) == 0 and (np.asarray(other.tables[0].value) == 7).all()


def test_patience_is_asked_anew_where_a_training_goes_on(tmp_path):
    model = new_model()
    play(attached(tmp_path, model, patience=2), [0.5, 0.4, 0.3])
    for patience, stopped in ((None, False), (3, False), (2, True)):
        checkpoint = TrainingCheckpoint(tmp_path, monitor="val_good", patience=patience)
        checkpoint.restore(model)
        assert checkpoint.stopped == stopped


def test_a_training_that_is_longer_than_it_may_be_now(tmp_path):
    assert not TrainingCheckpoint(tmp_path, monitor="val_good", patience=1).overshoots(1)
    play(attached(tmp_path, new_model()), [0.5, 0.4, 0.3, 0.6])
    found = {
        (epochs, patience): TrainingCheckpoint(tmp_path, monitor="val_good", patience=patience).overshoots(epochs)
        for epochs in (3, 4, 5)
        for patience in (2, 3, None)
    }
    assert [case for case, longer in found.items() if not longer] == [(4, 3), (4, None), (5, 3), (5, None)]


def test_no_checkpoint_is_the_beginning(tmp_path):
    model = new_model()
    fill(model, 7)
    checkpoint = TrainingCheckpoint(tmp_path / "none", monitor="val_good")
    assert checkpoint.restore(model) == 0
    checkpoint.restore_best(model)
    assert first_weight(model) == 7


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_while_writing_leaves_the_epoch_before(tmp_path, monkeypatch, crash_at):
    """The first file of an epoch is the best one, the second the last one."""
    model = new_model()
    checkpoint = attached(tmp_path, model)
    play(checkpoint, [0.1])
    written, replace = [], os.replace

    def crash(source, target):
        written.append(target)
        if len(written) == crash_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        play(checkpoint, [0.9], first=1)
    monkeypatch.setattr(os, "replace", replace)
    resumed = attached(tmp_path, model)
    assert resumed.restore(model) == 1
    assert (resumed.best_epoch, len(resumed.history)) == (0, 1)
    resumed.restore_best(model)
    assert first_weight(model) == 0
    play(resumed, [0.05], first=1)
    assert names(tmp_path) == ["best_1.npz", "last.npz"]


@pytest.mark.parametrize(
    "damage", [b"", b"no archive", "half", "no state", "half a state"], ids=lambda damage: str(damage)
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, damage):
    model = new_model()
    play(attached(tmp_path, model), [0.1])
    path = tmp_path / "last.npz"
    if damage == "no state":
        np.savez(path, weight=np.zeros(3))
    elif damage == "half a state":
        np.savez(path, state=np.array(json.dumps({"history": []})[:-2]))
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    with pytest.raises(ValueError, match=r"last\.npz is damaged \(.*\)\. Remove the folder .* to train anew") as caught:
        TrainingCheckpoint(tmp_path).restore(model)
    assert "\n" not in str(caught.value)


def test_a_missing_best_epoch_is_named(tmp_path):
    model = new_model()
    checkpoint = attached(tmp_path, model)
    play(checkpoint, [0.1])
    (tmp_path / "best_1.npz").unlink()
    with pytest.raises(ValueError, match=r"best_1\.npz is damaged"):
        checkpoint.restore_best(model)


def test_another_models_checkpoint_is_refused(tmp_path):
    play(attached(tmp_path, new_model()), [0.1])
    other = new_model(units=4)
    fill(other, 7)
    with pytest.raises(ValueError, match=r"of another model: '.*' has the shape .*3.* there and .*4.* here"):
        TrainingCheckpoint(tmp_path).restore(other)
    assert first_weight(other) == 7


def test_a_figure_that_the_epoch_lacks_is_named(tmp_path):
    checkpoint = attached(tmp_path, new_model())
    with pytest.raises(ValueError, match="`monitor` 'val_good' is not in the epoch's figures: loss"):
        checkpoint.on_epoch_end(0, {"loss": 1.0})
    assert not names(tmp_path)


def test_patience_is_at_least_one_epoch(tmp_path):
    with pytest.raises(ValueError, match="`patience` must be 1 epoch or more, or None for never; received 0"):
        TrainingCheckpoint(tmp_path, patience=0)
