"""What a model must beat: popularity, co-occurrence with the last item, text neighbours of the last item. NumPy only.

Each ranks the whole catalogue for every user, removes the seen items by the rule of the evaluation, keeps the best.
Items with equal scores come in the order of popularity; so does everything for a user of whom nothing is known. Where
most items stand in that order alone, only those that can be among the best are looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tfrec.evaluation.catalogue import DEPTH, Catalogue, Histories, best, recommendation_table, slots
from tfrec.features import PAD

# Scores of one chunk of users take about this many numbers (8 bytes each); more where so few users have as many items.
_CHUNK_SCORES, _LEAST_USERS = 6_000_000, 64
# Cosines closer than this are ordered by popularity.
_COSINE_TIE = 1e-6

# Scores of C item rows, float64 [N, C], for N distinct last rows (PAD: an empty history).
_LastItemScores = Callable[[np.ndarray, np.ndarray], np.ndarray]
# The ascending rows, of all items, that can be among the best so many after N distinct last rows.
_Shortlist = Callable[[np.ndarray, int], np.ndarray]


def popularity(catalogue: Catalogue, histories: Histories, *, k: int = DEPTH, keep_seen: bool = False) -> pd.DataFrame:
    """Recommend everyone the items with most training events.

    Args:
        catalogue: I items.
        histories: the users and all that each has had.
        k: ranks a user; fewer where the catalogue is exhausted.
        keep_seen: whether items of the history may come back.

    Returns:
        Columns user_id, item_id, rank, score (the place by popularity, 1 falling to 0).
    """
    places, popular = catalogue.popularity(), _popular(catalogue)
    return _by_last_item(
        catalogue,
        histories,
        lambda last, items: np.tile(places[items], (len(last), 1)),
        lambda last, depth: np.sort(popular[:depth]),
        k=k,
        keep_seen=keep_seen,
    )


def cooccurrence(
    catalogue: Catalogue,
    histories: Histories,
    training: Histories,
    *,
    window: int = 1,
    k: int = DEPTH,
    keep_seen: bool = False,
) -> pd.DataFrame:
    """Recommend what followed the user's last item in training, most often first, then the popular.

    Args:
        catalogue: I items.
        histories: the users and all that each has had.
        training: the training sequences, nothing of validation or test in them.
        window: an item follows when it comes at most this many events later.
        k: ranks a user; fewer where the catalogue is exhausted.
        keep_seen: whether items of the history may come back.

    Returns:
        Columns user_id, item_id, rank, score (times it followed, plus the place by popularity below 1).

    Raises:
        ValueError: window is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1 event, got {window}")
    followers, popular = _Followers(training, len(catalogue.item_ids), window), _popular(catalogue)
    places = catalogue.popularity() * (1 - 1e-9)
    return _by_last_item(
        catalogue,
        histories,
        lambda last, items: followers.counts(last, items) + places[items],
        lambda last, depth: np.union1d(popular[:depth], followers.rows(last)),
        k=k,
        keep_seen=keep_seen,
    )


def text_neighbours(
    catalogue: Catalogue, histories: Histories, vectors: np.ndarray, *, k: int = DEPTH, keep_seen: bool = False
) -> pd.DataFrame:
    """Recommend the items whose text is nearest to that of the user's last item; nothing is trained.

    Args:
        catalogue: I items.
        histories: the users and all that each has had.
        vectors: float [I, W], the text vector of each row; zeros where there is no text.
        k: ranks a user; fewer where the catalogue is exhausted.
        keep_seen: whether items of the history may come back.

    Returns:
        Columns user_id, item_id, rank, score (cosine, ties by popularity). Users whose last item has no text get the
        popular.

    Raises:
        ValueError: the vectors are not one a row of the catalogue.
    """
    if np.ndim(vectors) != 2 or len(vectors) != len(catalogue.item_ids):
        raise ValueError(
            f"vectors must have shape [{len(catalogue.item_ids)}, W], one row an item, got {np.shape(vectors)}"
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    unit = np.asarray(vectors, np.float32) / np.where(norms > 0, norms, 1)
    unit[PAD] = 0
    places = catalogue.popularity() * _COSINE_TIE
    return _by_last_item(
        catalogue, histories, lambda last, _: unit[last] @ unit.T + places, None, k=k, keep_seen=keep_seen
    )


class _Followers:
    """How often each item followed each other one, as rows of a sparse matrix."""

    def __init__(self, training: Histories, items: int, window: int) -> None:
        owner = np.repeat(np.arange(len(training.user_ids)), training.lengths)
        keys = []
        for step in range(1, window + 1):
            together = owner[step:] == owner[:-step]
            before, after = training.rows[:-step][together], training.rows[step:][together]
            keys.append(before.astype(np.int64) * items + after)
        pairs, self._times = np.unique(np.concatenate(keys), return_counts=True)
        self._after = pairs % items
        self._offsets = np.searchsorted(pairs, np.arange(items + 1, dtype=np.int64) * items)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """The items that followed any of the rows, some of them repeatedly, int [E]."""
        return self._after[slots(self._offsets, rows)[1]]

    def counts(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Float64 [N, C], times that each of the items, ascending and all that did among them, followed each row."""
        owner, entries = slots(self._offsets, rows)
        result = np.zeros((len(rows), len(items)))
        result[owner, np.searchsorted(items, self._after[entries])] = self._times[entries]
        return result


def _popular(catalogue: Catalogue) -> np.ndarray:
    """The rows that may be recommended, the most popular first."""
    order = np.argsort(-catalogue.popularity(), kind="stable")
    return order[catalogue.candidate[order]]


def _by_last_item(
    catalogue: Catalogue,
    histories: Histories,
    score: _LastItemScores,
    shortlist: _Shortlist | None,
    *,
    k: int,
    keep_seen: bool,
) -> pd.DataFrame:
    """Score by the last item in chunks of users who share it, remove, rank; all items where there is no shortlist."""
    if k < 1:
        raise ValueError(f"k must be at least 1 rank, got {k}")
    last = histories.last()
    order = np.argsort(last, kind="stable")
    everything = np.arange(len(catalogue.item_ids))
    size = max(1 if shortlist is None else _LEAST_USERS, _CHUNK_SCORES // len(everything))
    width = min(k, len(everything))
    rows, scores = np.zeros((len(last), width), np.int64), np.full((len(last), width), -np.inf)
    for start in range(0, len(order), size):
        users = order[start : start + size]
        distinct, place = np.unique(last[users], return_inverse=True)
        depth = k + int(histories.lengths[users].max())
        items = everything if shortlist is None else shortlist(distinct, depth)
        table = score(distinct, items)[place]
        table[:, ~catalogue.candidate[items]] = -np.inf
        if not keep_seen:
            _remove(table, items, *histories.events_of(users))
        columns, found = best(table, k)
        rows[users, : columns.shape[1]], scores[users, : columns.shape[1]] = items[columns], found
    return recommendation_table(histories.user_ids, catalogue.item_ids, rows, scores)


def _remove(table: np.ndarray, items: np.ndarray, owner: np.ndarray, seen: np.ndarray) -> None:
    """Bar from each row of scores [B, C] of `items`, ascending, those that its owner has seen."""
    columns = np.minimum(np.searchsorted(items, seen), len(items) - 1)
    there = items[columns] == seen
    table[owner[there], columns[there]] = -np.inf
