"""What becomes a dataset, told and written part by part of the log; the workshop of `prepare`."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from tfrec.data.datasets import ITEM_FEATURES, ITEMS, VOCABULARIES
from tfrec.data.items import category_codes, item_rows, read_item_ids, standardised
from tfrec.data.options import ItemColumns, PrepareOptions
from tfrec.data.records import ShardWriter
from tfrec.data.scored_events import EventWriter
from tfrec.data.sequences import Sequences
from tfrec.data.split_log import SplitLog
from tfrec.data.splits import Split
from tfrec.data.tally import Tally, Teller
from tfrec.data.timestamps import NO_TIME
from tfrec.data.totals import either
from tfrec.data.user_table import UserTable
from tfrec.data.vocabulary import Vocabulary, vocabulary_file
from tfrec.features import (
    EVENT_TYPE,
    ITEM_ID,
    MOMENT,
    TIMESTAMP,
    USER_ID,
    USER_TEXT,
    event_feature,
    label_feature,
)

logger = logging.getLogger(__name__)


class Draft:
    """What becomes the dataset, put together step by step: items, counts, vocabularies.

    Args:
        splits: the events.
        items: what `read_items` returned, None without a table.
        users: what `read_users` returned, likewise.
        options: what `prepare` was given.

    Raises:
        ValueError: a part would be empty, or ids of two tables never meet.
    """

    def __init__(
        self, splits: SplitLog, items: pd.DataFrame | None, users: pd.DataFrame | None, options: PrepareOptions
    ) -> None:
        self.splits, self.options = splits, options
        self.items, self._row_of, occurring = self._catalogue(items)
        self.held_out = self._held_out()
        self._held: Sequences | None = None
        self._users = UserTable(users) if users is not None else None
        self.vocabularies: dict[str, Vocabulary] = {}
        self.categories: dict[str, np.ndarray] = {}
        self.event_columns: list[str] = []
        self._event_codes: dict[str, np.ndarray] = {}  # The code of each category of a column.
        self.user_features: list[str] = []
        self.numbers = np.zeros((len(self.items), 0), np.float32)
        columns = {name: len(known.categories) for name, known in self._columns()}
        self._teller = Teller(options, self.held_out, columns, self._users)
        tally = splits.total(self._tally, Tally.merged, self._teller.nothing())
        self._describe_items(items, occurring, tally)
        candidates, trained = int(self.items["candidate"].sum()), int(self.items["trained"].sum())
        self.counts = self._teller.manifest_counts(tally, candidates, trained)
        self._add_event_features(tally)
        self._add_user_features(tally)
        self._add_item_features()

    def _catalogue(self, items: pd.DataFrame | None) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """The items, the row of each id of the table of events, int32, and the rows of those that events use."""
        ids = self.splits.log.categories[ITEM_ID].categories
        occurs = self.splits.total(_occurring, either, np.zeros(len(ids), bool))
        rows = item_rows(items, pd.Series(ids[occurs]))
        row_of = pd.Index(rows[ITEM_ID]).get_indexer(ids).astype(np.int32)
        return rows, row_of, row_of[np.flatnonzero(occurs)]

    def _columns(self) -> list[tuple[str, pd.CategoricalDtype]]:
        """The categorical columns of the events, and their types."""
        return list(self.splits.log.categories.items())[1:]

    def _held_out(self) -> np.ndarray:
        """0 for an item that trains, 1 for one held out of all but the test, 2 for one that validates too; int8 [I]."""
        result = np.zeros(len(self.items), np.int8)
        for level, name in ((2, "hold_out_validation_items"), (1, "hold_out_items")):
            ids = read_item_ids(getattr(self.options, name), name)
            rows = pd.Index(self.items[ITEM_ID]).get_indexer(pd.Index(ids, dtype="str"))
            if len(ids) and (rows < 1).all():
                raise ValueError(f"{name}: none of its {len(ids)} ids, such as {ids[0]!r}, is an item here.")
            if (rows < 1).any():
                logger.warning("%s: %d of %d ids are no items here", name, int((rows < 1).sum()), len(ids))
            result[rows[rows > 0]] = level
        return result

    def _tally(self, split: Split) -> Tally:
        return self._teller.tally(split, self._sequences(split))

    def _sequences(self, split: Split) -> Sequences:
        """The sequences of a part, without event and user features yet; of a log in one part they are kept."""
        if self._held is not None:
            return self._held
        events = split.events
        user_ids = events[USER_ID].iloc[split.offsets[:-1]].to_numpy(dtype=object)
        rows = self._row_of[events[ITEM_ID].cat.codes.to_numpy()]
        labels = {
            name: np.where(split.is_target, events[label_feature(name)].to_numpy(), np.float32(np.nan))
            for name in self.splits.log.labels
        }
        sequences = Sequences(
            user_ids, split.offsets, rows, split.is_target, split.train_end, split.test_start, {}, {}, labels,
            split.trains, split.places, events[MOMENT].to_numpy() if labels else None,
        )  # fmt: skip
        self._held = sequences if len(self.splits.log) == 1 else None
        return sequences

    def _describe_items(self, table: pd.DataFrame | None, occurring: np.ndarray, tally: Tally) -> None:
        """Add what the events say of the items."""
        self.items["count"] = tally.trained
        if self.options.candidates == "events" or table is None:
            self.items["candidate"] = False
            self.items.loc[occurring, "candidate"] = True
        else:
            self.items["candidate"] = self.items[ITEM_ID].isin(table[ITEM_ID])
        self.items["trained"] = tally.possible > 0
        self.items["held_out"] = self.held_out

    def _add_event_features(self, tally: Tally) -> None:
        """Vocabularies of the event types and context columns: those of the training events.

        Here and below, a column without any value in training is left out, and said.
        """
        for name, values in self._columns():
            vocabulary = Vocabulary.of(values.categories[tally.values[name]])
            if self._add_vocabulary(event_feature(name), vocabulary, "events", self._event_column(name)):
                self.event_columns.append(name)
                self._event_codes[name] = vocabulary.codes(values.categories.to_numpy(object))

    def _add_user_features(self, tally: Tally) -> None:
        """Vocabularies of the users' columns: those of the users with training events.

        The codes of the texts are places among all distinct ones: what a text means is known without training.
        """
        if self._users is None or tally.met is None or tally.trains is None:
            return
        for name, feature, vocabulary in self._users.vocabularies(tally.met, tally.trains, tally.first_user):
            if self._add_vocabulary(feature, vocabulary, "users", name):
                self.user_features.append(feature)

    def _add_item_features(self) -> None:
        """Codes and standardised numbers; vocabularies and statistics are those of the items with training events."""
        columns = self.options.items or ItemColumns()
        known = (self.items["count"] > 0).to_numpy()
        for name, separator in columns.categorical.items():
            if name in self.items:
                codes, vocabulary = category_codes(self.items[name], separator, known)
                if self._add_vocabulary("item_" + name, vocabulary, "items", name):
                    self.categories[name] = codes
        numeric = [name for name in columns.numeric if name in self.items]
        self.numbers = standardised(self.items[numeric].to_numpy(dtype=np.float64), known)

    def _add_vocabulary(self, feature: str, vocabulary: Vocabulary, table: str, column: str) -> bool:
        """Keep the vocabulary of a feature; False, after a warning, where it is empty."""
        if not len(vocabulary):
            logger.warning("The table %r, column %r: it holds no value in training and is left out", table, column)
            return False
        self.vocabularies[feature] = vocabulary
        return True

    def _event_column(self, name: str) -> str:
        """What the table of events calls a column."""
        columns = self.options.events
        return columns.event_type or name if columns is not None and name == EVENT_TYPE else name

    def manifest(self) -> dict[str, Any]:
        """What the dataset is, without its files."""
        columns = self.options.items or ItemColumns()
        timestamps = [TIMESTAMP] if self.splits.log.timed else []
        labels = list(self.splits.log.labels)
        return {
            "counts": self.counts,
            "split": {"kind": self.options.split, **self.splits.cuts},
            "event_features": [*map(event_feature, self.event_columns), *timestamps],
            "event_columns": self.event_columns,
            "user_columns": [name.removeprefix("user_") for name in self.user_features if name != USER_TEXT],
            **({USER_TEXT: True} if USER_TEXT in self.user_features else {}),
            **({"labels": labels} if labels else {}),
            "item_categories": list(self.categories),
            "item_numbers": [name for name in columns.numeric if name in self.items],
        }

    def write_events(self, part: int, shards: ShardWriter, scored: EventWriter) -> None:
        """Write what a part holds, after those before it."""
        split = self.splits[part]
        if len(split.events):
            shards.write(self._with_features(split, self._sequences(split)))
            scored.write(split)

    def write_tables(self, folder: Path) -> None:
        """Write all but the events and the manifest."""
        pyarrow.parquet.write_table(pa.Table.from_pandas(self.items, preserve_index=False), folder / ITEMS)
        arrays: dict[str, Any] = {"numbers": self.numbers}
        arrays |= {f"category:{name}": codes for name, codes in self.categories.items()}
        with open(folder / ITEM_FEATURES, "wb") as file:
            np.savez(file, **arrays)
        (folder / VOCABULARIES).mkdir()
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder / VOCABULARIES / vocabulary_file(name))

    def _with_features(self, split: Split, sequences: Sequences) -> Sequences:
        """The sequences with codes of what the events and the users are described by."""
        events = {
            event_feature(name): self._event_codes[name][split.events[name].cat.codes.to_numpy()]
            for name in self.event_columns
        }
        if TIMESTAMP in split.events:
            seconds = split.events[TIMESTAMP].to_numpy()
            events[TIMESTAMP] = np.where(seconds == NO_TIME, 0, seconds)
        users = {}
        if self._users is not None:
            ids, known = sequences.user_ids, self.vocabularies
            users = {name: self._users.codes(name, known[name], ids) for name in self.user_features}
        return dataclasses.replace(sequences, events=events, users=users)


def _occurring(split: Split) -> np.ndarray:
    """Which items of the table of events are used, bool."""
    items = split.events[ITEM_ID].cat
    return np.bincount(items.codes, minlength=len(items.categories)) > 0
