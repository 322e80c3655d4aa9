"""What all parts of a log say together: how often items train, how many targets there are; counted by `draft`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from tfrec.data.examples import judged_events, known_labels
from tfrec.data.options import PrepareOptions
from tfrec.data.sequences import Sequences, relevant_items, training_events, training_windows
from tfrec.data.splits import Split
from tfrec.data.user_table import UserTable
from tfrec.features import ITEM_ID

logger = logging.getLogger(__name__)


class Tally:
    """Counts over the parts of a log.

    Args:
        options: what `prepare` was given.
        held_out: int8 [I]; see `Dataset.items`.
        categories: of the items and of each categorical column of the events.

    Attributes:
        trained: int64 [I], training events of a target type.
        possible: int64 [I], how often an item is a target that some epoch may have.
        values: column -> bool, which of its categories a training event has.
    """

    def __init__(
        self, options: PrepareOptions, held_out: np.ndarray, categories: Mapping[str, pd.CategoricalDtype]
    ) -> None:
        self._options, self._held_out = options, held_out
        self.trained, self.possible = np.zeros(len(held_out), np.int64), np.zeros(len(held_out), np.int64)
        self.values = {
            name: np.zeros(len(known.categories), bool) for name, known in categories.items() if name != ITEM_ID
        }
        self._counts: Counter[str] = Counter()

    def add(self, split: Split, sequences: Sequences, users: UserTable | None) -> None:
        """Count a part."""
        size, options = len(self._held_out), self._options
        training, offsets = training_events(sequences, self._held_out > 0)
        drawn = options.windows == "drawn"
        windows = training_windows(sequences, self._held_out > 0, options.max_length, drawn=drawn)
        trained = training[sequences.is_target[training]]
        self.trained += np.bincount(sequences.rows[trained], minlength=size)
        self.possible += np.bincount(windows.possible_rows(), minlength=size)
        for name, found in self.values.items():
            found[split.events[name].cat.codes.to_numpy()[training]] = True
        if users is not None:
            users.meet(sequences.user_ids, np.diff(offsets) > 0)
        self._counts.update(
            users=len(sequences.user_ids),
            events=len(sequences.rows),
            train_users=int((np.bincount(windows.owners) > 0).sum()) if len(windows.owners) else 0,
            train_events=len(training),
            train_targets=len(windows.target_rows()),
            labelled=int(known_labels(sequences).sum()),
        )
        count = self._count_labelled if sequences.labels else self._count_targets
        for part in ("validation", "test"):
            count(sequences, part)

    def _count_labelled(self, sequences: Sequences, part: str) -> None:
        """Events that a ranker is asked about, and their users."""
        found = judged_events(sequences, self._options.split, part, self._held_back(part))
        users = np.unique(sequences.owners[found])
        self._counts.update({f"{part}_users": len(users), f"{part}_targets": int(found.sum())})

    def _held_back(self, part: str) -> np.ndarray:
        """The items that a part must not ask for; bool [I]."""
        return (self._held_out == 1) & (part == "validation")

    def _count_targets(self, sequences: Sequences, part: str) -> None:
        """Users, pairs of user and target, and those of them whose item the user's history holds already."""
        excluded = self._held_back(part)
        users, every = relevant_items(sequences, part, new_only=False, excluded=excluded)
        new_users, new = relevant_items(sequences, part, new_only=True, excluded=excluded)
        counted = new_users if self._options.split == "time" else users
        repeated = len(every.rows) - len(new.rows)
        self._counts.update(
            {f"{part}_users": len(counted), f"{part}_targets": len(every.rows), f"{part}_targets_in_history": repeated}
        )

    def counts(self, candidates: int, trained_items: int) -> dict[str, int]:
        """The counts of the manifest.

        Args:
            candidates: how many items may be recommended.
            trained_items: how many are targets in training.

        Raises:
            ValueError: the split leaves no user to train, to validate or to test.
        """
        items = {"items": len(self._held_out) - 1, "candidates": candidates, "trained_items": trained_items}
        known = {**self._counts, **items}
        names = ["users", "items", "candidates", "trained_items", "events", "train_users", "train_events"]
        names += ["train_targets"]
        for part in ("validation", "test"):
            names += [f"{part}_users", f"{part}_targets", f"{part}_targets_in_history"]
            self._say_repeated(part)
        for part in ("train", "validation", "test"):
            if not known[f"{part}_users"]:
                raise ValueError(self._empty(part, known))
        return {name: known[name] for name in names if name in known}

    def _empty(self, part: str, known: Mapping[str, int]) -> str:
        labels = bool(self._options.events and self._options.events.labels)
        what = "event with a label" if labels and part != "train" else "user"
        of_them = f", {known['labelled']} of them with a label" if labels else ""
        return (
            f"The split {self._options.split!r} leaves no {what} for {part} of {known['users']} users and"
            f" {known['events']} events{of_them}: move the cuts, lower the minimum counts, or hold out fewer items."
        )

    def _say_repeated(self, part: str) -> None:
        total, repeated = self._counts[f"{part}_targets"], self._counts[f"{part}_targets_in_history"]
        if repeated and self._options.split == "time":
            logger.info(
                "%d of %d %s targets are in the user's history and are dropped: split: time asks for new items",
                repeated, total, part,
            )  # fmt: skip
        elif repeated and self._options.seen == "remove":
            logger.warning(
                "%d of %d %s targets are in the user's history and cannot be recommended under seen: remove; set"
                " data.seen: keep if what a user has had, or only viewed, may be recommended",
                repeated, total, part,
            )  # fmt: skip
