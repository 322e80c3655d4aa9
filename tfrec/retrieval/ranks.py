"""Ranks inside the graph: removal of what may not be shown, and the metrics of a validation batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrec.features import PAD

# Far below every score, and finite: what bears it is listed last, not lost.
REMOVED = -1e9


def remove_seen(scores: Any, seen: Any, *barred: Any) -> Any:
    """Push seen rows and rows that are no candidates far below the others.

    Args:
        scores: float [B, I].
        seen: int [B, S] rows of each user's history, 0-padded; None = nothing was seen.
        *barred: int [X] each: rows that nobody is shown, the padding row among them; None = no more.

    Returns:
        float [B, I].
    """
    rows = tf.concat([part for part in barred if part is not None], axis=0)
    hidden = tf.scatter_nd(rows[:, None], tf.ones_like(rows), [tf.shape(scores)[1]]) > 0
    scores = tf.where(hidden[None, :], tf.constant(REMOVED, scores.dtype), scores)
    if seen is None:
        return scores
    users = tf.broadcast_to(tf.range(tf.shape(seen)[0])[:, None], tf.shape(seen))
    places = tf.reshape(tf.stack([users, tf.cast(seen, tf.int32)], axis=-1), [-1, 2])
    removed = tf.fill([tf.shape(places)[0]], tf.constant(REMOVED, scores.dtype))
    return tf.tensor_scatter_nd_update(scores, places, removed)


def ranking_metrics(scores: Any, relevant: Any, cutoff: int) -> dict[str, Any]:
    """HR, NDCG and MRR at `cutoff` of each user, binary relevance.

    Args:
        scores: float [B, I], what may not be shown far below the rest.
        relevant: int [B, R] distinct relevant rows, 0-padded.
        cutoff: k.

    Returns:
        `hr`, `ndcg`, `mrr`: float [B].
    """
    top = tf.math.top_k(scores, min(cutoff, scores.shape[-1] or cutoff))
    return list_metrics(tf.where(top.values > REMOVED / 2, top.indices, -1), relevant)


def list_metrics(shown: Any, relevant: Any) -> dict[str, Any]:
    """HR, NDCG and MRR of each user's list, binary relevance.

    Args:
        shown: int [B, k] rows, best first; -1 where the list is shorter.
        relevant: int [B, R] distinct relevant rows, 0-padded.

    Returns:
        `hr`, `ndcg`, `mrr`: float [B].
    """
    hits = tf.reduce_any((shown[:, :, None] == relevant[:, None, :]) & (relevant[:, None, :] != PAD), axis=-1)
    hits = tf.cast(hits, tf.float32)
    places = tf.range(1, tf.shape(shown)[1] + 1, dtype=tf.float32)
    discount = tf.math.log(2.0) / tf.math.log(places + 1.0)
    sizes = tf.reduce_sum(tf.cast(relevant != PAD, tf.float32), axis=1, keepdims=True)
    ideal = tf.reduce_sum(tf.where(places[None, :] <= sizes, discount[None, :], 0.0), axis=1)
    return {
        "hr": tf.reduce_max(hits, axis=1),
        "ndcg": tf.math.divide_no_nan(tf.reduce_sum(hits * discount, axis=1), ideal),
        "mrr": tf.reduce_max(hits / places, axis=1),
    }
