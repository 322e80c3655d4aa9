"""Ranks inside the graph: removal of what may not be shown, the best of what is left, the metrics of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfrec.features import PAD, SEEN

# Scores that are held at a time, 128 MB, where the scores of so many users would take more.
SCORES_AT_ONCE, USERS_AT_ONCE = 2**25, 256

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


def best_of(
    scored: Callable[[Any, Mapping[str, Any]], Any], query: Any, features: Mapping[str, Any], *, items: int, k: int
) -> tuple[Any, Any]:
    """The k best rows int32 [B, k] and their scores [B, k], best first; of large catalogues a few users at a time.

    Args:
        scored: queries [b, D], and the features with `SEEN` of these users -> scores float [b, I].
        query: float [B, D].
        features: the batch; `SEEN`, int [B, S], where there is something seen.
        items: rows I of the catalogue.
        k: I at most.
    """

    def best(start: Any, stop: Any) -> tuple[Any, Any]:
        seen = {SEEN: features[SEEN][start:stop]} if features.get(SEEN) is not None else {}
        top = tf.math.top_k(scored(query[start:stop], {**features, **seen}), k)
        return top.indices, top.values

    users, size = tf.shape(query)[0], max(1, SCORES_AT_ONCE // items)
    if size >= USERS_AT_ONCE:
        return best(0, users)

    def step(place: Any, *parts: Any) -> tuple[Any, ...]:
        found = best(place * size, place * size + size)
        return place + 1, *(part.write(place, values) for part, values in zip(parts, found, strict=True))

    count = tf.maximum((users + size - 1) // size, 1)
    empty = [
        tf.TensorArray(kind, count, infer_shape=False, element_shape=[None, k]) for kind in (tf.int32, query.dtype)
    ]
    found = tf.while_loop(lambda place, *_: place < count, step, (0, *empty), parallel_iterations=1)
    return found[1].concat(), found[2].concat()


def ranking_metrics(rows: Any, scores: Any, relevant: Any) -> dict[str, Any]:
    """HR, NDCG and MRR of each user's best rows, binary relevance.

    Args:
        rows: int [B, k], best first.
        scores: float [B, k]; what may not be shown has one far below the rest.
        relevant: int [B, R] distinct relevant rows, 0-padded.

    Returns:
        `hr`, `ndcg`, `mrr`: float [B].
    """
    return list_metrics(tf.where(scores > REMOVED / 2, rows, -1), relevant)


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
