"""Texts as tokens, and the batches of an epoch of pretraining: by length, under a token budget; before `fit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrec.data.streaming import streamed
from tfrec.towers.text_models import TextModel

IDS, LENGTHS = "ids", "lengths"
TEXTS_AT_ONCE = 4096
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tokens:
    """The tokens of N texts, one after the other.

    Attributes:
        values: int32 [S].
        offsets: int64 [N + 1]; text n has the tokens from `offsets[n]` to `offsets[n + 1]`.
        pad: the token that fills rows up.
    """

    values: np.ndarray
    offsets: np.ndarray
    pad: int

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self.offsets)

    def padded(self, members: np.ndarray) -> Batch:
        """`IDS` int32 [B, T] and `LENGTHS` int32 [B] of the texts `members` int64 [B]; T is at least 1."""
        lengths = self.lengths[members]
        steps = np.arange(max(1, int(lengths.max(initial=0))))
        held = steps < lengths[:, None]
        index = np.where(held, self.offsets[members][:, None] + steps, 0)
        ids = np.where(held, self.values[index], self.pad) if len(self.values) else np.full(held.shape, self.pad)
        return {IDS: ids.astype("int32"), LENGTHS: lengths.astype("int32")}


def tokenize(model: TextModel, texts: Sequence[str]) -> Tokens:
    """The tokens of texts as the model reads them, marks included."""
    values, lengths = [np.zeros(0, "int32")], [np.zeros(0, "int64")]
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        ids, count = (part.numpy() for part in model.tokens(tf.constant(list(texts[start : start + TEXTS_AT_ONCE]))))
        values.append(ids[np.arange(ids.shape[1]) < count[:, None]])
        lengths.append(count.astype("int64"))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Tokens(np.concatenate(values), offsets, model.pad)


class TextPlan:
    """The batches of each epoch: the same number in every one, other members and another order in each.

    Attributes:
        epoch: the epoch that the next pass over `dataset()` plays; each pass raises it by one. Set it to resume.
    """

    def __init__(self, tokens: Tokens, members: np.ndarray, *, tokens_per_batch: int, seed: int = 0) -> None:
        """Plan the epochs.

        Args:
            tokens: all texts.
            members: int64 [M], those of them that an epoch passes.
            tokens_per_batch: most tokens of a batch, padding included; a longer text is a batch of its own.
            seed: of the shuffling; epoch `e` depends on (seed, e) alone.
        """
        self.epoch = 0
        self._tokens, self._members, self._seed = tokens, members, seed
        self._sizes = list(_sizes(np.sort(tokens.lengths[members]), tokens_per_batch))

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return len(self._sizes)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Which texts each batch of an epoch holds, in order: texts of about one length, but by chance which."""
        rng = np.random.default_rng([self._seed, epoch])
        shuffled = rng.permutation(self._members)
        shuffled = shuffled[np.argsort(self._tokens.lengths[shuffled], kind="stable")]
        batches = np.split(shuffled, np.cumsum(self._sizes)[:-1])
        return [batches[place] for place in rng.permutation(len(batches))]

    def dataset(self) -> tf.data.Dataset:
        """Batches of `IDS` [B, T] and `LENGTHS` [B]. Each pass is a new epoch."""
        spec = {IDS: tf.TensorSpec([None, None], tf.int32), LENGTHS: tf.TensorSpec([None], tf.int32)}
        return streamed(self._play, spec, len(self))

    def _play(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for members in self.batches(epoch):
            yield self._tokens.padded(members)


def _sizes(lengths: np.ndarray, budget: int) -> Iterator[int]:
    """Texts of each batch, the shortest texts first, such that rows x longest stays within the budget."""
    size = 0
    for length in lengths.tolist():
        if size and (size + 1) * max(length, 1) > budget:
            yield size
            size = 0
        size += 1
    if size:
        yield size
