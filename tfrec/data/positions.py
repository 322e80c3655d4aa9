"""Training events, each beside what its user did before it, in the form in which users are evaluated."""

from __future__ import annotations

import numpy as np

from tfrec.data.batches import EvaluationUsers, TextVectors, Users
from tfrec.data.sequences import Ragged, Sequences, distinct, segments, training_events


def training_positions(
    sequences: Sequences, held_out: np.ndarray, users: Users, *, max_length: int, keep: bool, most: int | None = None
) -> EvaluationUsers:
    """Each training event of a target type that others came before, with these others as its history.

    Args:
        sequences: the sequences.
        held_out: bool [I], the items that no training sequence may contain.
        users: the features of all users.
        max_length: events of a history that a batch holds.
        keep: whether what was seen may come back.
        most: of each user the newest events alone, so many; None for all.

    Returns:
        One entry an event; its user's id stands at each.
    """
    index, offsets = training_events(sequences, held_out)
    sizes = np.diff(offsets)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    before = np.arange(len(index)) - offsets[owners]
    found = np.flatnonzero(sequences.is_target[index] & (before > 0))
    if most is not None:
        counts = np.bincount(owners[found], minlength=len(sizes))
        left = np.repeat(np.cumsum(counts), counts) - np.arange(len(found))  # The user's newest has 1.
        found = found[left <= most]
    places, starts = segments(offsets[owners[found]], before[found])
    ids, events = sequences.user_ids[owners[found]], index[places]
    histories = Ragged(ids, sequences.rows[events], starts)
    nothing = Ragged(ids, histories.rows[:0], np.zeros(len(found) + 1, np.int64))
    return EvaluationUsers(
        histories=histories,
        seen=nothing if keep else distinct(histories, len(held_out)),
        relevant=Ragged(ids, sequences.rows[index[found]], np.arange(len(found) + 1)),
        events={name: values[events] for name, values in sequences.events.items()},
        users={
            name: values.of(owners[found]) if isinstance(values, TextVectors) else values[owners[found]]
            for name, values in users.items()
        },
        max_length=max_length,
        barred=np.zeros(0, np.int32),
    )
