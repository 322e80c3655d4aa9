"""Histories with events taken out and popular items put in: how much of its accuracy a model keeps under noise.

The same noise in training teaches a model to live with it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfrec.data.batches import EvaluationUsers
from tfrec.data.sequences import Ragged, Windows, segments
from tfrec.features import PAD


@dataclass(frozen=True)
class Noise:
    """What disturbs a list of events.

    Attributes:
        counts: [I], training events of each row: what is put in is drawn in proportion to them.
        delete: probability that an event is taken out.
        insert: probability that another event is put in before one, with the time of that event and no other feature.
    """

    counts: np.ndarray
    delete: float = 0.2
    insert: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name in ("delete", "insert"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1; got {share!r}.")

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which of so many events are kept, and before which another one is put in; bool each."""
        return rng.random(count) >= self.delete, rng.random(count) < self.insert

    def mixed(
        self, rows: np.ndarray, events: dict[str, np.ndarray], source: np.ndarray, foreign: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
        """Rows and features of a disturbed list.

        Args:
            rows: int32 [N], the items of the events as they were.
            events: feature name -> values [N].
            source: int64 [M], the event that each of the list is, or comes before.
            foreign: bool [M], which are put in.
            rng: draws them.
        """
        weights = np.where(np.arange(len(self.counts)) == PAD, 0, self.counts).astype(np.float64)
        new_rows = rows[source]
        new_rows[foreign] = rng.choice(len(weights), size=int(foreign.sum()), p=weights / weights.sum())
        return new_rows, {
            name: np.where(foreign & (values.dtype == np.int32), 0, values[source]).astype(values.dtype)
            for name, values in events.items()
        }


def perturbed(
    users: EvaluationUsers, counts: np.ndarray, *, delete: float = 0.2, insert: float = 0.2, seed: int = 0
) -> EvaluationUsers:
    """The users of an evaluation, their histories disturbed; what was seen and what is relevant stay what they are.

    Args:
        users: the users.
        counts: see `Noise`, as the next two.
        delete: how much is taken out.
        insert: how much is put in.
        seed: the draws follow from it.

    Raises:
        ValueError: a probability outside 0 to 1.
    """
    noise, rng, lists = Noise(counts, delete, insert), np.random.default_rng(seed), users.histories
    kept, added = noise.draw(len(lists.rows), rng)
    source, foreign = _listed(kept, added)
    rows, events = noise.mixed(lists.rows, dict(users.events), source, foreign, rng)
    lengths = np.bincount(lists.owners, kept.astype(np.int64) + added, len(lists.user_ids)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return dataclasses.replace(users, histories=Ragged(lists.user_ids, rows, offsets), events=events)


def disturber(
    counts: np.ndarray, delete: float, insert: float
) -> Callable[[Windows, np.random.Generator], Windows] | None:
    """What disturbs the windows of an epoch by a generator, see `disturbed_windows`; None where it is no noise.

    Raises:
        ValueError: a probability outside 0 to 1.
    """
    noise = Noise(counts, delete, insert)
    return functools.partial(disturbed_windows, noise) if delete or insert else None


def disturbed_windows(noise: Noise, windows: Windows, rng: np.random.Generator) -> Windows:
    """The windows of an epoch as if some of their events had not been logged, and others had been by mistake.

    What is taken out is neither read nor asked for; what is put in is read, and the event asked for after it is the
    next true one. A window's last event, which is only asked for, stays.
    """
    index, offsets = segments(windows.starts, windows.lengths + 1)
    kept, added = noise.draw(len(index), rng)
    kept[offsets[1:] - 1] = True
    source, foreign = _listed(kept, added)
    events = {name: values[index] for name, values in windows.events.items()}
    rows, events = noise.mixed(windows.rows[index], events, source, foreign, rng)
    after = np.where(kept, np.arange(len(index)), len(index))
    after = np.minimum.accumulate(after[::-1])[::-1]  # The next event that was kept, itself included.
    lengths = np.add.reduceat(kept.astype(np.int64) + added, offsets[:-1])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return dataclasses.replace(
        windows, starts=starts, lengths=lengths - 1, slack=np.zeros_like(windows.slack), rows=rows,
        targets=windows.targets[index][after[source]], events=events,
    )  # fmt: skip


def _listed(kept: np.ndarray, added: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The events of a disturbed list, int64 [M], and which of them stand for one put in before, bool [M]."""
    copies = kept.astype(np.int64) + added
    source = np.repeat(np.arange(len(kept)), copies)
    foreign = np.zeros(len(source), bool)
    foreign[np.concatenate([[0], np.cumsum(copies)])[:-1][added]] = True  # Before the event itself, where that is kept.
    return source, foreign
