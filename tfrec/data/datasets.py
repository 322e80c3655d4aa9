"""`Dataset`: a prepared folder, opened; it gives training and evaluation their batches, and evaluation its truth."""

from __future__ import annotations

import copy
import functools
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfrec.data.batches import EpochPlan, EvaluationUsers, TextVectors, features_of, text_table
from tfrec.data.folders import read_manifest
from tfrec.data.labels import Label
from tfrec.data.perturbation import disturber, perturbed
from tfrec.data.positions import training_positions
from tfrec.data.records import read_records, shard_name
from tfrec.data.sequences import (
    Ragged,
    Sequences,
    distinct,
    histories,
    relevant_items,
    training_events,
    training_windows,
)
from tfrec.data.vocabulary import Vocabulary, vocabulary_file
from tfrec.features import ITEM_ID, TIMESTAMP, USER_ID, USER_TEXT, USER_WORDS, event_feature, user_feature

if TYPE_CHECKING:
    import tensorflow as tf

ITEMS = "items.parquet"
ITEM_FEATURES = "item_features.npz"
VOCABULARIES = "vocabularies"


class Dataset:
    """A dataset folder; `prepare` writes one, `Dataset.open` opens it.

    Attributes:
        folder: the folder.
        manifest: version, content hash, options, counts, split boundaries. Of the counts, `test_targets` are pairs of
            user and target item, with labels the labelled events, and `test_targets_in_history` those pairs whose item
            the user's history holds: none to recommend under `seen` "remove", no part of the truth under "time".
        items: the items; the index is the model's row, row 0 is padding. `item_id`, `title`, `text` (both "" where
            missing), `count` (training events of a target type), `candidate` (may be recommended), `trained` (is a
            target in training), `held_out` (1: of all but the test, 2: of training), and the categorical and numeric
            columns as they were read.
        item_categories: column -> int32 [I, M] codes, 0 where there is none.
        item_numbers: float32 [I, n], standardised, NaN where missing; columns as in `manifest["item_numbers"]`.
        vocabularies: feature name (`event_type`, `event_...`, `user_...`, `item_...`) -> vocabulary; that of
            `user_text` holds the users' distinct texts.
    """

    def __init__(
        self, folder: str | os.PathLike[str], temporary: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        """Open a folder; `temporary` is kept alive with the object."""
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        self._temporary = temporary
        self._shards: Iterable[int] = range(self.manifest["options"]["shards"])
        self._parts: dict[str, tuple[np.ndarray, Ragged]] = {}
        self._texts: dict[str, tuple[np.ndarray, int]] = {}
        self.items = pd.read_parquet(self.folder / ITEMS)
        with np.load(self.folder / ITEM_FEATURES) as arrays:
            self.item_numbers: np.ndarray = arrays["numbers"]
            self.item_categories = {name: arrays[f"category:{name}"] for name in self.manifest["item_categories"]}
        names = [event_feature(name) for name in self.manifest["event_columns"]]
        names += self._user_features
        names += ["item_" + name for name in self.item_categories]
        self.vocabularies = {
            name: Vocabulary.load(self.folder / VOCABULARIES / vocabulary_file(name)) for name in names
        }

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Dataset:
        """Open a dataset folder.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it is no dataset's, of another version, or damaged.
        """
        return cls(folder)

    @property
    def seen(self) -> str:
        """Either "remove", where what a user has had is not recommended again, or "keep"."""
        return self.manifest["options"]["seen"]

    @property
    def max_length(self) -> int:
        """Events of a history that a model reads, the newest ones."""
        return self.manifest["options"]["max_length"]

    @property
    def labels(self) -> dict[str, Label]:
        """What is predicted of an event besides its item."""
        told = (self.manifest["options"]["events"] or {}).get("labels", {})
        return {name: Label(**told[name]) for name in self.manifest.get("labels", ())}

    @property
    def draws_windows(self) -> bool:
        """Whether an epoch trains events from anywhere in a long history, and not its newest alone."""
        return self.manifest["options"].get("windows") == "drawn"

    @property
    def has_timestamps(self) -> bool:
        """Whether events carry their time."""
        return TIMESTAMP in self.manifest["event_features"]

    @property
    def event_columns(self) -> dict[str, int]:
        """Categorical columns of the events -> number of codes, 0 included."""
        return {name: self.vocabularies[event_feature(name)].size for name in self.manifest["event_columns"]}

    @property
    def user_columns(self) -> dict[str, int]:
        """Categorical columns of the users -> number of codes, 0 included."""
        return {name: self.vocabularies[user_feature(name)].size for name in self.manifest["user_columns"]}

    @property
    def _user_features(self) -> list[str]:
        names = [user_feature(name) for name in self.manifest["user_columns"]]
        return names + ([USER_TEXT] if self.manifest.get(USER_TEXT) else [])

    @property
    def user_texts(self) -> tuple[str, ...]:
        """The users' distinct texts; none where the table of users has no text column."""
        return self.vocabularies[USER_TEXT].values if USER_TEXT in self.vocabularies else ()

    @property
    def has_text_vectors(self) -> bool:
        """Whether batches carry `USER_TEXT`."""
        return USER_TEXT in self._texts

    def set_text_vectors(
        self, vectors: np.ndarray, variants: np.ndarray | None = None, words: np.ndarray | None = None
    ) -> None:
        """Let the batches that are made from now on carry `USER_TEXT`, and `USER_WORDS` where there are `words`.

        Args:
            vectors: float [N, W], those of `user_texts`, as the model's text tower reads them.
            variants: float [V, N, W], those of augmented texts: training carries one or the text; None for none.
            words: float [N, K, W], those of the words of each text, zeros beyond the last one; None for none.

        Raises:
            ValueError: another number of vectors.
        """
        count = len(self.user_texts)
        for name, values, axes in (("vectors", vectors, 2), ("words", words, 3)):
            if values is not None and (values.ndim != axes or len(values) != count or not count):
                raise ValueError(f"`{name}` must hold one vector for each of {count} user texts; got {values.shape}.")
        self._texts = {USER_TEXT: text_table(vectors, variants)}
        if words is not None:
            table = np.pad(words.astype(np.float16), [(1, 0), (0, 0), (0, 0)])  # Many, and of length 1.
            self._texts[USER_WORDS] = table, 1

    @property
    def category_sizes(self) -> dict[str, int]:
        """Categorical columns of the items -> number of codes, 0 included."""
        return {name: self.vocabularies["item_" + name].size for name in self.item_categories}

    @functools.cached_property
    def sequences(self) -> Sequences:
        """The users' events, read from the shards once."""
        shards = self.manifest["options"]["shards"]
        paths = [self.folder / shard_name(shard, shards) for shard in self._shards]
        return read_records(paths, self.manifest["event_features"], self._user_features, list(self.labels))

    def part(self, shards: Iterable[int]) -> Dataset:
        """The data set with the users of some shards alone; it has the text vectors that are set now."""
        part = copy.copy(self)
        part._shards, part._parts = list(shards), {}
        part.__dict__.pop("sequences", None)
        return part

    def train(self, tokens_per_batch: int = 4096, seed: int = 0) -> tf.data.Dataset:
        """Training batches; each pass is a new epoch. See `EpochPlan.dataset`."""
        return self.train_plan(tokens_per_batch, seed).dataset()

    def train_plan(
        self, tokens_per_batch: int = 4096, seed: int = 0, *, delete: float = 0.0, insert: float = 0.0
    ) -> EpochPlan:
        """The plan behind `train`, whose `epoch` can be set to play an epoch again.

        Args:
            tokens_per_batch: see `EpochPlan`.
            seed: see `EpochPlan`.
            delete: share of the events that each epoch takes out, other ones in each; see `tfrec.data.perturbation`.
            insert: share of the events before which each epoch puts a popular item in.
        """
        windows = training_windows(self.sequences, self.held_out > 0, self.max_length, drawn=self.draws_windows)
        disturb = disturber(self.items["count"].to_numpy(), delete, insert)
        return EpochPlan(windows, self.user_features(), tokens_per_batch=tokens_per_batch, seed=seed, disturb=disturb)

    def validation(self, batch_size: int = 256) -> tf.data.Dataset:
        """Users whose next events validate. See `EvaluationUsers.dataset`."""
        return self.evaluation_users("validation").dataset(batch_size)

    def test(self, batch_size: int = 256) -> tf.data.Dataset:
        """Users whose last events test, those without a history too. See `EvaluationUsers.dataset`."""
        return self.evaluation_users("test").dataset(batch_size)

    def disturbed(
        self, split: str = "test", *, delete: float, insert: float, seed: int = 0, batch_size: int = 256
    ) -> tf.data.Dataset:
        """The users of "validation" or "test" with disturbed histories. See `tfrec.data.perturbation`."""
        users, counts = self.evaluation_users(split), self.items["count"].to_numpy()
        return perturbed(users, counts, delete=delete, insert=insert, seed=seed).dataset(batch_size)

    def candidates(self, split: str) -> np.ndarray:
        """Bool [I], what may be recommended in "validation" or "test".

        Items that are held out of all but the test are no candidates in validation: there they are nobody's target.
        """
        return self.items["candidate"].to_numpy(bool) & ~self.held_back(split)

    def truth(self, split: str) -> pd.DataFrame:
        """Relevant pairs of "validation" or "test": `user_id`, `item_id`; under "time" only what is new to the user."""
        return self._pairs(self._part(split)[1])

    def history(self, split: str) -> pd.DataFrame:
        """Whole histories of the users of `truth(split)`, oldest first: `user_id`, `item_id`."""
        return self._pairs(self.histories(split))

    def target_users(self, split: str) -> int:
        """How many users `truth(split)` has."""
        return len(self._part(split)[0])

    def histories(self, split: str) -> Ragged:
        """Whole histories of the users of `truth(split)`, as item rows."""
        return histories(self.sequences, self._part(split)[0], split)[1]

    def training_sequences(self) -> Ragged:
        """Training events of every user, as item rows, without those held out; some lists may be empty."""
        index, offsets = training_events(self.sequences, self.held_out > 0)
        return Ragged(self.sequences.user_ids, self.sequences.rows[index], offsets)

    def user_features(self, codes_of: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray | TextVectors]:
        """Feature name -> codes [U], of all users or of `codes_of`; vectors of their texts, where those are known."""
        users: dict[str, Any] = dict(self.sequences.users if codes_of is None else codes_of)
        codes = users.pop(USER_TEXT, None)
        texts = {} if codes is None else self._texts
        return users | {name: TextVectors(codes, *table) for name, table in texts.items()}

    def training_positions(self, most: int | None = None) -> EvaluationUsers:
        """The training events of a target type, each with what its user did before it; one entry an event.

        Args:
            most: of each user the newest ones alone, so many; None for all.
        """
        features, keep = self.user_features(), self.seen == "keep"
        held_out, length = self.held_out > 0, self.max_length
        return training_positions(self.sequences, held_out, features, max_length=length, keep=keep, most=most)

    @property
    def held_out(self) -> np.ndarray:
        """int8 [I]: 0 for an item that trains, 1 for one held out of all but the test, 2 for one that validates too."""
        return self.items["held_out"].to_numpy()

    def _part(self, split: str) -> tuple[np.ndarray, Ragged]:
        if split not in ("validation", "test"):
            raise ValueError(f"split must be 'validation' or 'test'; got {split!r}.")
        if split not in self._parts:
            new_only = self.manifest["split"]["kind"] == "time"
            excluded = self.held_back(split)
            self._parts[split] = relevant_items(self.sequences, split, new_only=new_only, excluded=excluded)
        return self._parts[split]

    def held_back(self, split: str) -> np.ndarray:
        """Bool [I], the items that a split must not know of."""
        return (self.held_out == 1) & (split == "validation")

    def _pairs(self, lists: Ragged) -> pd.DataFrame:
        ids = self.items[ITEM_ID].to_numpy(dtype=object)
        users = np.repeat(lists.user_ids, lists.lengths)
        return pd.DataFrame({USER_ID: users, ITEM_ID: ids[lists.rows]}, dtype="str")

    def evaluation_users(self, split: str) -> EvaluationUsers:
        """The users of "validation" or "test", with histories and what is relevant."""
        users, relevant = self._part(split)
        index, lists = histories(self.sequences, users, split)
        keep = self.seen == "keep"
        nothing = Ragged(lists.user_ids, lists.rows[:0], np.zeros(len(users) + 1, np.int64))
        return EvaluationUsers(
            histories=lists,
            seen=nothing if keep else distinct(lists, len(self.items)),
            relevant=relevant,
            events={name: values[index] for name, values in self.sequences.events.items()},
            users=features_of(self.user_features(), users),
            max_length=self.max_length,
            barred=np.flatnonzero(self.held_back(split)).astype(np.int32),
        )
