"""Recommendation lists and the truth as integer arrays, checked once, so that every figure after this is array work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrec.features import ITEM_ID, RANK, USER_ID

CUTOFFS = (1, 5, 10, 20, 50)


@dataclass(frozen=True)
class Lists:
    """What was recommended and what was right, for the users of the truth; U users, I items, K the deepest rank.

    Attributes:
        users: [U] user ids, in the order of their first appearance in the truth.
        items: [I] item ids; the codes below are positions in it.
        top: int [U, K] item codes, best first; -1 where a list is shorter, -2 an item that `items` lacks.
        hits: bool [U, K], whether the item at that rank is relevant to the user.
        relevant_user: int [N] user code of each relevant pair.
        relevant_item: int [N] item code of each relevant pair, -1 where `items` lacks it.
    """

    users: pd.Index
    items: pd.Index
    top: np.ndarray
    hits: np.ndarray
    relevant_user: np.ndarray
    relevant_item: np.ndarray

    @property
    def depth(self) -> int:
        """The deepest rank of any list, K."""
        return self.top.shape[1]

    @property
    def sizes(self) -> np.ndarray:
        """Number of distinct relevant items of each user, int [U]."""
        return np.bincount(self.relevant_user, minlength=len(self.users))


def codes_of(values: pd.Series, index: pd.Index) -> np.ndarray:
    """Positions of ids in an index of distinct ids.

    Args:
        values: [N] ids.
        index: [I] distinct ids.

    Returns:
        int64 [N], -1 where the index lacks the id.
    """
    codes, distinct = pd.factorize(values)
    positions = index.get_indexer(pd.Index(distinct))
    return np.where(codes >= 0, positions[codes], -1) if len(positions) else codes


def require_columns(table: pd.DataFrame, name: str, columns: Sequence[str]) -> None:
    """Raise a ValueError when the table called `name` lacks one of the columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"{name} must have the columns {list(columns)}; {missing} is missing from {list(table.columns)}"
        )


def encode(recommendations: pd.DataFrame, truth: pd.DataFrame, items: pd.Index | None = None) -> Lists:
    """Turn a recommendations table and the relevant pairs into arrays.

    Args:
        recommendations: columns user_id, item_id, rank; rank 1 is the best. Users that the truth lacks are ignored.
        truth: columns user_id, item_id: the relevant pairs; a repeated pair counts once.
        items: [I] distinct item ids, the catalogue; those of the recommendations when absent.

    Returns:
        The lists of every user of the truth; a user without recommendations has an empty list.

    Raises:
        ValueError: a column is missing, the truth is empty, a rank is not a whole number from 1 up, or a user has a
            rank twice or an item twice.
    """
    require_columns(recommendations, "recommendations", (USER_ID, ITEM_ID, RANK))
    require_columns(truth, "truth", (USER_ID, ITEM_ID))
    if not len(truth):
        raise ValueError(
            "truth must hold at least one relevant pair, got an empty table: no user of this split has a target"
        )
    truth = truth[[USER_ID, ITEM_ID]].drop_duplicates()
    users = pd.Index(truth[USER_ID].unique(), name=USER_ID)
    items = pd.Index(recommendations[ITEM_ID].unique()) if items is None else items
    top = _top_matrix(recommendations, users, items)
    relevant_user, relevant_item = codes_of(truth[USER_ID], users), codes_of(truth[ITEM_ID], items)
    stride = len(items) + 1
    wanted = relevant_user[relevant_item >= 0] * stride + relevant_item[relevant_item >= 0]
    listed = np.arange(len(users))[:, None] * stride + top
    hits = np.isin(listed, wanted) & (top >= 0)
    return Lists(users, items, top, hits, relevant_user, relevant_item)


def _top_matrix(recommendations: pd.DataFrame, users: pd.Index, items: pd.Index) -> np.ndarray:
    """Int64 [U, K] item codes by rank, -1 where a list is shorter, -2 where `items` lacks the item."""
    user = codes_of(recommendations[USER_ID], users)
    wanted = user >= 0
    user, item = user[wanted], codes_of(recommendations[ITEM_ID][wanted], items)
    rank = _whole_ranks(recommendations[RANK][wanted])
    depth = int(rank.max()) if len(rank) else 0
    slot = user * depth + rank - 1
    _refuse_repeats(slot, user, users, "rank")
    known = item >= 0
    _refuse_repeats(user[known] * len(items) + item[known], user[known], users, "item")
    top = np.full(len(users) * depth, -1, np.int64)
    top[slot] = np.where(known, item, -2)
    return top.reshape(len(users), depth)


def _whole_ranks(ranks: pd.Series) -> np.ndarray:
    values = pd.to_numeric(ranks, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~((values >= 1) & (values == np.floor(values)) & np.isfinite(values))
    if wrong.any():
        raise ValueError(
            f"recommendations: rank must be a whole number from 1 (the best) up, got {ranks[wrong].tolist()[0]!r}"
        )
    return values.astype(np.int64)


def _refuse_repeats(keys: np.ndarray, user: np.ndarray, users: pd.Index, what: str) -> None:
    """Raise when a key comes twice; the keys are (user, rank) or (user, item) pairs."""
    order = np.argsort(keys, kind="stable")
    repeated = order[1:][np.diff(keys[order]) == 0]
    if len(repeated):
        raise ValueError(
            f"recommendations: each user must have every {what} at most once; {len(repeated)} rows repeat one, "
            f"the first for user {users[user[repeated.min()]]!r}"
        )


def usable_cutoffs(cutoffs: Sequence[int], depth: int) -> list[int]:
    """The cut-offs that lists of this depth can answer, ascending.

    Raises:
        ValueError: a cut-off is not a whole number from 1 up, or none is left.
    """
    wrong = [k for k in cutoffs if int(k) != k or k < 1]
    if wrong or not len(cutoffs):
        raise ValueError(f"cutoffs must be whole numbers from 1 up, at least one, got {list(cutoffs)}")
    kept = sorted({int(k) for k in cutoffs if k <= depth})
    if not kept:
        raise ValueError(
            f"cutoffs must include one that the lists reach: the deepest rank is {depth}, got {list(cutoffs)}; "
            "recommend more items or pass smaller cut-offs"
        )
    return kept
