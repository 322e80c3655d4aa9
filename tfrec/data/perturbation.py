"""Histories with events taken out and popular items put in: how much of its accuracy a model keeps under noise."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrec.data.batches import EvaluationUsers
from tfrec.data.sequences import Ragged
from tfrec.features import PAD


def perturbed(
    users: EvaluationUsers, counts: np.ndarray, *, delete: float = 0.2, insert: float = 0.2, seed: int = 0
) -> EvaluationUsers:
    """The users of an evaluation, their histories disturbed; what was seen and what is relevant stay what they are.

    Args:
        users: the users.
        counts: [I], training events of each row: what is put in is drawn in proportion to them.
        delete: probability that an event is taken out.
        insert: probability that another event is put in before one, with the time of that event and no other feature.
        seed: the draws follow from it.

    Raises:
        ValueError: a probability outside 0 to 1.
    """
    for name, share in (("delete", delete), ("insert", insert)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1; got {share!r}.")
    rng = np.random.default_rng(seed)
    rows = users.histories.rows
    kept, added = rng.random(len(rows)) >= delete, rng.random(len(rows)) < insert
    copies = kept.astype(np.int64) + added
    source = np.repeat(np.arange(len(rows)), copies)
    first = np.concatenate([[0], np.cumsum(copies)])[:-1]
    foreign = np.zeros(len(source), bool)
    foreign[first[added]] = True  # Before the event itself, where that is kept.
    weights = np.where(np.arange(len(counts)) == PAD, 0, counts).astype(np.float64)
    drawn = rng.choice(len(counts), size=int(added.sum()), p=weights / weights.sum()).astype(rows.dtype)
    new_rows = rows[source]
    new_rows[foreign] = drawn
    events = {
        name: np.where(foreign & (values.dtype == np.int32), 0, values[source]).astype(values.dtype)
        for name, values in users.events.items()
    }
    lengths = np.bincount(users.histories.owners, copies, len(users.histories.user_ids)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return dataclasses.replace(users, histories=Ragged(users.histories.user_ids, new_rows, offsets), events=events)
