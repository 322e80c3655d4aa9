"""The benchmark that sets a mixture of logits beside the dot product scores as its paper says, and trains."""

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmark_scripts import script

DIM = 6


@pytest.fixture(scope="module")
def module():
    return script("mixture_of_logits")


@pytest.fixture
def mixture(module):
    layer = module.Mixture()
    layer.build(DIM)
    return layer


def test_a_score_is_the_gated_mean_of_the_products_of_unit_components(module, mixture):
    rng = np.random.default_rng(0)
    queries, items = (rng.normal(size=(rows, DIM)).astype("float32") for rows in (3, 4))
    scores = mixture(queries, items).numpy()

    def silu(x):
        return x / (1 + np.exp(-x))

    def gated(gate, x):
        (first, shift), (second, end) = ([weight.numpy() for weight in layer.weights] for layer in gate)
        return silu(x @ first + shift) @ second + end

    def components(layer, row):
        parts = (row @ layer.kernel.numpy()).reshape(module.COMPONENTS, module.COMPONENT_DIM)
        return parts / np.linalg.norm(parts, axis=1, keepdims=True)

    for row, query in enumerate(queries):
        for place, item in enumerate(items):
            products = (components(mixture.parts[0], query) @ components(mixture.parts[1], item).T).ravel()
            gate = sum(gated(one, x) for one, x in zip(mixture.gates, (query, item, products), strict=True))
            weights = np.exp(gate - gate.max()) / np.exp(gate - gate.max()).sum()
            assert scores[row, place] == pytest.approx((weights * products).sum() / module.TEMPERATURE, rel=1e-4)
    pairs = mixture(queries, items[:3], paired=True).numpy()
    np.testing.assert_allclose(pairs, np.diag(scores[:, :3]), rtol=1e-5)


def test_every_weight_of_it_learns(mixture):
    queries, items = (tf.random.stateless_normal((rows, DIM), (1, rows)) for rows in (3, 4))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.log_softmax(mixture(queries, items))[:, 0])
    gradients = tape.gradient(loss, mixture.trainable_weights)
    assert len(gradients) == 2 + 3 * 4
    assert all(float(tf.reduce_max(tf.abs(gradient))) > 0 for gradient in gradients)
