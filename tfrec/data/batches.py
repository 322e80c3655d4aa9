"""Batches: padded NumPy arrays assembled from flat ones, by length under a token budget; the last step before `fit`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfrec.data.buckets import LengthBuckets, check_whole
from tfrec.data.sequences import Ragged, Windows
from tfrec.data.shares import WHOLE, Share
from tfrec.data.streaming import streamed
from tfrec.features import BARRED, HISTORY, RELEVANT, SEEN, TARGET, TIMESTAMP, USER_ID, batch_spec

if TYPE_CHECKING:
    import tensorflow as tf

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class TextVectors:
    """A feature of the users that is looked up when a batch is made, so that users of one text share its vectors.

    Attributes:
        codes: int [users], places in `table`; 0 = missing.
        table: float [N + 1, W], a vector a text, or [N + 1, K, W], vectors of its words, row 0 zeros; so often as there
            are `versions`, the texts as they are first.
        versions: of each text, of which training draws one for each user in each epoch.
    """

    codes: np.ndarray
    table: np.ndarray
    versions: int = 1

    def __getitem__(self, members: np.ndarray) -> np.ndarray:
        """float32 [B, W] or [B, K, W] of the users `members`."""
        return self.table[self.codes[members]].astype(np.float32, copy=False)

    def of(self, users: np.ndarray) -> TextVectors:
        """The feature of some users."""
        return TextVectors(self.codes[users], self.table)

    def drawn(self, rng: np.random.Generator) -> TextVectors:
        """The feature as an epoch trains it."""
        if self.versions == 1:
            return self
        texts = len(self.table) // self.versions
        return TextVectors(self.codes + texts * rng.integers(self.versions, size=len(self.codes)), self.table)


def text_table(vectors: np.ndarray, variants: np.ndarray | None) -> tuple[np.ndarray, int]:
    """The table of `TextVectors` from float [N, W] and variants [V, N, W], where zeros stand for the text itself.

    Returns:
        The table, and the versions of each text that it holds.
    """
    missing, versions = np.zeros((1, vectors.shape[1]), np.float32), [vectors]
    for each in variants if variants is not None else ():
        versions.append(np.where(each.any(axis=1, keepdims=True), each, vectors))
    whole = np.concatenate([part for each in versions for part in (missing, each)])
    return whole.astype(np.float32), len(versions)


Users = Mapping[str, np.ndarray | TextVectors]


def features_of(features: Users, users: np.ndarray) -> Users:
    """The features of some users, int64 [B]."""
    return {
        name: values.of(users) if isinstance(values, TextVectors) else values[users]
        for name, values in features.items()
    }


def drawn_users(users: Users, seed: int, epoch: int) -> Users:
    """The features of the users as an epoch trains them."""
    rng = np.random.default_rng([seed, epoch, 3])
    return {name: each.drawn(rng) if isinstance(each, TextVectors) else each for name, each in users.items()}


class EpochPlan(LengthBuckets):
    """The batches of training windows of each epoch: the same number in every one, other members and another order.

    Args:
        windows: the training windows.
        users: feature name -> codes [users], or vectors of texts.
        tokens_per_batch: most events of a batch, padding included: rows x longest window.
        seed: of the shuffling; epoch `e` depends on (seed, e) alone.
        disturb: (windows of an epoch, generator) -> what is trained in their place; None for themselves.
        held: bool [W], the windows that batches are made of in this process; None for all. It decides nothing about
            which windows a batch has, so that several processes that hold different ones play the same batches.

    Attributes:
        epoch: the epoch that the next pass over `dataset()` plays; each pass raises it by one. Set it to resume.
    """

    def __init__(
        self,
        windows: Windows,
        users: Users,
        *,
        tokens_per_batch: int = 4096,
        seed: int = 0,
        disturb: Callable[[Windows, np.random.Generator], Windows] | None = None,
        held: np.ndarray | None = None,
    ) -> None:
        """See the class."""
        super().__init__(windows.lengths + 1, tokens_per_batch, seed)
        self.epoch = 0
        self._windows, self._users, self._disturb, self._held = windows, users, disturb, held

    def dataset(self, share: Share = WHOLE) -> tf.data.Dataset:
        """Batches of `HISTORY` [B, T], `TARGET` [B, T + 1], the event features [B, T] and the user features [B].

        T differs from batch to batch. Each pass is a new epoch. Of a `share`, its parts of each batch; one that has no
        window is a row of padding, which has nothing to learn.
        """
        import tensorflow as tf

        spec = input_spec(self._windows.events, self._users)
        spec[TARGET] = tf.TensorSpec([None, None], tf.int32, TARGET)
        return streamed(functools.partial(self._play, share), spec, len(self) * len(share.parts))

    def _play(self, share: Share) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        windows = self._windows.drawn(np.random.default_rng([self._seed, epoch, 1]))
        if self._disturb is not None:
            windows = self._disturb(windows, np.random.default_rng([self._seed, epoch, 2]))
        users = drawn_users(self._users, self._seed, epoch)
        for members in self.batches(epoch):
            for part in share.cut(members if self._held is None else members[self._held[members]]):
                yield training_batch(windows, users, part) if len(part) else nothing(windows, users)


def nothing(windows: Windows, users: Users) -> Batch:
    """A batch of one row that is all padding, in place of some members of which none is this process's."""
    batch = {HISTORY: np.zeros((1, 1), np.int32), TARGET: np.zeros((1, 2), np.int32)}
    batch |= {name: np.zeros((1, 1), values.dtype) for name, values in windows.events.items()}
    return batch | {name: np.zeros_like(codes[np.zeros(1, np.int64)]) for name, codes in users.items()}


