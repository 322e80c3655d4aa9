"""The normaliser of a softmax over more items than there is memory for; used by the full softmax.

Logits are computed for a chunk of the items at a time, forth and, once more, back: time grows by a third, and memory no
longer with the product of positions and items. Source: checkpointing, Chen et al., arXiv:1604.06174, with the running
maximum of Milakov and Gimelshein, arXiv:1805.02867.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrec.retrieval.softmax import log_sum_exp_of_products, without

KEPT = 2**27  # Logits up to which all are held at once, 512 MB.
CHUNK = 2**25  # Else so many are, 128 MB.
# Vectors of which all logits are held whatever the number of positions: with them XLA has no choice to make.
FEW = 2**13

Masked = Callable[[Any, Any], Any]  # From start to stop -> the products that take no part; see `softmax`.


def bounded_log_sum_exp(queries: Any, vectors: Any, masked: Masked | None = None) -> Any:
    """What `log_sum_exp_of_products` is, float [N], in bounded memory, its gradient too.

    Args:
        queries: float [N, D].
        vectors: float [C, D].
        masked: which products of the vectors from a place up to another one take no part; None = all do.
    """
    count, positions = tf.shape(vectors)[0], tf.shape(queries)[0]

    def whole() -> Any:
        return log_sum_exp_of_products(queries, vectors, None if masked is None else masked(0, count))

    def parted() -> Any:
        return in_chunks(queries, vectors, masked, tf.maximum(CHUNK // tf.maximum(positions, 1), 1))

    if vectors.shape[0] is not None and vectors.shape[0] <= FEW:
        return whole()
    return tf.cond(tf.cast(count, tf.int64) * tf.cast(positions, tf.int64) <= KEPT, whole, parted)


def in_chunks(queries: Any, vectors: Any, masked: Masked | None, size: Any) -> Any:
    """The same, float [N], from the logits of `size` vectors at a time."""
    count, width = tf.shape(vectors)[0], vectors.shape[-1]
    starts = tf.range(0, count, size)

    def logits(start: Any) -> tuple[Any, Any]:
        """Some of the vectors, [c, D], and their products, [N, c]."""
        stop = tf.minimum(start + size, count)
        part = vectors[start:stop]
        products = tf.matmul(queries, part, transpose_b=True)
        return part, without(products, None if masked is None else masked(start, stop))

    @tf.custom_gradient
    def forward(queries: Any, vectors: Any) -> Any:
        def add(place: Any, largest: Any, total: Any) -> tuple[Any, Any, Any]:
            products = logits(starts[place])[1]
            top = tf.maximum(largest, tf.reduce_max(products, axis=-1))
            sums = tf.reduce_sum(tf.exp(products - top[:, None]), axis=-1)
            return place + 1, top, total * tf.exp(largest - top) + sums

        none = tf.zeros_like(queries[:, 0])
        largest, total = _loop(starts, add, none - float("inf"), none)

        def gradient(upstream: Any) -> tuple[Any, Any]:
            def back(place: Any, to_queries: Any, to_vectors: Any) -> tuple[Any, Any, Any]:
                part, products = logits(starts[place])
                weights = tf.exp(products - largest[:, None]) * (upstream / total)[:, None]
                written = to_vectors.write(place, tf.matmul(weights, queries, transpose_a=True))
                return place + 1, to_queries + tf.matmul(weights, part), written

            parts = tf.TensorArray(queries.dtype, tf.size(starts), infer_shape=False, element_shape=[None, width])
            to_queries, to_vectors = _loop(starts, back, tf.zeros_like(queries), parts)
            return to_queries, to_vectors.concat()

        return largest + tf.math.log(total), gradient

    return forward(queries, vectors)


def _loop(starts: Any, step: Callable[..., Any], *state: Any) -> Any:
    """The state after all steps, each of which begins when the one before has ended."""
    more = lambda place, *_: place < tf.size(starts)  # noqa: E731
    return tf.while_loop(more, step, (tf.constant(0), *state), parallel_iterations=1)[1:]
