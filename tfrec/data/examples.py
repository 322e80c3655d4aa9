"""Examples for a ranker: candidates beside the history that they are judged by; `example_batches` plays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrec.data.sequences import Sequences, Windows, first_of_moment, segments, training_events

# Parts of a user's events, each judged by the rest in one example, where the order of events is not to be respected.
PARTS = 5


@dataclass(frozen=True)
class Examples:
    """Which events are candidates and which are their histories: one entry an example, one row of a batch each.

    An example's candidate judged "after s" may read the first s events of the example's history.

    Attributes:
        owners: int64 [E], the user of each example.
        history: int64 [H], events of the histories, those of an example together.
        history_offsets: int64 [E + 1].
        candidates: int64 [C], events whose items and labels are judged, likewise.
        candidate_offsets: int64 [E + 1].
        after: int32 [C].
    """

    owners: np.ndarray
    history: np.ndarray
    history_offsets: np.ndarray
    candidates: np.ndarray
    candidate_offsets: np.ndarray
    after: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The longer one of history and candidates, int64 [E]: what an example takes of a batch."""
        return np.maximum(np.maximum(np.diff(self.history_offsets), np.diff(self.candidate_offsets)), 1)


def causal_examples(windows: Windows, index: np.ndarray, first: np.ndarray) -> Examples:
    """Each event of the training windows is a candidate after the earlier ones, none of its own moment among them.

    Args:
        windows: the windows.
        index: int64 [M], the event behind each place of the windows' arrays; see `training_events`.
        first: int64 [M], the place of the first one of its moment; see `first_of_moment`.
    """
    skipped = (~windows.whole).astype(np.int64)
    history, history_offsets = segments(windows.starts, windows.lengths)
    places, offsets = segments(windows.starts + skipped, windows.lengths + 1 - skipped)
    after = np.maximum(first[places] - np.repeat(windows.starts, np.diff(offsets)), 0)
    return Examples(windows.owners, index[history], history_offsets, index[places], offsets, after.astype(np.int32))


def parted_examples(sequences: Sequences, held_out: np.ndarray, max_length: int, rng: np.random.Generator) -> Examples:
    """Each user's training events fall into `PARTS` random parts; each part is judged by the newest of the others.

    Every training event is a candidate once. The sizes of parts follow from the number of events, not from the draw.

    Args:
        sequences: the sequences.
        held_out: bool [I], the items that no training sequence may contain.
        max_length: most events of a history.
        rng: draws the parts.
    """
    index, offsets = training_events(sequences, held_out)
    sizes = np.diff(offsets)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.lexsort([rng.random(len(index)), owners])  # A permutation of each user's events.
    part = np.empty(len(index), np.int64)
    part[drawn] = (np.arange(len(index)) - np.repeat(offsets[:-1], sizes)) % PARTS
    found = []
    for number in range(PARTS):
        judged = part == number
        counts = np.bincount(owners[judged], minlength=len(sizes))
        rest = np.concatenate([[0], np.cumsum(sizes - counts)]).astype(np.int64)
        history, lengths = newest(index[~judged], rest, max_length)
        found.append(held_out_examples(np.arange(len(sizes)), history, lengths, index[judged], counts))
    return _joined(found)


def held_out_examples(
    owners: np.ndarray, history: np.ndarray, lengths: np.ndarray, candidates: np.ndarray, counts: np.ndarray
) -> Examples:
    """All candidates of a user are judged by the whole of one history.

    Args:
        owners: int64 [E], the users.
        history: int64 [H], the events of their histories.
        lengths: int64 [E], how many there are of each.
        candidates: int64 [C], the events that are candidates.
        counts: int64 [E], how many there are of each; those without any make no example.
    """
    history, history_offsets = _only(counts > 0, history, lengths)
    after = np.repeat(lengths, counts).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int64)
    return Examples(owners[counts > 0], history, history_offsets, candidates, offsets, after)


def newest(index: np.ndarray, offsets: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """The last `max_length` of each segment of `index`, and their numbers."""
    lengths = np.minimum(np.diff(offsets), max_length)
    return index[segments(offsets[1:] - lengths, lengths)[0]], lengths


def rolling_examples(sequences: Sequences, wanted: np.ndarray, max_length: int) -> Examples:
    """Each wanted event is a candidate after the newest earlier events, whatever part of the split those are of.

    Events of its own moment are not earlier. Neighbours share a history: a candidate is judged by `max_length` events,
    or by up to a quarter fewer.

    Args:
        sequences: the sequences.
        wanted: bool [N], which events are candidates.
        max_length: most events of a history.
    """
    found, owners = np.flatnonzero(wanted), sequences.owners
    places = (first_of_moment(sequences, np.arange(len(wanted))) - sequences.offsets[owners])[found]
    users, chunk = owners[found], max(1, max_length // 4)
    new = np.ones(len(found), bool)
    new[1:] = (users[1:] != users[:-1]) | (places[1:] // chunk != places[:-1] // chunk)
    begins = np.flatnonzero(new)
    offsets = np.append(begins, len(found)).astype(np.int64)
    last = places[offsets[1:] - 1]  # How many events are earlier than the newest candidate.
    starts = np.maximum(last - max_length, 0)
    base = sequences.offsets[users[begins]]
    history, history_offsets = segments(base + starts, last - starts)
    after = (places - np.repeat(starts, np.diff(offsets))).astype(np.int32)
    return Examples(users[begins], history, history_offsets, found, offsets, after)


def judged_events(sequences: Sequences, kind: str, split: str, held_back: np.ndarray) -> np.ndarray:
    """The events that validate or test a ranker: those with a label.

    Args:
        sequences: the sequences.
        kind: of the split, such as "time".
        split: "validation" or "test".
        held_back: bool [I], the items that it must not know of.

    Returns:
        Bool [N].
    """
    if split not in ("validation", "test"):
        raise ValueError(f"split must be 'validation' or 'test'; got {split!r}.")
    owners, places = sequences.owners, sequences.places
    train_end, test_start = sequences.train_end[owners], sequences.test_start[owners]
    if kind == "folds_users":
        held = ~sequences.trains[owners] if sequences.trains is not None else np.zeros(len(owners), bool)
        part = held & ((train_end < test_start) if split == "validation" else (train_end == test_start))
    else:
        part = places >= (train_end if split == "validation" else test_start)
        part &= (places < test_start) | (split == "test")
    return part & known_labels(sequences) & ~held_back[sequences.rows]


def known_labels(sequences: Sequences) -> np.ndarray:
    """Which events have a label, bool [N]."""
    known = np.zeros(len(sequences.rows), bool)
    for values in sequences.labels.values():
        known |= ~np.isnan(values)
    return known


def _only(kept: np.ndarray, values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those segments of `values` that are kept, end to end, and their offsets."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places, kept_offsets = segments(offsets[:-1][kept], lengths[kept])
    return values[places], kept_offsets


def _joined(parts: Sequence[Examples]) -> Examples:
    """Examples one after the other."""

    def offsets(name: str) -> np.ndarray:
        counts = np.concatenate([np.diff(getattr(part, name)) for part in parts])
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def flat(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Examples(
        flat("owners"), flat("history"), offsets("history_offsets"), flat("candidates"), offsets("candidate_offsets"),
        flat("after"),
    )  # fmt: skip
