"""Sequences: the users' events as flat arrays with offsets, and what training and evaluation take of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from tfrec.features import PAD

# Share of the long histories of which an epoch trains drawn events; of the others the newest, which are what is read
# to recommend.
DRAWN = 0.7


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths: list `i` is `rows[offsets[i]:offsets[i + 1]]`, of the user `user_ids[i]`."""

    user_ids: np.ndarray
    rows: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Length of each list, int64 [users]."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """Which list each row is of, int64 [rows]."""
        return np.repeat(np.arange(len(self.user_ids)), self.lengths)


@dataclass(frozen=True)
class Sequences:
    """All users' events, ordered, users by id.

    Attributes:
        user_ids: texts [U].
        offsets: int64 [U + 1].
        rows: int32 [N], the item of each event.
        is_target: bool [N], whether its type is predicted.
        train_end: int64 [U]; see `Split`.
        test_start: int64 [U].
        events: feature name -> codes int32 [N], or int64 seconds for the timestamp (0 = missing).
        users: feature name -> codes int32 [U].
        labels: name -> float32 [N], what is predicted of each event besides its item, NaN where unknown.
        trains: bool [U], whose events train; None for all users'.
        order: int64 [N], where each event was in its user's order; None where they lie in it.
        moments: int64 [N], the same for events of a user that happened at the same moment, larger for later ones; None
            where there are no labels.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    is_target: np.ndarray
    train_end: np.ndarray
    test_start: np.ndarray
    events: Mapping[str, np.ndarray]
    users: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    trains: np.ndarray | None = None
    order: np.ndarray | None = None
    moments: np.ndarray | None = None

    @property
    def owners(self) -> np.ndarray:
        """Which user each event is of, int64 [N]."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))

    @property
    def places(self) -> np.ndarray:
        """Place of each event in its user's sequence, int64 [N]."""
        return np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def take(self, users: np.ndarray) -> Sequences:
        """The sequences of some users, in the given order."""
        order, offsets = segments(self.offsets[users], np.diff(self.offsets)[users])
        return Sequences(
            self.user_ids[users], offsets, self.rows[order], self.is_target[order],
            self.train_end[users], self.test_start[users],
            {name: values[order] for name, values in self.events.items()},
            {name: values[users] for name, values in self.users.items()},
            {name: values[order] for name, values in self.labels.items()},
            None if self.trains is None else self.trains[users],
            None if self.order is None else self.order[order],
            None if self.moments is None else self.moments[order],
        )  # fmt: skip


