import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.retrieval.cycles import test_batch, two_tower
from tfrec.retrieval.temperature import LEAST, Temperature


def test_a_fixed_one_divides_and_does_not_train():
    layer = Temperature.of(0.25, "dot")
    np.testing.assert_allclose(layer(np.ones((2, 3), "float32")), 4)
    assert not layer.weights and layer.value == 0.25
    assert [Temperature.of(None, kind).value for kind in ("dot", "cosine")] == [1.0, 0.07]


def test_a_learnt_one_begins_as_the_fixed_one():
    layer = Temperature.of("learnt", "cosine")
    assert layer.value == pytest.approx(0.07) and len(layer.trainable_weights) == 1
    np.testing.assert_allclose(layer(np.ones((2, 3), "float32")), 1 / 0.07, rtol=1e-5)


def test_a_learnt_one_stays_at_the_least_or_above_and_comes_back_from_there():
    layer, optimizer = Temperature(2 * LEAST, learnt=True), keras.optimizers.SGD(1e-3)
    optimizer.build(layer.trainable_weights)

    def step(sign):
        with tf.GradientTape() as tape:
            loss = sign * tf.reduce_mean(layer(tf.ones((2, 3))))
        gradient = tape.gradient(loss, layer.log.value)
        optimizer.apply([gradient])
        return float(gradient), float(layer.log)

    down = [step(-1) for _ in range(20)]  # Larger scores are rewarded: it shrinks.
    assert min(log for _, log in down) == pytest.approx(math.log(LEAST))
    assert down[-1] == pytest.approx((1 / LEAST, math.log(LEAST)))  # At the bound, and the gradient is all there.
    assert step(1)[1] == pytest.approx(math.log(LEAST) + 1e-3 / LEAST)


def test_a_learnt_one_does_not_start_below_the_least():
    assert Temperature(LEAST / 2).value == LEAST / 2
    with pytest.raises(ValueError, match=r"A learnt `temperature` must start at 0.01 or above; received 0.005"):
        Temperature(LEAST / 2, learnt=True)


def test_a_model_learns_it_and_keeps_it(tmp_path):
    model, batch = two_tower(similarity="cosine", temperature="learnt"), test_batch()
    model.temperature.log.assign(-1.0)
    expected = model(batch).numpy()
    assert any(weight is model.temperature.log for weight in model.trainable_weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.temperature.value == pytest.approx(np.exp(-1.0)) and loaded.temperature.learnt
    np.testing.assert_allclose(loaded(batch).numpy(), expected, rtol=1e-5)
