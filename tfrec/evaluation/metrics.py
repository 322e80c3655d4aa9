"""Figures of one user's list, averaged over users: accuracy by rank, and what lies beyond accuracy.

All take the lists that `lists.encode` made; `ranking.evaluate` calls them in one go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfrec.evaluation.lists import CUTOFFS, Lists, encode, usable_cutoffs

HALF_WIDTH = "_half_width"
_Z95 = 1.96
_CHUNK_USERS = 512
# The share of the catalogue, by training events, that counts as the head; the rest is the long tail.
HEAD_SHARE = 0.2


def user_metrics(recommendations: pd.DataFrame, truth: pd.DataFrame, cutoffs: Sequence[int] = CUTOFFS) -> pd.DataFrame:
    """HR, NDCG, MRR, recall, precision and F1 of every user of the truth, at each cut-off.

    Args:
        recommendations: columns user_id, item_id, rank (1 = best).
        truth: columns user_id, item_id: the relevant pairs.
        cutoffs: the depths k; those deeper than the lists are left out.

    Returns:
        One row a user (index user_id), columns `hr@k`, `ndcg@k`, `mrr@k`, `recall@k`, `precision@k`, `f1@k`, each from
        0 to 1. A user without recommendations has zeros.

    Raises:
        ValueError: see `lists.encode` and `lists.usable_cutoffs`.
    """
    lists = encode(recommendations, truth)
    return accuracy(lists, usable_cutoffs(cutoffs, lists.depth))


def accuracy(lists: Lists, cutoffs: Sequence[int]) -> pd.DataFrame:
    """The figures of `user_metrics`, from arrays.

    With n hits among the first k and R relevant items, relevance being binary: HR = [n > 0]; recall = n / R;
    precision = n / k; F1 = 2 n / (k + R); MRR = 1 / rank of the first hit; NDCG = sum of 1 / log2(rank + 1) over the
    hits, divided by the same sum for a list that begins with min(R, k) hits (Jarvelin and Kekalainen, 2002).

    Args:
        lists: U users, lists K deep.
        cutoffs: ascending depths, none above K.

    Returns:
        float64 table of U rows, six columns a cut-off.
    """
    sizes = lists.sizes
    ranks = np.arange(1, lists.depth + 1)
    discounts = 1 / np.log2(ranks + 1)
    found = np.cumsum(lists.hits, axis=1)
    gains = np.cumsum(lists.hits * discounts, axis=1)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, max(cutoffs) + 2)))])
    first = np.where(lists.hits.any(axis=1), lists.hits.argmax(axis=1) + 1, np.inf)
    columns = {}
    for k in cutoffs:
        hits = found[:, k - 1]
        columns[f"hr@{k}"] = (hits > 0).astype(np.float64)
        columns[f"ndcg@{k}"] = gains[:, k - 1] / ideal[np.minimum(sizes, k)]
        columns[f"mrr@{k}"] = np.where(first <= k, 1 / first, 0.0)
        columns[f"recall@{k}"] = hits / sizes
        columns[f"precision@{k}"] = hits / k
        columns[f"f1@{k}"] = 2 * hits / (k + sizes)
    return pd.DataFrame(columns, index=lists.users)


def novelty(lists: Lists, counts: np.ndarray, cutoffs: Sequence[int]) -> pd.DataFrame:
    """How unexpected the recommended items are, in bits: the mean of -log2 p(item) over the first k.

    p is the item's share of the training events, with one event added to every item so that an item never seen stays
    finite. Source: the self-information ("surprisal") of Zhou et al., "Solving the apparent diversity-accuracy dilemma
    of recommender systems", PNAS 2010, with events in the place of users.

    Args:
        lists: U users.
        counts: [I] training events of each item.
        cutoffs: ascending depths.

    Returns:
        Table of U rows, columns `novelty@k`, bits; NaN for an empty list.
    """
    shares = (counts + 1) / (counts.sum() + len(counts))
    return _mean_of_top(lists, -np.log2(shares), "novelty", cutoffs)


def long_tail(lists: Lists, counts: np.ndarray, cutoffs: Sequence[int], candidates: np.ndarray) -> pd.DataFrame:
    """The share of the first k that lies in the long tail, 0 to 1.

    The head is the 20 % of the catalogue with most training events (ties: the earlier row), the rest is the tail; a
    list drawn at random scores 0.8. Source: the average percentage of long-tail items of Abdollahpouri, Burke and
    Mobasher, "Managing popularity bias in recommender systems with personalized re-ranking", FLAIRS 2019.

    Args:
        lists: U users.
        counts: [I] training events of each item.
        cutoffs: ascending depths.
        candidates: bool [I], the catalogue.

    Returns:
        Table of U rows, columns `long_tail@k`; NaN for an empty list.
    """
    order = np.argsort(np.where(candidates, -counts, 1), kind="stable")
    tail = np.ones(len(counts))
    tail[order[: int(np.ceil(HEAD_SHARE * candidates.sum()))]] = 0.0
    return _mean_of_top(lists, tail, "long_tail", cutoffs)


def diversity(lists: Lists, vectors: np.ndarray, cutoffs: Sequence[int]) -> pd.DataFrame:
    """How unlike each other the first k are: 1 minus the mean cosine over their pairs, 0 (all alike) to 2.

    Source: one minus the intra-list similarity of Ziegler et al., "Improving recommendation lists through topic
    diversification", WWW 2005. Text vectors compare wording; `category_vectors` compares categories.

    Args:
        lists: U users.
        vectors: float [I, W], one a row of the catalogue; a row of zeros is unlike everything.
        cutoffs: ascending depths; 1 is left out, since one item makes no pair.

    Returns:
        Table of U rows, columns `diversity@k`; NaN where a list has fewer than two items.

    Raises:
        ValueError: the number of vectors is not the number of items.
    """
    if vectors.ndim != 2 or len(vectors) != len(lists.items):
        raise ValueError(f"item vectors must have shape [{len(lists.items)}, W], one row an item, got {vectors.shape}")
    cutoffs = [k for k in cutoffs if k > 1]
    codes, unit = _unit_vectors(lists.top, vectors)
    values = np.empty((len(lists.users), len(cutoffs)))
    for start in range(0, len(lists.users), _CHUNK_USERS):
        values[start : start + _CHUNK_USERS] = _dissimilarity(codes[start : start + _CHUNK_USERS], unit, cutoffs)
    return pd.DataFrame(values, index=lists.users, columns=[f"diversity@{k}" for k in cutoffs])


def _unit_vectors(top: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes int [U, K] into unit vectors float32 [N + 1, W] of what is recommended; the last one, 0, is nothing."""
    used = np.unique(top[top >= 0])
    norms = np.linalg.norm(vectors[used], axis=1, keepdims=True)
    unit = np.zeros((len(used) + 1, vectors.shape[1]), np.float32)
    np.divide(vectors[used], norms, out=unit[:-1], where=norms > 0, casting="unsafe")
    return np.where(top >= 0, np.searchsorted(used, top), len(used)), unit


