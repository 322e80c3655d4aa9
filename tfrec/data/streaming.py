"""Batches from a generator as a `tf.data` pipeline; used by all that plays batches to `fit` and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

AHEAD = 2  # Batches that are made while a step is at work.


def streamed(
    play: Callable[[], Iterator[dict[str, np.ndarray]]], spec: Mapping[str, tf.TensorSpec], count: int
) -> tf.data.Dataset:
    """A data set whose passes are the `count` batches that `play()` yields, a few of them made ahead.

    `tf.data` tunes nothing about it. There is nothing to tune, and the thread that tunes sleeps up to a minute between
    two looks: on one core the end of a pass was seen to wait until it had slept (TensorFlow 2.21).
    """
    import tensorflow as tf

    data: Any = tf.data.Dataset.from_generator(play, output_signature=dict(spec))
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.apply(tf.data.experimental.assert_cardinality(count)).prefetch(AHEAD).with_options(options)