@dataclass(frozen=True)
class Windows:
    """What of each user's training events an epoch reads.

    A window is the newest `max_length + 1` training events w. Its history is w[:-1]; w[s] is the target after s events.
    Where a user has more than `max_length` events, w[0] is no target: an epoch trains each user's newest `max_length`
    events once. Such a user's first event is a window of its own, with an empty history: what to expect of somebody
    new is learnt from all users, not from the light ones alone. Windows without any target are left out.

    Where windows are drawn, an epoch trains of most long histories as many events in a row from anywhere in them.

    Attributes:
        owners: int64 [W], the user of each window.
        starts: int64 [W], its first event, in the arrays of this object.
        lengths: int64 [W], length of the history.
        whole: bool [W], whether w[0] is a target.
        slack: int64 [W], how many events earlier a window may begin; 0 where it is the newest in each epoch.
        first: bool [W], whether it is the first event of a long history.
        rows: int32 [M], the items of all training events.
        targets: int32 [M], the same, PAD where the event's type is not predicted.
        events: feature name -> values [M].
    """

    owners: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    whole: np.ndarray
    slack: np.ndarray
    first: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    events: Mapping[str, np.ndarray]

    def target_rows(self) -> np.ndarray:
        """The item of every target of the newest windows, once for each time it is one; int32."""
        return self._targets(self.starts + ~self.whole, self.lengths + self.whole)

    def possible_rows(self) -> np.ndarray:
        """The item of every target that some epoch may have; int32."""
        return self._targets(self.starts + ~self.whole - self.slack, self.lengths + self.whole + self.slack)

    def _targets(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        found = self.targets[segments(starts, lengths)[0]]
        return found[found != PAD]

    def drawn(self, rng: np.random.Generator) -> Windows:
        """The windows of an epoch."""
        if not self.slack.any():
            return self
        back = rng.integers(0, self.slack + 1) * (rng.random(len(self.slack)) < DRAWN)
        return replace(self, starts=self.starts - back)


def segments(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of segments laid end to end, int64 [sum of lengths], and their offsets, int64 [segments + 1]."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths), offsets


def training_events(sequences: Sequences, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which events train: those before the boundary, without the items that are held out.

    Args:
        sequences: the sequences.
        held_out: bool [I], the items that no training sequence may contain.

    Returns:
        Their indices, int64 [M], and the offsets of each user's, int64 [U + 1].
    """
    trains = (sequences.places < np.repeat(sequences.train_end, np.diff(sequences.offsets))) & ~held_out[sequences.rows]
    if sequences.trains is not None:
        trains &= np.repeat(sequences.trains, np.diff(sequences.offsets))
    counts = np.bincount(sequences.owners[trains], minlength=len(sequences.user_ids))
    return np.flatnonzero(trains), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def first_of_moment(sequences: Sequences, index: np.ndarray) -> np.ndarray:
    """Place of the first one of each event's moment among some events in order: what lies before it was earlier.

    Args:
        sequences: the sequences.
        index: int64 [M], the events, each user's in order.

    Returns:
        Places in `index`, int64 [M].
    """
    places = np.arange(len(index))
    if sequences.moments is None:
        return places
    moments, owners = sequences.moments[index], sequences.owners[index]
    new = np.ones(len(index), bool)
    new[1:] = (moments[1:] != moments[:-1]) | (owners[1:] != owners[:-1])
    return np.maximum.accumulate(np.where(new, places, 0))


def training_windows(sequences: Sequences, held_out: np.ndarray, max_length: int, *, drawn: bool = False) -> Windows:
    """Each user's training window; see `Windows`.

    Args:
        sequences: the sequences.
        held_out: bool [I], the items that no training sequence may contain.
        max_length: events of a user that an epoch trains.
        drawn: whether windows of long histories may begin anywhere; else they are the newest.

    Returns:
        The windows, users in order; the first events of long histories last.

    Raises:
        RuntimeError: a held-out item, or an event after the boundary, came through.
    """
    index, offsets = training_events(sequences, held_out)
    sizes = np.diff(offsets)
    lengths = np.minimum(np.maximum(sizes - 1, 0), max_length)
    starts = offsets[1:] - lengths - 1
    whole = sizes <= max_length
    rows = sequences.rows[index]
    targets = np.where(sequences.is_target[index], rows, PAD).astype(np.int32)
    slack = np.where(whole, 0, starts - offsets[:-1]) * drawn
    held = np.concatenate([[0], np.cumsum(targets != PAD)])
    users = np.flatnonzero((sizes > 0) & (held[offsets[1:]] > held[np.maximum(starts + ~whole - slack, 0)]))
    long = np.flatnonzero(~whole)
    long = long[targets[offsets[long]] != PAD]
    events = {name: values[index] for name, values in sequences.events.items()}
    late = sequences.places[index] >= sequences.train_end[sequences.owners[index]]
    if sequences.trains is not None:
        late |= ~sequences.trains[sequences.owners[index]]
    if held_out[rows].any() or late.any():
        raise RuntimeError("The training sequences leak events that they must not hold. This is a mistake in tfrec.")
    return Windows(
        np.concatenate([users, long]),
        np.concatenate([starts[users], offsets[long]]),
        np.concatenate([lengths[users], np.zeros(len(long), lengths.dtype)]),
        np.concatenate([whole[users], np.ones(len(long), bool)]),
        np.concatenate([slack[users], np.zeros(len(long), slack.dtype)]),
        np.repeat([False, True], [len(users), len(long)]),
        rows,
        targets,
        events,
    )


def histories(sequences: Sequences, users: np.ndarray, split: str) -> tuple[np.ndarray, Ragged]:
    """Whole histories of some users, oldest event first: what they did before the validation or the test.

    Returns:
        Indices of the events, int64 [H], and the histories.
    """
    ends = sequences.train_end if split == "validation" else sequences.test_start
    index, offsets = segments(sequences.offsets[users], ends[users])
    if sequences.order is not None:
        index = index[np.lexsort([sequences.order[index], np.repeat(np.arange(len(users)), np.diff(offsets))])]
    return index, Ragged(sequences.user_ids[users], sequences.rows[index], offsets)


def relevant_items(
    sequences: Sequences, split: str, *, new_only: bool, excluded: np.ndarray
) -> tuple[np.ndarray, Ragged]:
    """The distinct items that count as hits.

    Args:
        sequences: the sequences.
        split: "validation" or "test".
        new_only: leave out items that the user's history holds already, as the split by time does.
        excluded: bool [I], items that are no target in this part.

    Returns:
        The users that have any, int64 [R], and their items.
    """
    owners, places = sequences.owners, sequences.places
    start, end = (sequences.train_end, sequences.test_start) if split == "validation" else (sequences.test_start, None)
    wanted = (places >= start[owners]) & sequences.is_target & ~excluded[sequences.rows]
    if end is not None:
        wanted &= places < end[owners]
    found = np.flatnonzero(wanted)
    keys = owners * len(excluded) + sequences.rows
    found = found[~pd.Series(keys[found]).duplicated().to_numpy()]
    if new_only:
        had = pd.Index(keys[found]).get_indexer(keys[places < start[owners]])
        found = np.delete(found, had[had >= 0])
    users, counts = np.unique(owners[found], return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return users, Ragged(sequences.user_ids[users], sequences.rows[found], offsets)


def distinct(lists: Ragged, row_count: int) -> Ragged:
    """Each list without repetitions, sorted by row."""
    keys = np.unique(lists.owners * row_count + lists.rows)
    counts = np.bincount(keys // row_count, minlength=len(lists.user_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Ragged(lists.user_ids, (keys % row_count).astype(np.int32), offsets)
