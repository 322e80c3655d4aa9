"""The vectors of a whole catalogue, computed in chunks of rows; used by the two-tower models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

ROWS_AT_ONCE = 2**17  # Rows whose parts (text, ids, categories) are held at a time: 64 MB of each that is 128 wide.


def in_chunks(vectors_of: Callable[[Any], Any], items: int) -> Any:
    """Float [I, D], all that `vectors_of` makes of int [N] rows, a chunk of them at a time."""
    starts = range(0, items, ROWS_AT_ONCE)
    return tf.concat([vectors_of(tf.range(start, min(start + ROWS_AT_ONCE, items))) for start in starts], axis=0)


def unit(vectors: Any) -> Any:
    """Vectors of length 1; the zero vector stays."""
    return vectors * tf.math.rsqrt(tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True) + 1e-9)
