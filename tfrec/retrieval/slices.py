"""Sparse gradients: rows of a table, each with what it is to move by; used by steps and by the row-wise optimizer."""

from __future__ import annotations

import tensorflow as tf


def distinct_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with each row once."""
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)
