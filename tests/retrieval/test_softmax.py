import numpy as np
import pytest
import tensorflow as tf

from tfrec.retrieval.softmax import log_sum_exp, log_sum_exp_of_products, without_pairs

RNG = np.random.default_rng(0)
QUERIES, VECTORS = RNG.normal(size=(5, 3)).astype("float32"), RNG.normal(size=(7, 3)).astype("float32")
WEIGHTS = RNG.normal(size=5).astype("float32")


def both(function, *arrays):
    """The values, and the gradients of their sum weighted by `WEIGHTS`."""
    tensors = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        values = function(*tensors)
        total = tf.reduce_sum(values * WEIGHTS)
    return [values.numpy(), *[gradient.numpy() for gradient in tape.gradient(total, tensors)]]


@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_log_sum_exp_is_tensorflows(scale):
    logits = scale * RNG.normal(size=(5, 7)).astype("float32")
    expected = both(lambda x: tf.reduce_logsumexp(x, axis=1), logits)
    for got, want in zip(both(log_sum_exp, logits), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masks", ["none", "all", "places"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_products_are_those_of_a_matrix(masks, scale):
    where = RNG.random((5, 7)) < 0.3
    pairs = np.repeat(np.argwhere(where), 2, axis=0)
    masked = {"none": None, "all": where, "places": lambda logits: without_pairs(logits, pairs)}[masks]

    def plainly(queries, vectors):
        logits = tf.matmul(queries, vectors, transpose_b=True)
        return tf.reduce_logsumexp(logits if masked is None else tf.where(where, -1e9, logits), axis=1)

    expected = both(plainly, scale * QUERIES, VECTORS)
    found = both(lambda queries, vectors: log_sum_exp_of_products(queries, vectors, masked), scale * QUERIES, VECTORS)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5 * scale, rtol=1e-5)


def test_a_row_that_is_all_masked_takes_no_part():
    masked = np.arange(5)[:, None] == np.array([2] * 7)
    values, to_queries, _ = both(lambda q, v: log_sum_exp_of_products(q, v, masked), QUERIES, VECTORS)
    assert values[2] < -1e8
    assert np.isfinite(to_queries).all()


def test_no_rows_are_no_loss():
    values = log_sum_exp_of_products(tf.zeros([0, 3]), tf.constant(VECTORS))
    assert values.shape == (0,)
