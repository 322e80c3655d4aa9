"""The normaliser in chunks is that of the whole matrix, and no chunk is larger than it may be."""

import numpy as np
import pytest
import tensorflow as tf

from tests.retrieval import cycles
from tests.retrieval.test_softmax import QUERIES, RNG, VECTORS, both
from tfrec.retrieval import FullSoftmax, chunked_softmax
from tfrec.retrieval.chunked_softmax import bounded_log_sum_exp, in_chunks
from tfrec.retrieval.softmax import log_sum_exp_of_products

MASK = RNG.random((5, 7)) < 0.3


@pytest.fixture
def small(monkeypatch):
    """Bounds that the tests' few logits exceed."""
    monkeypatch.setattr(chunked_softmax, "KEPT", 20)
    monkeypatch.setattr(chunked_softmax, "CHUNK", 15)
    monkeypatch.setattr(chunked_softmax, "FEW", 0)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_chunks_add_up_to_the_whole(size, masks, traced):
    part = (lambda start, stop: tf.constant(MASK)[:, start:stop]) if masks else None
    parted = tf.function(lambda queries, vectors: in_chunks(queries, vectors, part, size), autograph=False)
    expected = both(lambda *pair: log_sum_exp_of_products(*pair, MASK if masks else None), 9 * QUERIES, VECTORS)
    found = both(parted if traced else parted.python_function, 9 * QUERIES, VECTORS)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-4, rtol=1e-5)


def test_only_what_exceeds_the_bound_is_in_chunks(small):
    def asked(positions):
        ranges = []

        def masked(start, stop):
            ranges.append((int(start), int(stop)))
            return tf.zeros([positions, stop - start], tf.bool)

        bounded_log_sum_exp(tf.constant(QUERIES[:positions]), tf.constant(VECTORS), masked)
        return ranges

    assert asked(2) == [(0, 7)]
    assert asked(5) == [(0, 3), (3, 6), (6, 7)]


def gradients(model, batch):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    return [loss.numpy(), *(tf.convert_to_tensor(one).numpy() for one in tape.gradient(loss, model.trainable_weights))]


@pytest.mark.parametrize("unseen", [False, True])
def test_a_step_of_the_full_softmax_is_the_same_in_chunks(unseen, monkeypatch):
    trained = np.setdiff1d(cycles.ROWS, [3])
    batch = {name: np.where(rows == 3, 4, rows) for name, rows in cycles.train_batch().items()}
    model = cycles.two_tower(FullSoftmax(trained, unseen=unseen))
    whole = gradients(model, batch)
    for name, value in {"KEPT": 20, "CHUNK": 100, "FEW": 0}.items():
        monkeypatch.setattr(chunked_softmax, name, value)
    for got, want in zip(gradients(model, batch), whole, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_it_trains_in_chunks_in_a_graph(small):
    model = cycles.two_tower(FullSoftmax(cycles.ROWS, unseen=True))
    batches = cycles.as_dataset(*[cycles.train_batch(users=3 + seed, seed=seed) for seed in range(4)])
    losses = model.fit(batches, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_xla_has_all_logits_at_once(small):
    model = cycles.two_tower(FullSoftmax(cycles.ROWS))
    model.compile("adamw", jit_compile=True)
    assert np.isfinite(model.fit(cycles.as_dataset(cycles.train_batch()), verbose=0).history["loss"]).all()
