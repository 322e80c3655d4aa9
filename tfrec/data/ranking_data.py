"""What a ranker learns from and is measured on: the labelled events of a data set, each beside its history."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tfrec.data.datasets import Dataset
from tfrec.data.example_batches import ExamplePlan, ExampleSource, in_order
from tfrec.data.examples import (
    Examples,
    causal_examples,
    held_out_examples,
    judged_events,
    newest,
    parted_examples,
    rolling_examples,
)
from tfrec.data.sequences import first_of_moment, histories, training_events, training_windows
from tfrec.features import ITEM_ID, USER_ID

if TYPE_CHECKING:
    import tensorflow as tf


class RankingData:
    """The labelled events of a data set.

    Where the split respects time, a candidate's history is all that the user did before, after the cut too, and
    nothing of the candidate's own moment: events that share a timestamp, or a position, were seen together. Under
    `folds_events` it is the user's other training events; under `folds_users` all events of the users held out are
    judged, each by those before it.

    Attributes:
        data: the data set.
        context: columns of the events that are read of a candidate's event too.
    """

    def __init__(self, data: Dataset, context: Collection[str] = ()) -> None:
        """Look at a data set.

        Raises:
            ValueError: it has no labels, or `context` names what is no categorical column of its events, or a label's.
        """
        if not data.labels:
            raise ValueError(
                "The data set has no labels, and a ranker predicts them: name them in data.events.labels, such as"
                " click: {column: rating, at_least: 4}. Plain events are ranked by the next item in two stages: set"
                " ranking.recall, such as 200."
            )
        for column in context:
            if column not in data.event_columns:
                known = ", ".join(map(repr, data.event_columns)) or "none"
                raise ValueError(f"context names {column!r}; the categorical columns of the events are: {known}.")
            label = next((name for name, label in data.labels.items() if label.column == column), None)
            if label is not None:
                raise ValueError(f"context names {column!r}, the column of the label {label!r}: it tells the answer.")
        self.data, self.context = data, tuple(context)
        self._source = ExampleSource(data.sequences, data.user_features(), self.context)
        self._kind = data.manifest["split"]["kind"]

    def train_plan(self, tokens_per_batch: int = 4096, seed: int = 0) -> ExamplePlan:
        """The plan of the training batches, whose `epoch` can be set to play an epoch again."""
        sequences, held_out, length = self.data.sequences, self.data.held_out > 0, self.data.max_length
        if self._kind == "folds_events":
            return self._plan(lambda rng: parted_examples(sequences, held_out, length, rng), tokens_per_batch, seed)
        index, _ = training_events(sequences, held_out)
        first = first_of_moment(sequences, index)
        windows = training_windows(sequences, held_out, length, drawn=self.data.draws_windows)
        return self._plan(lambda rng: causal_examples(windows.drawn(rng), index, first), tokens_per_batch, seed)

    def training_labels(self, label: str) -> np.ndarray:
        """The known values of a label in training, float32."""
        return self.data.sequences.labels[label][self.training_events(label)]

    def training_events(self, label: str) -> np.ndarray:
        """The training events of which a label is known, int64."""
        index, _ = training_events(self.data.sequences, self.data.held_out > 0)
        return index[~np.isnan(self.data.sequences.labels[label][index])]

    def judged_labels(self, split: str, label: str) -> np.ndarray:
        """The known values of a label in "validation" or "test", float32."""
        values = self.data.sequences.labels[label][self._wanted(split)]
        return values[~np.isnan(values)]

    def judged(self, split: str, tokens_per_batch: int = 4096) -> tuple[tf.data.Dataset, np.ndarray]:
        """The candidates of "validation" or "test": their batches, and their events in the order of the batches."""
        return in_order(self._source, self.examples(split), tokens_per_batch=tokens_per_batch)

    def examples(self, split: str) -> Examples:
        """The candidates of "validation" or "test", and their histories."""
        sequences, length = self.data.sequences, self.data.max_length
        wanted = self._wanted(split)
        if self._kind != "folds_events":
            return rolling_examples(sequences, wanted, length)
        users = np.unique(sequences.owners[wanted])
        index, lists = histories(sequences, users, split)
        history, lengths = newest(index, lists.offsets, length)
        counts = np.bincount(sequences.owners[wanted], minlength=len(sequences.user_ids))[users]
        return held_out_examples(users, history, lengths, np.flatnonzero(wanted), counts)

    def truth(self, events: np.ndarray) -> pd.DataFrame:
        """`user_id`, `item_id` and a column a label, of the given events; int64 [C]."""
        sequences = self.data.sequences
        ids = self.data.items[ITEM_ID].to_numpy(dtype=object)
        users = sequences.user_ids[sequences.owners[events]]
        table = pd.DataFrame({USER_ID: users, ITEM_ID: ids[sequences.rows[events]]})
        return table.astype("str").assign(**{name: values[events] for name, values in sequences.labels.items()})

    def new_users(self, events: np.ndarray) -> np.ndarray:
        """Bool [C], which of the given events are of users without training events."""
        sequences = self.data.sequences
        _, offsets = training_events(sequences, self.data.held_out > 0)
        return (np.diff(offsets) == 0)[sequences.owners[events]]

    def new_items(self, events: np.ndarray) -> np.ndarray:
        """Bool [C], which of the given events are of items without training events."""
        sequences = self.data.sequences
        index, _ = training_events(sequences, self.data.held_out > 0)
        return ~np.isin(sequences.rows[events], sequences.rows[index])

    def _plan(self, draw: Callable[[np.random.Generator], Examples], tokens: int, seed: int) -> ExamplePlan:
        return ExamplePlan(self._source, draw, tokens_per_batch=tokens, seed=seed)

    def _wanted(self, split: str) -> np.ndarray:
        """Bool [N], the labelled events that validate or test; see `judged_events`."""
        return judged_events(self.data.sequences, self._kind, split, self.data.held_back(split))
