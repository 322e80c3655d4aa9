"""Batches of a ranker's examples: padded NumPy arrays, by length under a token budget; the last step before `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tfrec.data.batches import Batch, Users, drawn_users, input_spec, padded
from tfrec.data.buckets import LengthBuckets
from tfrec.data.examples import Examples
from tfrec.data.sequences import Sequences, segments
from tfrec.data.streaming import streamed
from tfrec.features import AFTER, CANDIDATES, HISTORY, USER_ID, context_feature, event_feature, label_feature

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class ExampleSource:
    """What the batches of examples are gathered from.

    Attributes:
        sequences: the users' events and their labels.
        users: feature name -> codes [U], or vectors of texts.
        context: columns of the events that are read of a candidate's event too.
    """

    sequences: Sequences
    users: Users
    context: tuple[str, ...] = ()

    def spec(self) -> dict[str, tf.TensorSpec]:
        """Names, shapes and types of a batch."""
        import tensorflow as tf

        spec = input_spec(self.sequences.events, self.users)
        spec |= {name: tf.TensorSpec([None, None], tf.int32, name) for name in (CANDIDATES, AFTER)}
        for column in self.context:
            name = context_feature(column)
            spec[name] = tf.TensorSpec([None, None], tf.int32, name)
        for label in self.sequences.labels:
            name = label_feature(label)
            spec[name] = tf.TensorSpec([None, None], tf.float32, name)
        return spec

    def batch(self, examples: Examples, members: np.ndarray) -> Batch:
        """One padded batch of some examples, int64 [B]; see `ExamplePlan.dataset`."""
        sequences = self.sequences
        past = _picked(examples.history, examples.history_offsets, members)
        judged = _picked(examples.candidates, examples.candidate_offsets, members)
        batch = {HISTORY: past(sequences.rows), CANDIDATES: judged(sequences.rows)}
        batch[AFTER] = _picked(np.arange(len(examples.after)), examples.candidate_offsets, members)(examples.after)
        batch |= {name: past(values) for name, values in sequences.events.items()}
        for column in self.context:
            batch[context_feature(column)] = judged(sequences.events[event_feature(column)])
        for label, values in sequences.labels.items():
            batch[label_feature(label)] = np.where(batch[CANDIDATES] > 0, judged(values), np.float32(np.nan))
        return batch | {name: values[examples.owners[members]] for name, values in self.users.items()}


def _picked(events: np.ndarray, offsets: np.ndarray, members: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A gather of the events of some segments from an array of all events into [B, T], 0 beyond each one's length."""
    gather = padded(offsets[members], np.diff(offsets)[members], len(events))
    return lambda values: gather(values[events])


class ExamplePlan(LengthBuckets):
    """The batches of examples of each epoch, drawn anew where the examples are.

    Args:
        source: what batches are gathered from.
        draw: (generator) -> the examples of an epoch, of the same sizes in the same order every time.
        tokens_per_batch: most events of a batch, padding included.
        seed: epoch `e` depends on (seed, e) alone.

    Attributes:
        epoch: the epoch that the next pass over `dataset()` plays; each pass raises it by one. Set it to resume.
    """

    def __init__(
        self,
        source: ExampleSource,
        draw: Callable[[np.random.Generator], Examples],
        *,
        tokens_per_batch: int = 4096,
        seed: int = 0,
    ) -> None:
        """See the class."""
        super().__init__(draw(np.random.default_rng(0)).sizes, tokens_per_batch, seed)
        self.epoch = 0
        self._source, self._draw = source, draw

    def dataset(self) -> tf.data.Dataset:
        """Batches: `HISTORY` [B, T] and the event features [B, T]; `CANDIDATES`, `AFTER`, context and labels [B, C].

        User features are [B]. T and C differ from batch to batch and are at least 1. Each pass is a new epoch.
        """
        return streamed(self._play, self._source.spec(), len(self))

    def _play(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        examples = self._draw(np.random.default_rng([self._seed, epoch, 1]))
        source = replace(self._source, users=drawn_users(self._source.users, self._seed, epoch))
        for members in self.batches(epoch):
            yield source.batch(examples, members)


def in_order(
    source: ExampleSource, examples: Examples, *, tokens_per_batch: int = 4096
) -> tuple[tf.data.Dataset, np.ndarray]:
    """All examples once, of like lengths, the same each time.

    Args:
        source: what batches are gathered from.
        examples: what is judged.
        tokens_per_batch: most events of a batch, padding included.

    Returns:
        Batches as those of `ExamplePlan.dataset`, with `USER_ID`, string [B]; and the candidates' events in their
        order, int64 [C]: those of the first example of the first batch, and so on.
    """
    import tensorflow as tf

    batches = LengthBuckets(examples.sizes, tokens_per_batch, 0).batches(0)

    def play() -> Iterator[Batch]:
        for members in batches:
            users = source.sequences.user_ids[examples.owners[members]]
            yield source.batch(examples, members) | {USER_ID: users}

    spec = source.spec() | {USER_ID: tf.TensorSpec([None], tf.string, USER_ID)}
    order = np.concatenate(batches) if batches else np.zeros(0, np.int64)
    counts = np.diff(examples.candidate_offsets)
    places, _ = segments(examples.candidate_offsets[:-1][order], counts[order])
    return streamed(play, spec, len(batches)), examples.candidates[places]
