"""The normaliser of a softmax over many items, and its gradient, in few passes over the logits; used by the objectives.

TensorFlow's own cross-entropy takes two exponentials of each logit one by one, and 60 % of a training step on a CPU;
its softmax is vectorised, and is all that a gradient needs.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

IMPOSSIBLE = -1e9


def log_sum_exp(logits: Any) -> Any:
    """The logarithm of the summed exponentials of each row, float [N], of `logits` [N, C]."""

    @tf.custom_gradient
    def forward(logits: Any) -> Any:
        shares = tf.nn.softmax(logits)
        return _normalizer(logits, shares), lambda upstream: shares * upstream[:, None]

    return forward(logits)


def log_sum_exp_of_products(queries: Any, vectors: Any, masked: Any = None) -> Any:
    """The same for the products of queries and vectors, whose gradient then needs no matrix of its own.

    Args:
        queries: float [N, D].
        vectors: float [C, D].
        masked: products that do not take part: bool [N, C], or what makes of the products those without them; None =
            all do.

    Returns:
        float [N].
    """

    @tf.custom_gradient
    def forward(queries: Any, vectors: Any) -> Any:
        logits = tf.matmul(queries, vectors, transpose_b=True)
        logits = without(logits, masked)
        shares = tf.nn.softmax(logits)

        def gradient(upstream: Any) -> tuple[Any, Any]:
            weights = upstream[:, None]
            return tf.matmul(shares, vectors) * weights, tf.matmul(shares, queries * weights, transpose_a=True)

        return _normalizer(logits, shares), gradient

    return forward(queries, vectors)


def without(logits: Any, masked: Any) -> Any:
    """The logits, impossible where `masked`, as `log_sum_exp_of_products` takes it."""
    if masked is None:
        return logits
    return masked(logits) if callable(masked) else tf.where(masked, tf.constant(IMPOSSIBLE, logits.dtype), logits)


def without_pairs(logits: Any, pairs: Any) -> Any:
    """The logits, impossible at the places int64 [M, 2]; no other one is touched or copied."""
    none = tf.fill([tf.shape(pairs)[0]], tf.constant(IMPOSSIBLE, logits.dtype))
    return tf.tensor_scatter_nd_update(logits, pairs, none)


def _normalizer(logits: Any, shares: Any) -> Any:
    """The largest share is at least 1 / C, so that its logarithm is exact where a smaller one's would not be."""
    return tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(shares, axis=-1))