def training_batch(windows: Windows, users: Users, members: np.ndarray) -> Batch:
    """One padded batch of training windows.

    Args:
        windows: the windows.
        users: feature name -> codes [users], or vectors of texts.
        members: int64 [B], the windows of the batch.

    Returns:
        See `EpochPlan.dataset`.
    """
    lengths = windows.lengths[members]
    starts = windows.starts[members][:, None]
    steps = np.arange(max(1, int(lengths.max())) + 1)
    index = np.minimum(starts + steps, len(windows.rows) - 1)
    target = np.where(steps <= lengths[:, None], windows.targets[index], 0)
    target[~windows.whole[members], 0] = 0
    index, held = index[:, :-1], steps[:-1] < lengths[:, None]
    batch = {HISTORY: np.where(held, windows.rows[index], 0), TARGET: target}
    batch |= {name: np.where(held, values[index], 0) for name, values in windows.events.items()}
    return batch | {name: codes[windows.owners[members]] for name, codes in users.items()}


@dataclass(frozen=True)
class EvaluationUsers:
    """What an evaluation reads: one entry a user in each list.

    Attributes:
        histories: whole histories.
        seen: distinct rows of them; empty lists when what was seen may come back.
        relevant: what counts as a hit.
        events: feature name -> values beside `histories.rows`.
        users: feature name -> codes [users], or vectors of texts.
        max_length: events of a history that a batch holds, the newest ones.
        barred: item rows that nobody is recommended.
    """

    histories: Ragged
    seen: Ragged
    relevant: Ragged
    events: Batch
    users: Users
    max_length: int
    barred: np.ndarray

    def order(self, members: np.ndarray | None = None) -> np.ndarray:
        """The users in the order of `dataset`, int64."""
        chosen = np.arange(len(self.histories.user_ids)) if members is None else members
        return chosen[np.argsort(self.histories.lengths[chosen], kind="stable")]

    def dataset(
        self, batch_size: int, members: np.ndarray | None = None, *, share: Share = WHOLE, least: int = 0
    ) -> tf.data.Dataset:
        """Batches of similar lengths, the same each time: `HISTORY` [B, T], `SEEN` [B, S], `RELEVANT` [B, R] and more.

        Args:
            batch_size: users of a batch.
            members: int64, some of the users; all where None.
            share: which parts of each batch; one may be without users.
            least: batches at least; those beyond the last user are empty.

        Returns:
            Also the event features [B, T], the user features [B], `USER_ID`, string [B], and `BARRED`, the same rows in
            every batch, where there are any. T, S and R are at least 1.
        """
        import tensorflow as tf

        check_whole("batch_size", batch_size, least=1)
        spec = input_spec(self.events, self.users)
        spec |= {name: tf.TensorSpec([None, None], tf.int32, name) for name in (SEEN, RELEVANT)}
        spec[USER_ID] = tf.TensorSpec([None], tf.string, USER_ID)
        if len(self.barred):
            spec[BARRED] = tf.TensorSpec([len(self.barred)], tf.int32, BARRED)
        order = self.order(members)
        count = max(math.ceil(len(order) / batch_size), least)

        def play() -> Iterator[Batch]:
            for place in range(count):
                yield from map(self.batch, share.cut(order[place * batch_size :][:batch_size]))

        return streamed(play, spec, count * len(share.parts))

    def batch(self, members: np.ndarray) -> Batch:
        """One padded batch of the users `members`, int64 [B]; see `dataset`."""
        ends = self.histories.offsets[members + 1]
        lengths = np.minimum(self.histories.lengths[members], self.max_length)
        pick = padded(ends - lengths, lengths, len(self.histories.rows))
        batch = {HISTORY: pick(self.histories.rows)}
        batch |= {name: pick(values) for name, values in self.events.items()}
        for name, lists in ((SEEN, self.seen), (RELEVANT, self.relevant)):
            batch[name] = padded(lists.offsets[members], lists.lengths[members], len(lists.rows))(lists.rows)
        batch |= {name: codes[members] for name, codes in self.users.items()}
        batch |= {BARRED: self.barred} if len(self.barred) else {}
        return batch | {USER_ID: self.histories.user_ids[members]}


def padded(starts: np.ndarray, lengths: np.ndarray, total: int) -> Callable[[np.ndarray], np.ndarray]:
    """A gather of segments from a flat array of `total` values into [B, T], 0 beyond each length, T at least 1."""
    steps = np.arange(max(1, int(lengths.max(initial=0))))
    index = np.minimum(starts[:, None] + steps, max(total - 1, 0))
    held = steps < lengths[:, None]
    return lambda values: np.where(held, values[index], 0) if total else np.zeros(held.shape, values.dtype)


def input_spec(events: Mapping[str, np.ndarray], users: Users) -> dict[str, tf.TensorSpec]:
    """Specs of the inputs; the names of the features are already those of a batch."""
    import tensorflow as tf

    spec = batch_spec(timestamps=TIMESTAMP in events)
    spec |= {name: tf.TensorSpec([None, None], tf.int32, name) for name in events if name != TIMESTAMP}
    for name, values in users.items():
        shape, kind = (values.table.shape[1:], tf.float32) if isinstance(values, TextVectors) else ((), tf.int32)
        spec[name] = tf.TensorSpec([None, *shape], kind, name)
    return spec
