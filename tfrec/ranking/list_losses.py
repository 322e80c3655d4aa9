"""What a second stage learns by: each candidate by itself, or the candidates of one position against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrec.ranking.heads import ranking_task

MASKED = -1e9


def list_loss(name: str) -> Callable[[Any, Any], Any]:
    """A loss of lists of candidates.

    Args:
        name: `softmax`, the cross-entropy of what came next among the candidates of its position (ListNet,
            Cao et al. 2007), a mean over positions; or `binary`, that of each candidate by itself, through
            `tfrs.tasks.Ranking`, a mean over candidates.

    Returns:
        (labels, logits), float32 [B, C], labels 1, 0 or NaN (no candidate) -> float32 [].

    Raises:
        ValueError: another name.
    """
    if name not in ("softmax", "binary"):
        raise ValueError(f"`loss` must be 'softmax' or 'binary'; received {name!r}.")
    if name == "softmax":
        return _softmax
    task = ranking_task(tf.nn.sigmoid_cross_entropy_with_logits)

    def binary(labels: Any, logits: Any) -> Any:
        known = tf.logical_not(tf.math.is_nan(labels))
        labels, logits = tf.boolean_mask(labels, known), tf.boolean_mask(logits, known)
        return task(labels, logits, tf.ones_like(labels))

    return binary


def _softmax(labels: Any, logits: Any) -> Any:
    known = tf.logical_not(tf.math.is_nan(labels))
    labels, logits = tf.where(known, labels, 0.0), tf.where(known, logits, MASKED)
    total = tf.reduce_sum(labels, axis=1)
    losses = tf.reduce_logsumexp(logits, axis=1) - tf.math.divide_no_nan(tf.reduce_sum(labels * logits, axis=1), total)
    counted = tf.cast(total > 0, logits.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * counted), tf.reduce_sum(counted))
