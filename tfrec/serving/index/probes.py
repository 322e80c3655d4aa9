"""How many lists of an inverted file a query has to read, found on queries so that the recall is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrec.serving.index.lists import Summaries

CUTOFF = 10  # recall is that of the first ten
# Recall is a mean over queries: it is to be above the floor by this many standard errors of the difference between two
# such means, lest as many other queries, which the finished graph is asked, fall below it by chance.
ERRORS = 3.0
_CELLS = 2**25  # products that are held at a time: 128 MB


@dataclass(frozen=True)
class Asked:
    """Queries of one kind.

    Attributes:
        queries: float32 [N, D].
        seen: for each query the places of the items that it may not be answered with, in the order of the vectors.
    """

    queries: np.ndarray
    seen: Sequence[np.ndarray]


@dataclass(frozen=True)
class Probes:
    """What was found for one kind of queries.

    Attributes:
        summaries: of the lists.
        lists: how many of them are read, the worthiest ones.
        recall: the share of a query's best items that lie in these.
        read: the share of all items that is read.
    """

    summaries: Summaries
    lists: int
    recall: float
    read: float


def find(vectors: np.ndarray, starts: np.ndarray, asked: Sequence[Asked], floor: float) -> Probes:
    """The fewest lists with which the recall of every kind of queries is above the floor.

    Args:
        vectors: float32 [C, D], in the order of the lists.
        starts: int [L + 1], where each list begins, and the end.
        asked: queries by kind; without any, one list is read.
        floor: of the mean recall of the best `CUTOFF` items, from 0 to 1.
    """
    summaries = Summaries.of(vectors, starts)
    found = [_ranks(vectors, starts, summaries, kind) for kind in asked if len(kind.queries)]
    lists = max((_enough(ranks, floor, len(starts) - 1) for ranks, _ in found), default=1)
    shares = [np.nanmean(_recalls(ranks, lists)) for ranks, _ in found if not np.isnan(ranks).all()]
    read = [sizes[:, :lists].sum(axis=1).mean() / len(vectors) for _, sizes in found]
    return Probes(summaries, lists, float(min(shares, default=1.0)), float(max(read, default=0.0)))


def _ranks(
    vectors: np.ndarray, starts: np.ndarray, summaries: Summaries, asked: Asked
) -> tuple[np.ndarray, np.ndarray]:
    """What each query has to read for its best items.

    Returns:
        float64 [N, CUTOFF], the rank of the list of each of the best items, NaN where there are fewer; and int [N, L],
        the sizes of the lists by their worth.
    """
    ranks, sizes = [], []
    step = max(1, _CELLS // len(vectors))
    for start in range(0, len(asked.queries), step):
        queries = asked.queries[start : start + step]
        order = np.argsort(-summaries.worth(queries), axis=1, kind="stable")
        place = np.argsort(order, axis=1)
        scores = queries @ vectors.T
        for row, seen in enumerate(asked.seen[start : start + step]):
            scores[row, seen] = -np.inf
        best = tf.math.top_k(scores, min(CUTOFF, len(vectors))).indices.numpy()
        rank = np.take_along_axis(place, np.searchsorted(starts, best, side="right") - 1, axis=1).astype(float)
        rank[~np.isfinite(np.take_along_axis(scores, best, axis=1))] = np.nan
        ranks.append(rank)
        sizes.append(np.diff(starts)[order])
    return np.concatenate(ranks), np.concatenate(sizes)


def _recalls(ranks: np.ndarray, lists: int) -> np.ndarray:
    """float64 [N]: the share of each query's best items in the first lists; NaN for a query without any."""
    known = ~np.isnan(ranks)
    number = known.sum(axis=1)
    found = (ranks < lists).sum(axis=1)  # A comparison with NaN is false.
    return np.divide(found, number, out=np.full(len(ranks), np.nan), where=number > 0)


def _enough(ranks: np.ndarray, floor: float, most: int) -> int:
    """The fewest lists whose recall is far enough above the floor (see `ERRORS`); all of them where none is."""
    few, many = 0, most
    while many - few > 1:
        lists = (few + many) // 2
        recalls = _recalls(ranks, lists)
        recalls = recalls[~np.isnan(recalls)]
        enough = not len(recalls) or recalls.mean() - ERRORS * recalls.std() * (2 / len(recalls)) ** 0.5 >= floor
        few, many = (few, lists) if enough else (lists, many)
    return many
