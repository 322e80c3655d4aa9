"""Seeds of an epoch: a function of the run's seed and the epoch, another one for each generator."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfrec.training import EpochSeeds


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)])


def states(model, seed, epoch):
    """The states at the start of an epoch, and the epoch that the plan is set to."""
    plan = SimpleNamespace(epoch=-1)
    callback = EpochSeeds(plan, seed)
    callback.set_model(model)
    callback.on_epoch_begin(epoch)
    found = [np.asarray(v.value) for v in model.non_trainable_variables if v.name == "seed_generator_state"]
    return [tuple(state.tolist()) for state in found], plan.epoch


def test_the_plan_plays_the_epoch(model):
    assert states(model, 1, 7)[1] == 7


def test_every_generator_has_its_own_seed_in_every_epoch(model):
    found = [state for seed in (1, 2) for epoch in (0, 1) for state in states(model, seed, epoch)[0]]
    assert len(found) == 2 * 2 * 2
    assert len(set(found)) == len(found)


def test_what_was_drawn_before_does_not_matter(model):
    ones = np.ones((8, 4), "float32")
    before, _ = states(model, 5, 3)
    first = np.asarray(model(ones, training=True))
    other = np.asarray(model(ones, training=True))
    assert states(model, 5, 3)[0] == before
    assert (np.asarray(model(ones, training=True)) == first).all()
    assert (other != first).any()
