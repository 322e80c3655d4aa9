import keras
import numpy as np
import pytest

from tests.retrieval.cycles import test_batch, two_tower
from tfrec.retrieval.temperature import LEAST, Temperature


def test_a_fixed_one_divides_and_does_not_train():
    layer = Temperature.of(0.25, "dot")
    np.testing.assert_allclose(layer(np.ones((2, 3), "float32")), 4)
    assert not layer.weights and layer.value == 0.25
    assert [Temperature.of(None, kind).value for kind in ("dot", "cosine")] == [1.0, 0.07]


def test_a_learnt_one_begins_as_the_fixed_one_and_stays_positive():
    layer = Temperature.of("learnt", "cosine")
    assert layer.value == pytest.approx(0.07) and len(layer.trainable_weights) == 1
    np.testing.assert_allclose(layer(np.ones((2, 3), "float32")), 1 / 0.07, rtol=1e-5)
    layer.log.assign(-100.0)
    assert layer.value == LEAST
    np.testing.assert_allclose(layer(np.ones((2, 3), "float32")), 1 / LEAST, rtol=1e-5)


def test_a_model_learns_it_and_keeps_it(tmp_path):
    model, batch = two_tower(similarity="cosine", temperature="learnt"), test_batch()
    model.temperature.log.assign(-1.0)
    expected = model(batch).numpy()
    assert any(weight is model.temperature.log for weight in model.trainable_weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.temperature.value == pytest.approx(np.exp(-1.0)) and loaded.temperature.learnt
    np.testing.assert_allclose(loaded(batch).numpy(), expected, rtol=1e-5)
