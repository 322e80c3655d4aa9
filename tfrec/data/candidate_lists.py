"""What a second stage learns from: what came next beside sampled and mined negatives, drawn anew each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfrec.data.batches import Batch, EvaluationUsers, input_spec, padded
from tfrec.data.streaming import streamed
from tfrec.features import CANDIDATES, HISTORY, NEXT, NORMALISER, PAD, STATE, label_feature

if TYPE_CHECKING:
    import tensorflow as tf

FEW = 1e-12  # Of the sum of chances: an item that is never drawn has none.


@dataclass(frozen=True)
class RecalledLists:
    """What the retrieval model recalls after each of N histories.

    Attributes:
        rows: int32 [N, R] item rows, best first; PAD where the catalogue is exhausted.
        normaliser: float32 [N], the logarithm of the sum of exp(score) over each list.
        states: float32 [N, D], the queries; their products with item vectors are the scores.
    """

    rows: np.ndarray
    normaliser: np.ndarray
    states: np.ndarray

    def hits(self, users: EvaluationUsers) -> np.ndarray:
        """Bool [N, R]: which of the recalled items are relevant."""
        found = np.zeros(self.rows.shape, bool)
        relevant = _whole(users, np.arange(len(self.rows)))
        for column in relevant.T:
            found |= (self.rows == column[:, None]) & (column != PAD)[:, None]
        return found


@dataclass(frozen=True)
class NegativeDraws:
    """How the negatives of a position are drawn.

    Attributes:
        count: negatives of a position.
        mined: share of them that the retrieval model recalled for that very history, and that did not come next.
        chances: float [I], the others are drawn in proportion to it; 0 for what is never drawn.
    """

    count: int
    mined: float
    chances: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what draws nothing."""
        if self.count < 1 or not 0 <= self.mined <= 1:
            raise ValueError(
                f"`count` must be 1 or more and `mined` from 0 to 1; received {self.count} and {self.mined}."
            )
        if self.drawn and not self.chances.sum() > FEW:
            raise ValueError("`chances` must be above 0 for at least one item.")

    @property
    def drawn(self) -> int:
        """How many are not mined."""
        return self.count - round(self.count * self.mined)


class CandidatePlan:
    """The batches of each epoch: a history, an item that came next, and negatives beside it.

    Positions whose next item was not recalled are left out: there is nothing that a second stage could order.

    Args:
        users: histories and what came next.
        members: int64, which of them train.
        recalled: what the retrieval model recalls of each.
        negatives: how negatives are drawn.
        batch_size: positions of a batch.
        seed: epoch `e` depends on (seed, e) alone.

    Attributes:
        epoch: the epoch that the next pass over `dataset()` plays; each pass raises it by one. Set it to resume.
    """

    def __init__(
        self, users: EvaluationUsers, members: np.ndarray, recalled: RecalledLists, negatives: NegativeDraws,
        *, batch_size: int = 128, seed: int = 0,
    ) -> None:  # fmt: skip
        """See the class.

        Raises:
            ValueError: nothing that came next was recalled.
        """
        self._hits = recalled.hits(users)
        self._members = members[self._hits[members].any(axis=1)]
        if not len(self._members):
            raise ValueError(
                f"Of the {len(members)} events that a second stage may learn from, none was recalled: "
                "raise ranking.recall, or train the retrieval model for longer."
            )
        self.epoch = 0
        self._users, self._recalled, self._negatives = users, recalled, negatives
        self._batch_size, self._seed = batch_size, seed
        self._chances = np.cumsum(negatives.chances / max(negatives.chances.sum(), FEW))

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return -(-len(self._members) // self._batch_size)

    @property
    def positions(self) -> int:
        """Number of positions that train."""
        return len(self._members)

    def dataset(self) -> tf.data.Dataset:
        """Batches of `HISTORY` [B, T], `CANDIDATES` [B, 1 + count], the label `NEXT` beside them.

        `NORMALISER` [B] and `STATE` [B, D] are what the retrieval model found, which need not be asked again.

        The other inputs of a history come with them. Labels are 1 or 0, NaN where there is no candidate. Each pass is
        a new epoch.
        """
        import tensorflow as tf

        spec = input_spec(self._users.events, self._users.users)
        spec[CANDIDATES] = tf.TensorSpec([None, None], tf.int32, CANDIDATES)
        spec[label_feature(NEXT)] = tf.TensorSpec([None, None], tf.float32, label_feature(NEXT))
        spec[STATE] = tf.TensorSpec([None, self._recalled.states.shape[1]], tf.float32, STATE)
        spec[NORMALISER] = tf.TensorSpec([None], tf.float32, NORMALISER)
        return streamed(self._play, spec, len(self))

    def _play(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._members)
        for start in range(0, len(order), self._batch_size):
            yield self._batch(order[start : start + self._batch_size], rng)

    def _batch(self, members: np.ndarray, rng: np.random.Generator) -> Batch:
        inputs = (HISTORY, *self._users.events, *self._users.users)
        whole = self._users.batch(members)
        candidates = self._drawn(members, rng)
        labels = np.zeros(candidates.shape, np.float32)
        labels[:, 0] = 1
        labels[candidates == PAD] = np.nan
        batch = {name: whole[name] for name in inputs} | {CANDIDATES: candidates, label_feature(NEXT): labels}
        found = self._recalled
        return batch | {NORMALISER: found.normaliser[members], STATE: found.states[members]}

    def _drawn(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Int32 [B, 1 + count]: something that came next, mined negatives, other negatives; PAD where there is none."""
        rows, hits = self._recalled.rows[members], self._hits[members]
        chance = rng.random(rows.shape)
        positive = np.take_along_axis(rows, np.argmax(chance * hits, axis=1)[:, None], axis=1)
        mined = min(self._negatives.count - self._negatives.drawn, rows.shape[1])
        chance[hits | (rows == PAD)] = 2.0  # Last: not to be taken.
        taken = np.argsort(chance, axis=1)[:, :mined]
        wrong = np.where(np.take_along_axis(chance, taken, axis=1) < 2.0, np.take_along_axis(rows, taken, axis=1), PAD)
        return np.concatenate([positive, wrong, self._others(members, rng)], axis=1).astype(np.int32)

    def _others(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Int [B, drawn]: items by their chance, PAD where one came next or may not be recommended."""
        shape = (len(members), self._negatives.drawn)
        found = np.searchsorted(self._chances, rng.random(shape), side="right").clip(max=len(self._chances) - 1)
        seen = self._users.seen
        for lists in (_whole(self._users, members), _lists(seen.offsets, seen.rows, members)):
            for column in lists.T:
                found[found == column[:, None]] = PAD
        found[np.isin(found, self._users.barred)] = PAD
        return found


def _whole(users: EvaluationUsers, members: np.ndarray) -> np.ndarray:
    """The relevant items of some users, int [B, P], 0-padded."""
    return _lists(users.relevant.offsets, users.relevant.rows, members)


def _lists(offsets: np.ndarray, rows: np.ndarray, members: np.ndarray) -> np.ndarray:
    return padded(offsets[members], np.diff(offsets)[members], len(rows))(rows)
