"""The arrays that baselines and recommenders share: catalogue, histories, and the way from scores to a ranked table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrec.evaluation.lists import codes_of, require_columns
from tfrec.features import ITEM_ID, PAD, RANK, SCORE, USER_ID

# Ranks that a run writes for every user.
DEPTH = 50


@dataclass(frozen=True)
class Catalogue:
    """The items by row; row 0 is padding.

    Attributes:
        item_ids: [I] ids, "" at row 0.
        candidate: bool [I], what may be recommended; never row 0.
        counts: int [I], training events of each item.
    """

    item_ids: np.ndarray
    candidate: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        """Hold the three to one length, and padding outside the candidates."""
        sizes = len(self.item_ids), len(self.candidate), len(self.counts)
        if len(set(sizes)) != 1:
            raise ValueError(f"item_ids, candidate and counts must have one length, got {sizes}")
        if not sizes[0] or self.candidate[PAD]:
            raise ValueError(f"candidate must be False at row {PAD}, which is padding, got {len(self.item_ids)} rows")

    @classmethod
    def from_items(cls, items: pd.DataFrame) -> Catalogue:
        """Take the columns item_id, candidate and count of a dataset's item table, whose row 0 is padding."""
        require_columns(items, "items", (ITEM_ID, "candidate", "count"))
        return cls(
            items[ITEM_ID].to_numpy(object), items["candidate"].to_numpy(bool), items["count"].to_numpy(np.int64)
        )

    def popularity(self) -> np.ndarray:
        """Place of each row, float64 [I]: 1 for most training events, falling to 0; ties go to the earlier row."""
        order = np.argsort(-self.counts, kind="stable")
        places = np.empty(len(order))
        places[order] = 1 - np.arange(len(order)) / len(order)
        return places


@dataclass(frozen=True)
class Histories:
    """The ordered events of users, oldest first, back to back.

    Attributes:
        user_ids: [U] ids.
        rows: int [E] item rows; those of user u are rows[offsets[u]:offsets[u + 1]].
        offsets: int [U + 1], from 0 to E.
    """

    user_ids: np.ndarray
    rows: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        """Hold the offsets to the users and the rows."""
        ends = (int(self.offsets[0]), int(self.offsets[-1])) if len(self.offsets) else (0, 0)
        ascending = len(self.offsets) == len(self.user_ids) + 1 and (np.diff(self.offsets) >= 0).all()
        if not ascending or ends != (0, len(self.rows)):
            raise ValueError(
                f"offsets must be {len(self.user_ids) + 1} ascending numbers from 0 to {len(self.rows)}, "
                f"got {len(self.offsets)} from {ends[0]} to {ends[1]}"
            )

    @classmethod
    def from_frame(cls, events: pd.DataFrame, users: Sequence[str] | pd.Index, item_ids: np.ndarray) -> Histories:
        """Collect the events of the users wanted, in the order in which the table holds them.

        Args:
            events: columns user_id, item_id; other users and unknown items are left out.
            users: [U] distinct user ids; one without events has an empty history.
            item_ids: [I] ids by row, "" at row 0.

        Returns:
            The histories, in the order of `users`.
        """
        require_columns(events, "events", (USER_ID, ITEM_ID))
        index = pd.Index(users)
        user, item = codes_of(events[USER_ID], index), codes_of(events[ITEM_ID], pd.Index(item_ids))
        kept = (user >= 0) & (item > PAD)
        user, item = user[kept], item[kept]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(index)))])
        return cls(index.to_numpy(object), item[np.argsort(user, kind="stable")], offsets)

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each user, int [U]."""
        return np.diff(self.offsets)

    def last(self) -> np.ndarray:
        """The newest row of each user, int [U]; PAD for an empty history."""
        rows = np.append(self.rows, PAD)
        return np.where(self.lengths > 0, rows[self.offsets[1:] - 1], PAD)

    def events_of(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The events of some users: (position in `users`, item row), both int [E']."""
        owner, entries = slots(self.offsets, users)
        return owner, self.rows[entries]


def slots(offsets: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of some groups lie in arrays that hold all groups back to back.

    Args:
        offsets: int [G + 1], group g lies at offsets[g]:offsets[g + 1].
        wanted: int [N], groups.

    Returns:
        The position in `wanted` and the position in the flat array, of each entry, int [E'].
    """
    lengths = np.diff(offsets)[wanted]
    owner = np.repeat(np.arange(len(wanted)), lengths)
    before = np.cumsum(lengths) - lengths
    return owner, np.repeat(offsets[wanted] - before, lengths) + np.arange(len(owner))


def best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best k columns of each row, best first; equal scores keep the lower column first among those taken.

    Args:
        scores: float [B, I]; -inf marks what must not be taken.
        k: number wanted; at most I are returned.

    Returns:
        Columns int [B, k] and their scores [B, k]; columns with score -inf come last.
    """
    k = min(k, scores.shape[1])
    taken = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(scores, taken, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(taken, order, axis=1), np.take_along_axis(values, order, axis=1)


def recommendation_table(
    user_ids: np.ndarray, item_ids: np.ndarray, rows: np.ndarray, scores: np.ndarray
) -> pd.DataFrame:
    """Write ranked rows as the table that is evaluated and saved.

    Args:
        user_ids: [U].
        item_ids: [I], by row.
        rows: int [U, K], item rows, best first.
        scores: float [U, K]; -inf (exhausted) must come last in a row and is left out.

    Returns:
        Columns user_id, item_id, rank (int32, 1 = best), score (float32); user by user.
    """
    kept = np.isfinite(scores)
    ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1, dtype=np.int32), rows.shape)
    users = pd.Series(user_ids, dtype="str").take(np.repeat(np.arange(len(user_ids)), kept.sum(axis=1)))
    items = pd.Series(item_ids, dtype="str").take(rows[kept])
    return pd.DataFrame(
        {USER_ID: users.array, ITEM_ID: items.array, RANK: ranks[kept], SCORE: scores[kept].astype(np.float32)}
    )