def _dissimilarity(codes: np.ndarray, unit: np.ndarray, cutoffs: Sequence[int]) -> np.ndarray:
    """Float64 [B, C] of [B, K] codes: the sum over pairs is (|sum v|^2 - sum |v|^2) / 2, so no pair is formed."""
    squares = np.einsum("iw,iw->i", unit, unit)
    total = np.zeros((len(codes), unit.shape[1]), np.float32)
    columns, before = [], 0
    for k in cutoffs:
        total += unit[codes[:, before:k]].sum(axis=1)
        before = k
        number = (codes[:, :k] < len(unit) - 1).sum(axis=1)
        pairs = (np.einsum("bw,bw->b", total, total) - squares[codes[:, :k]].sum(axis=1)).astype(np.float64)
        similarity = np.divide(pairs, number * (number - 1), out=np.full(len(codes), np.nan), where=number > 1)
        columns.append(1 - similarity)
    return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0))


def category_vectors(codes: np.ndarray, size: int) -> np.ndarray:
    """Items as sets of categories, for `diversity`.

    Args:
        codes: int [I, M], the categories of each item; 0 is padding.
        size: number of codes, 0 included.

    Returns:
        float32 [I, size], 1 where the item has the category; column 0 is zero.
    """
    vectors = np.zeros((len(codes), size), np.float32)
    vectors[np.arange(len(codes))[:, None], codes] = 1.0
    vectors[:, 0] = 0.0
    return vectors


def coverage(lists: Lists, cutoffs: Sequence[int], candidates: np.ndarray) -> dict[str, float]:
    """The share of the catalogue that is in some user's first k: `coverage@k`, 0 to 1.

    Args:
        lists: U users.
        cutoffs: ascending depths.
        candidates: bool [I], the catalogue.

    Returns:
        One figure a cut-off; it has no half-width, because it is not a mean over users.
    """
    size = max(int(candidates.sum()), 1)
    return {f"coverage@{k}": len(np.setdiff1d(lists.top[:, :k], [-1, -2])) / size for k in cutoffs}


def summary(table: pd.DataFrame) -> dict[str, float]:
    """The mean of every column and its 95 % half-width over users.

    Args:
        table: one row a user, one column a figure; NaN means that the figure is not defined for the user.

    Returns:
        `users`, and for each column `name` and `name_half_width` = 1.96 standard deviations / sqrt(users). Without
        users, only `users`: 0.
    """
    result: dict[str, float] = {"users": len(table)}
    if not len(table):
        return result
    values = table.to_numpy(np.float64)
    defined = ~np.isnan(values)
    number = np.maximum(defined.sum(axis=0), 1)
    means = np.where(defined, values, 0).sum(axis=0) / number
    deviations = np.sqrt((np.where(defined, values - means, 0) ** 2).sum(axis=0) / number)
    for column, name in enumerate(table.columns):
        known = 1.0 if defined[:, column].any() else float("nan")
        result[name] = float(known * means[column])
        result[name + HALF_WIDTH] = float(known * _Z95 * deviations[column] / np.sqrt(number[column]))
    return result


def _mean_of_top(lists: Lists, values: np.ndarray, name: str, cutoffs: Sequence[int]) -> pd.DataFrame:
    """The mean of a per-item value over the first k of each list."""
    present = lists.top >= 0
    totals = np.cumsum(np.where(present, values[lists.top], 0.0), axis=1)
    numbers = np.cumsum(present, axis=1)
    empty = np.full(len(lists.users), np.nan)
    columns = {
        f"{name}@{k}": np.divide(totals[:, k - 1], numbers[:, k - 1], out=empty.copy(), where=numbers[:, k - 1] > 0)
        for k in cutoffs
    }
    return pd.DataFrame(columns, index=lists.users)
