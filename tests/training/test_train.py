"""A training that is interrupted, at any moment, ends as one that nothing disturbed, to the last bit."""

import keras
import numpy as np
import pytest

from tests import tiny_shop
from tfrec import build, config
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare
from tfrec.training import TrainingCheckpoint, train

EPOCHS, PATIENCE, SEED = 20, 2, 4


class Crash(Exception):
    """What interrupts."""


class CrashAt(keras.callbacks.Callback):
    """Raises at the start of an epoch, or after a batch of it."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.at, self.now = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch
        if self.at == (epoch, None):
            raise Crash

    def on_train_batch_end(self, batch, logs=None):
        if self.at == (self.now, batch):
            raise Crash


class Batches(keras.callbacks.Callback):
    """Notes the loss after each batch: it shows which batches came, and in which order."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_epoch_begin(self, epoch, logs=None):
        self.losses.append([])

    def on_train_batch_end(self, batch, logs=None):
        self.losses[-1].append(logs["loss"])


@pytest.fixture(scope="module")
def data():
    columns = EventColumns("who", "what", "at", event_type="kind")
    options = PrepareOptions(events=columns, items=ItemColumns("sku", ("name",), {"family": None}), max_length=6)
    return prepare(tiny_shop.events(), tiny_shop.items(), options=options)


def new_model(data, seed=SEED):
    """As a new process makes it: dropout in both towers, two encoders, an optimizer with moments and a schedule."""
    settings = config.change(config.Training(), {"schedule": "constant", "learning_rate": 0.02, "warmup_steps": 4})
    changes = {"dim": 8, "behavior": ["attention", "lstm"], "attention.blocks": 1, "dropout": 0.2, "input_dropout": 0.2}
    changes |= {"text": "none"}
    model = build.two_tower(data, training=settings, seed=seed, **changes)
    model.compile(optimizer=build.optimizer(settings))
    return model


def start(data, folder, callbacks=(), seed=SEED, epochs=EPOCHS):
    """Train a new model, on from what the folder holds; the model, its checkpoint and the history."""
    model, checkpoint = new_model(data, seed), TrainingCheckpoint(folder, patience=PATIENCE)
    plan = data.train_plan(128, seed)
    options = {"epochs": epochs, "seed": seed, "callbacks": callbacks, "verbose": 0}
    return model, checkpoint, train(model, plan, data.validation(), checkpoint, **options)


def values(variables):
    return [np.asarray(variable.value) for variable in variables]


def assert_same(left, right):
    assert [array.dtype for array in left] == [array.dtype for array in right]
    assert all(one.tobytes() == other.tobytes() for one, other in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    batches, folder = Batches(), tmp_path_factory.mktemp("undisturbed")
    return *start(data, folder, [batches]), batches.losses, folder


@pytest.mark.slow
def test_patience_ends_a_training_before_its_last_epoch(undisturbed):
    _, checkpoint, history, _, _ = undisturbed
    figures = [epoch["val_ndcg@10"] for epoch in history]
    assert checkpoint.stopped
    assert len(history) == checkpoint.best_epoch + 1 + PATIENCE < EPOCHS
    assert checkpoint.best_value == max(figures) == figures[checkpoint.best_epoch]


@pytest.mark.slow
def test_the_model_ends_with_the_weights_of_the_best_epoch(undisturbed, data):
    model, checkpoint, history, _, _ = undisturbed
    figures = model.evaluate(data.validation(), return_dict=True, verbose=0)
    assert figures["ndcg@10"] == pytest.approx(checkpoint.best_value, abs=1e-7)
    assert history[-1]["val_ndcg@10"] != pytest.approx(checkpoint.best_value, abs=1e-4)


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_undisturbed_one(undisturbed, data, tmp_path):
    model, checkpoint, history, losses, folder = undisturbed
    in_an_epoch, between_epochs = CrashAt(2, batch=1), CrashAt(len(history) - 1)
    with pytest.raises(Crash):
        start(data, tmp_path, [in_an_epoch])
    with pytest.raises(Crash):  # One epoch without a better figure is behind it: patience must remember it.
        start(data, tmp_path, [between_epochs])
    batches = Batches()
    resumed, restored, whole = start(data, tmp_path, [batches])
    assert whole == history
    assert batches.losses == losses[-1:]
    assert (restored.best_epoch, restored.best_value, restored.stopped) == (
        checkpoint.best_epoch, checkpoint.best_value, True,
    )  # fmt: skip
    assert_same(values(resumed.variables), values(model.variables))
    assert_same(values(resumed.optimizer.variables), values(model.optimizer.variables))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_training_that_is_over_is_only_restored(undisturbed, data):
    model, checkpoint, history, _, folder = undisturbed
    batches = Batches()
    again, restored, whole = start(data, folder, [batches])
    assert batches.losses == []
    assert (whole, restored.best_epoch, restored.stopped) == (history, checkpoint.best_epoch, True)
    assert_same(values(again.variables)[: len(model.weights)], values(model.variables)[: len(model.weights)])


@pytest.mark.slow
def test_another_seed_is_another_training(undisturbed, data, tmp_path):
    _, _, history, losses, _ = undisturbed
    batches = Batches()
    _, _, other = start(data, tmp_path, [batches], seed=SEED + 1, epochs=1)
    assert other[0]["loss"] != history[0]["loss"]
    assert len({epoch[0] for epoch in losses}) == len(losses)  # Nor is an epoch like another.


def test_the_initial_weights_follow_from_the_seed(data):
    first, same, other = (values(new_model(data, seed).trainable_weights) for seed in (1, 1, 2))
    assert_same(first, same)
    assert any((one != another).any() for one, another in zip(first, other, strict=True))


def test_no_epoch_at_all_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="`epochs` must be 1 or more; received 0"):
        start(data, tmp_path, epochs=0)
