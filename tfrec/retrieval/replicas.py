"""What the replicas of a step have in common, where a batch is divided among several; used by losses and steps.

Where there is one replica, each of them gives back what it got: a training on one device is none the slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def _together() -> Any:
    """The context of this replica where it is one of several, else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def total(value: Any) -> Any:
    """The sum of a tensor over all replicas."""
    context = _together()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def totals(values: Sequence[Any]) -> list[Any]:
    """The same for several tensors at once, of which some may be None or `IndexedSlices`, such as gradients.

    Slices of a batch's own rows are put one after the other, as those of the whole batch would be. Slices of all rows
    of the catalogue, which do not depend on the batch, are added up row by row: an optimizer that clips takes the norm
    of the slices, which is then that of one replica.
    """
    context = _together()
    parts = [value.values if _are_of_the_catalogue(value) else value for value in values]
    known = [part for part in parts if part is not None]
    if context is None or not known:
        return list(values)
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
    found = [None if part is None else next(summed) for part in parts]
    return [
        tf.IndexedSlices(each, value.indices, value.dense_shape) if _are_of_the_catalogue(value) else each
        for value, each in zip(values, found, strict=True)
    ]


def _are_of_the_catalogue(value: Any) -> bool:
    """Whether a gradient has slices whose number is known before any batch is: batches differ in theirs."""
    return isinstance(value, tf.IndexedSlices) and value.indices.shape.is_fully_defined()


def share_of_mean(losses: Any) -> Any:
    """This replica's share, a scalar, of the mean of the losses of all, float [N] here; 0 where nobody has any.

    Shares, and gradients of them, are to be added up: every loss then counts alike, wherever it was computed.
    """
    count = total(tf.cast(tf.size(losses), tf.float32))
    return tf.math.divide_no_nan(tf.reduce_sum(losses), count)
