"""Full-ranking evaluation of a recommendations table: the rules checked, then every figure, slice and half-width.

Model, baselines and oracle all come through here, so that their rows of the report compare.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tfrec.evaluation import metrics, slices
from tfrec.evaluation.lists import CUTOFFS, Lists, codes_of, encode, require_columns, usable_cutoffs
from tfrec.features import ITEM_ID, USER_ID

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The figures of one set of recommendations.

    Attributes:
        metrics: `users`, then `name@k` and `name@k_half_width` (95 %, over users) for hr, ndcg, mrr, recall,
            precision, f1, novelty (bits), long_tail and, with item vectors, diversity; `coverage@k` and `cold_share@k`
            have no half-width.
        slices: name of the slice -> the same means over its users; see `slices.masks`.
        per_user: one row a user (index user_id), one column a figure: what `bootstrap.compare` pairs.
        groups: name of the slice -> bool [U], which rows of `per_user` are its users.
    """

    metrics: dict[str, float]
    slices: dict[str, dict[str, float]]
    per_user: pd.DataFrame
    groups: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(
    recommendations: pd.DataFrame,
    truth: pd.DataFrame,
    items: pd.DataFrame,
    *,
    history: pd.DataFrame,
    cutoffs: Sequence[int] = CUTOFFS,
    keep_seen: bool = False,
    item_vectors: np.ndarray | None = None,
    cold: Collection[str] | None = None,
) -> Evaluation:
    """Check the rules of the evaluation and compute every figure.

    Args:
        recommendations: columns user_id, item_id, rank (1 = best): the ranks 1..K of every user of the truth, fewer
            only where the catalogue is exhausted. Other users are ignored.
        truth: columns user_id, item_id: the relevant pairs.
        items: column item_id; optional `candidate` (bool, in the catalogue; all by default), `count` (training events;
            0 by default), `trained` (bool, a training target). A row whose id is empty is padding.
        history: columns user_id, item_id: what each user had before the target, one row an event.
        cutoffs: the depths k; those deeper than the lists are left out and logged.
        keep_seen: whether items of the history may be recommended again.
        item_vectors: float [I, W], one a row of `items` (padding included), for diversity; None leaves diversity out.
        cold: ids of the items that training could not see; by default those that `trained` denies.

    Returns:
        Means with half-widths, slices and the per-user table.

    Raises:
        ValueError: a rule is broken; the message says which, how often, and names the first user.
    """
    require_columns(items, "items", (ITEM_ID,))
    require_columns(history, "history", (USER_ID, ITEM_ID))
    if item_vectors is not None and len(item_vectors) != len(items):
        raise ValueError(
            f"item_vectors must have one row for each of the {len(items)} rows of items, got {len(item_vectors)}"
        )
    real = (items[ITEM_ID].astype(str) != "").to_numpy()
    table = items[real]
    lists = encode(recommendations, truth, _distinct_ids(table))
    candidates = _column(table, "candidate", default=True).astype(bool)
    user, item = codes_of(history[USER_ID], lists.users), codes_of(history[ITEM_ID], lists.items)
    _check(lists, candidates, _distinct_pairs(user, item, len(lists.items)), keep_seen=keep_seen)
    kept = usable_cutoffs(cutoffs, lists.depth)
    if len(kept) < len(set(cutoffs)):
        _log.warning("cut-offs %s are left out: the deepest rank is %d", sorted(set(cutoffs) - set(kept)), lists.depth)
    counts = _column(table, "count", default=0).astype(np.int64)
    unseen = _cold_mask(table, cold)
    vectors = None if item_vectors is None else np.asarray(item_vectors)[real]
    per_user = _per_user(lists, kept, counts, candidates, vectors)
    totals = metrics.summary(per_user) | metrics.coverage(lists, kept, candidates)
    totals |= {f"cold_share@{k}": _cold_share(lists, k, unseen) for k in kept}
    lengths = np.bincount(user[user >= 0], minlength=len(lists.users))
    groups = slices.masks(lists, lengths, counts, unseen)
    means = {name: metrics.summary(per_user[mask]) for name, mask in groups.items()}
    return Evaluation(totals, means, per_user, groups)


def _per_user(
    lists: Lists, cutoffs: Sequence[int], counts: np.ndarray, candidates: np.ndarray, vectors: np.ndarray | None
) -> pd.DataFrame:
    tables = [
        metrics.accuracy(lists, cutoffs),
        metrics.novelty(lists, counts, cutoffs),
        metrics.long_tail(lists, counts, cutoffs, candidates),
    ]
    if vectors is not None:
        tables.append(metrics.diversity(lists, vectors, cutoffs))
    return pd.concat(tables, axis=1)


def _distinct_ids(table: pd.DataFrame) -> pd.Index:
    ids = pd.Index(table[ITEM_ID])
    if not ids.is_unique:
        raise ValueError(f"items must have each item_id once, got {ids[ids.duplicated()][0]!r} more than once")
    return ids


def _column(table: pd.DataFrame, name: str, *, default: bool | int) -> np.ndarray:
    return table[name].to_numpy() if name in table else np.full(len(table), default)


def _cold_mask(table: pd.DataFrame, cold: Collection[str] | None) -> np.ndarray:
    if cold is not None:
        return table[ITEM_ID].isin(list(cold)).to_numpy()
    return ~_column(table, "trained", default=True).astype(bool)


def _cold_share(lists: Lists, k: int, cold: np.ndarray) -> float:
    top = lists.top[:, :k]
    return float(cold[top[top >= 0]].mean())


def _distinct_pairs(user: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
    """Sorted distinct keys user * items + item of the pairs that both sides know."""
    known = (user >= 0) & (item >= 0)
    return np.unique(user[known] * items + item[known])


def _check(lists: Lists, candidates: np.ndarray, seen: np.ndarray, *, keep_seen: bool) -> None:
    """Raise a ValueError that lists every rule the recommendations break."""
    number = np.arange(len(lists.users))[:, None]
    length = (lists.top != -1).sum(axis=1)
    deepest = np.where(lists.top != -1, np.arange(1, lists.depth + 1), 0).max(axis=1, initial=0)
    possible = np.full(len(lists.users), candidates.sum())
    if not keep_seen:
        possible = possible - np.bincount(
            seen[candidates[seen % len(candidates)]] // len(candidates), minlength=len(lists.users)
        )
    wanted = np.minimum(lists.depth, possible)
    outside = (lists.top == -2) | ((lists.top >= 0) & ~candidates[np.maximum(lists.top, 0)])
    again = np.isin(number * len(candidates) + lists.top, seen) & (lists.top >= 0) & (not keep_seen)
    broken = [
        (f"users must have the ranks 1..{lists.depth} once each", ((length != wanted) | (deepest != wanted))[:, None]),
        ("recommendations must be items of the catalogue", outside),
        ("recommendations must not repeat an item of the user's history (seen items are removed)", again),
    ]
    messages = [_say(rule, wrong, lists.users) for rule, wrong in broken if wrong.any()]
    if messages:
        raise ValueError("recommendations break the rules of the evaluation: " + "; ".join(messages))


def _say(rule: str, wrong: np.ndarray, users: pd.Index) -> str:
    first = users[int(np.argmax(wrong.any(axis=1)))]
    return f"{rule}: broken {int(wrong.sum())} times, first for user {first!r}"
