"""What the replicas of a step have in common, where a batch is divided among several; used by losses and steps.

Where there is one replica, every function gives back what it got: a training on one device is none the slower.
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
    """The same for several tensors at once, of which some may be None or `IndexedSlices`, such as gradients."""
    context, known = _together(), [value for value in values if value is not None]
    if context is None or not known:
        return list(values)
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
    return [None if value is None else next(summed) for value in values]


def share_of_mean(losses: Any) -> Any:
    """This replica's share, a scalar, of the mean of the losses of all, float [N] here; 0 where nobody has any.

    Shares, and gradients of them, are to be added up: every loss then counts alike, wherever it was computed.
    """
    count = total(tf.cast(tf.size(losses), tf.float32))
    return tf.math.divide_no_nan(tf.reduce_sum(losses), count)
