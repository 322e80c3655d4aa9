"""The projection of texts: what is alike in the text model stays alike, and nothing stays nothing."""

import keras
import numpy as np

from tfrec.towers.text_projection import TextProjection

RNG = np.random.default_rng(0)
GROUPS = RNG.normal(size=(3, 16))
# Sixty texts of three kinds in a narrow cone, as text models give them: each cosine is near 1.
VECTORS = 8 + np.repeat(GROUPS, 20, axis=0) + 0.3 * RNG.normal(size=(60, 16))
VECTORS = np.concatenate([np.zeros((1, 16)), VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)]).astype("f4")


def fitted(dim=4):
    layer = TextProjection(dim)
    layer.build((None, 16))
    layer.fit(VECTORS)
    return layer


def test_a_fitted_projection_tells_kinds_apart_that_the_text_model_crowds_together():
    mapped = fitted()(VECTORS).numpy()[1:]
    same = np.repeat(np.arange(3), 20)[:, None] == np.repeat(np.arange(3), 20)
    crowded = VECTORS[1:] @ VECTORS[1:].T
    assert crowded[~same].mean() > 0.9
    cosines = mapped @ mapped.T
    assert cosines[same].mean() > 0.7
    assert cosines[~same].mean() < 0.1


def test_vectors_have_length_one_and_nothing_stays_nothing():
    lengths = np.linalg.norm(fitted()(VECTORS).numpy(), axis=1)
    np.testing.assert_allclose(lengths, [0] + [1] * 60, atol=1e-4)


def test_more_dimensions_than_the_vectors_have_are_filled():
    layer = fitted(dim=40)
    assert np.isfinite(layer(VECTORS).numpy()).all()
    assert (np.abs(layer.kernel.numpy()).max(axis=0) > 0).all()


def test_one_text_or_none_says_nothing_of_directions():
    for vectors in (VECTORS[:1], VECTORS[:2]):
        layer = TextProjection(4)
        layer.build((None, 16))
        before = layer.kernel.numpy()
        layer.fit(vectors)
        np.testing.assert_array_equal(layer.kernel.numpy(), before)


def test_a_catalogue_of_any_size_is_read_in_parts(monkeypatch):
    whole = fitted()
    monkeypatch.setattr("tfrec.towers.text_projection._ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(fitted()(VECTORS), whole(VECTORS), atol=1e-4)


def test_it_is_rebuilt_from_its_config():
    layer = fitted()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.dim == layer.dim
