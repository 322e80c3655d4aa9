"""What becomes a dataset, put together step by step and written at the end; the workshop of `prepare`."""

from __future__ import annotations

import dataclasses
import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tfrec.data.datasets import ITEM_FEATURES, ITEMS, VOCABULARIES, vocabulary_file
from tfrec.data.items import category_codes, item_rows, read_item_ids, standardised
from tfrec.data.options import ItemColumns, PrepareOptions
from tfrec.data.records import write_records
from tfrec.data.sequences import Sequences, relevant_items, training_events, training_windows
from tfrec.data.splits import Split
from tfrec.data.timestamps import NO_TIME
from tfrec.data.vocabulary import Vocabulary
from tfrec.features import (
    EVENT_TYPE,
    EVENTS_SCORED,
    ITEM_ID,
    POSITION,
    TIMESTAMP,
    USER_ID,
    USER_TEXT,
    event_feature,
    label_feature,
    user_feature,
)

logger = logging.getLogger(__name__)


class Draft:
    """What becomes the dataset, put together step by step."""

    def __init__(self, split: Split, items: pd.DataFrame | None, options: PrepareOptions) -> None:
        self.split, self.options = split, options
        self.items = item_rows(items, split.events[ITEM_ID])
        self.listed = self.items[ITEM_ID].isin(items[ITEM_ID]).to_numpy() if items is not None else None
        self.vocabularies: dict[str, Vocabulary] = {}
        self.categories: dict[str, np.ndarray] = {}
        self.event_columns: list[str] = []
        self.numbers = np.zeros((len(self.items), 0), np.float32)
        self.held_out = self._held_out()
        self.sequences = self._sequences()
        self.training, self.training_offsets = training_events(self.sequences, self.held_out > 0)
        self.counts = self._describe_items()

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

    def _sequences(self) -> Sequences:
        """The sequences, without event and user features yet."""
        split = self.split
        user_ids = split.events[USER_ID].iloc[split.offsets[:-1]].to_numpy(dtype=object)
        codes, unique = pd.factorize(split.events[ITEM_ID])
        rows = pd.Index(self.items[ITEM_ID]).get_indexer(pd.Index(unique))[codes].astype(np.int32)
        labels = {
            name: np.where(split.is_target, split.events[label_feature(name)].to_numpy(), np.float32(np.nan))
            for name in (self.options.events.labels if self.options.events else ())
        }
        return Sequences(
            user_ids, split.offsets, rows, split.is_target, split.train_end, split.test_start, {}, {}, labels,
            split.trains, split.places,
        )  # fmt: skip

    def _describe_items(self) -> dict[str, int]:
        """Add what the events say of the items, and count what there is."""
        sequences, held_out, options = self.sequences, self.held_out, self.options
        windows = training_windows(sequences, held_out > 0, options.max_length, drawn=options.windows == "drawn")
        targets = windows.target_rows()
        size = len(self.items)
        trained = self.training[sequences.is_target[self.training]]
        occurs = np.bincount(sequences.rows, minlength=size) > 0
        self.items["count"] = np.bincount(sequences.rows[trained], minlength=size)
        self.items["candidate"] = occurs if options.candidates == "events" or self.listed is None else self.listed
        self.items["trained"] = np.bincount(windows.possible_rows(), minlength=size) > 0
        self.items["held_out"] = self.held_out
        counts = {
            "users": len(sequences.user_ids),
            "items": size - 1,
            "candidates": int(self.items["candidate"].sum()),
            "trained_items": int(self.items["trained"].sum()),
            "events": len(sequences.rows),
            "train_users": len(np.unique(windows.owners)),
            "train_events": len(self.training),
            "train_targets": len(targets),
        }
        counts |= self._count_targets("validation") | self._count_targets("test")
        for part in ("train", "validation", "test"):
            if not counts[f"{part}_users"]:
                raise ValueError(
                    f"The split {options.split!r} leaves no user for {part} of {counts['users']} users and"
                    f" {counts['events']} events: move the cuts, lower the minimum counts, or hold out fewer items."
                )
        return counts

    def _count_targets(self, part: str) -> dict[str, int]:
        """Users, pairs of user and target, and those of them whose item the user's history holds already."""
        excluded = (self.held_out == 1) & (part == "validation")
        users, every = relevant_items(self.sequences, part, new_only=False, excluded=excluded)
        new_users, new = relevant_items(self.sequences, part, new_only=True, excluded=excluded)
        total, repeated = len(every.rows), len(every.rows) - len(new.rows)
        by_time = self.options.split == "time"
        if repeated and by_time:
            logger.info(
                "%d of %d %s targets are in the user's history and are dropped: split: time asks for new items",
                repeated, total, part,
            )  # fmt: skip
        elif repeated and self.options.seen == "remove":
            logger.warning(
                "%d of %d %s targets are in the user's history and cannot be recommended under seen: remove; set"
                " data.seen: keep if what a user has had, or only viewed, may be recommended",
                repeated, total, part,
            )  # fmt: skip
        counted = new_users if by_time else users
        return {f"{part}_users": len(counted), f"{part}_targets": total, f"{part}_targets_in_history": repeated}

    def add_event_features(self) -> None:
        """Codes of the event types and context columns; their vocabularies are those of the training events.

        Here and below, a column without any value in training is left out, and said.
        """
        events = self.split.events
        features: dict[str, np.ndarray] = {}
        others = [USER_ID, ITEM_ID, TIMESTAMP, *map(label_feature, self.sequences.labels)]
        for name in events.columns.drop(others, errors="ignore"):
            vocabulary = Vocabulary.of(events[name].iloc[self.training].unique())
            if self._add_vocabulary(event_feature(name), vocabulary, "events", self._event_column(name)):
                self.event_columns.append(str(name))
                features[event_feature(name)] = vocabulary.codes(events[name])
        if TIMESTAMP in events:
            seconds = events[TIMESTAMP].to_numpy()
            features[TIMESTAMP] = np.where(seconds == NO_TIME, 0, seconds)
        self.sequences = dataclasses.replace(self.sequences, events=features)

    def add_user_features(self, users: pd.DataFrame) -> None:
        """Codes of the users' columns; their vocabularies are those of the users with training events.

        The codes of the texts are places among all distinct ones: what a text means is known without training.
        """
        place = pd.Index(users[USER_ID]).get_indexer(pd.Index(self.sequences.user_ids, dtype="str"))
        if (place < 0).all():
            raise ValueError(
                f"No user of the events, such as {self.sequences.user_ids[0]!r}, is in the table 'users', which has"
                f" {users[USER_ID].iloc[0]!r}: the ids must be written alike."
            )
        trains = np.diff(self.training_offsets) > 0
        features = {}
        for name in users.columns.drop(USER_ID):
            values = np.where(place < 0, "", users[name].to_numpy(dtype=object)[place])
            vocabulary, feature = Vocabulary.of(values[trains]), user_feature(name)
            if name == USER_TEXT:
                feature = USER_TEXT
                vocabulary = Vocabulary.of(values) if len(vocabulary) else vocabulary
            if self._add_vocabulary(feature, vocabulary, "users", name):
                features[feature] = vocabulary.codes(values)
        self.sequences = dataclasses.replace(self.sequences, users=features)

    def add_item_features(self) -> None:
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
        return {
            "counts": self.counts,
            "split": {"kind": self.options.split, **self.split.cuts},
            "event_features": list(self.sequences.events),
            "event_columns": self.event_columns,
            "user_columns": [name.removeprefix("user_") for name in self.sequences.users if name != USER_TEXT],
            **({USER_TEXT: True} if USER_TEXT in self.sequences.users else {}),
            **({"labels": list(self.sequences.labels)} if self.sequences.labels else {}),
            "item_categories": list(self.categories),
            "item_numbers": [name for name in columns.numeric if name in self.items],
        }

    def write(self, folder: Path) -> None:
        """Write all but the manifest."""
        write_records(self.sequences, folder, self.options.shards)
        pyarrow.parquet.write_table(pa.Table.from_pandas(self.items, preserve_index=False), folder / ITEMS)
        arrays: dict[str, Any] = {"numbers": self.numbers}
        arrays |= {f"category:{name}": codes for name, codes in self.categories.items()}
        with open(folder / ITEM_FEATURES, "wb") as file:
            np.savez(file, **arrays)
        (folder / VOCABULARIES).mkdir()
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder / VOCABULARIES / vocabulary_file(name))
        _write_events(self.split, folder / EVENTS_SCORED)


def _write_events(split: Split, path: Path) -> None:
    """Write the events as ordered and filtered, so that anyone can score a run; equal events give equal bytes."""
    events = split.events
    sizes = np.diff(split.offsets)
    columns = {
        USER_ID: pa.array(events[USER_ID]),
        ITEM_ID: pa.array(events[ITEM_ID]),
        POSITION: pa.array(np.arange(len(events)) - np.repeat(split.offsets[:-1], sizes)),
    }
    if TIMESTAMP in events:
        seconds = events[TIMESTAMP].to_numpy()
        columns[TIMESTAMP] = pa.array(seconds, mask=seconds == NO_TIME)
    if EVENT_TYPE in events:
        columns[EVENT_TYPE] = pa.array(events[EVENT_TYPE])
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 3, file, mtime=0) as packed:
        pyarrow.csv.write_csv(pa.table(columns), packed)
