"""What all parts of a log say together: how often items train, how many targets there are; counted by `draft`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfrec.data.examples import judged_events, known_labels
from tfrec.data.options import PrepareOptions
from tfrec.data.sequences import Sequences, relevant_items, training_events, training_windows
from tfrec.data.splits import Split
from tfrec.data.totals import added, either
from tfrec.data.user_table import UserTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tally:
    """What some parts of a log say; what several say together is their sum, or their union.

    Attributes:
        trained: int64 [I], training events of a target type.
        possible: int64 [I], how often an item is a target that some epoch may have.
        values: column -> bool, which of its categories a training event has.
        met: bool [rows of the table of users], who has events; None without a table.
        trains: likewise, who has training events.
        counts: name -> count, as in the manifest.
        first_user: the least id of a user with events; None where there is none.
    """

    trained: np.ndarray
    possible: np.ndarray
    values: Mapping[str, np.ndarray]
    met: np.ndarray | None
    trains: np.ndarray | None
    counts: Counter[str] = field(default_factory=Counter)
    first_user: str | None = None

    @staticmethod
    def merged(several: Sequence[Tally]) -> Tally:
        """What several parts say together, in any order."""
        counts: Counter[str] = Counter()
        for one in several:
            counts.update(one.counts)
        return Tally(
            added([one.trained for one in several]),
            added([one.possible for one in several]),
            {name: either([one.values[name] for one in several]) for name in several[0].values},
            either([one.met for one in several]),
            either([one.trains for one in several]),
            counts,
            min((one.first_user for one in several if one.first_user is not None), default=None),
        )


class Teller:
    """Makes the tally of a part.

    Args:
        options: what `prepare` was given.
        held_out: int8 [I]; see `Dataset.items`.
        columns: categorical column of the events -> number of its categories.
        users: the table of users; None without one.
    """

    def __init__(
        self, options: PrepareOptions, held_out: np.ndarray, columns: Mapping[str, int], users: UserTable | None
    ) -> None:
        self._options, self._held_out, self._columns, self._users = options, held_out, columns, users

    def nothing(self) -> Tally:
        """The tally of no events."""
        none, nobody = np.zeros(len(self._held_out), np.int64), self._marked(np.zeros(0, object))
        return Tally(none, none, {name: np.zeros(size, bool) for name, size in self._columns.items()}, nobody, nobody)

    def tally(self, split: Split, sequences: Sequences) -> Tally:
        """The tally of a part with events."""
        size, options = len(self._held_out), self._options
        training, offsets = training_events(sequences, self._held_out > 0)
        drawn = options.windows == "drawn"
        windows = training_windows(sequences, self._held_out > 0, options.max_length, drawn=drawn)
        trained = training[sequences.is_target[training]]
        codes = {name: split.events[name].cat.codes.to_numpy()[training] for name in self._columns}
        counts = Counter(
            users=len(sequences.user_ids),
            events=len(sequences.rows),
            train_users=int((np.bincount(windows.owners) > 0).sum()) if len(windows.owners) else 0,
            train_events=len(training),
            train_targets=len(windows.target_rows()),
            labelled=int(known_labels(sequences).sum()),
        )
        for part in ("validation", "test"):
            counts.update(self._labelled(sequences, part) if sequences.labels else self._targets(sequences, part))
        return Tally(
            np.bincount(sequences.rows[trained], minlength=size),
            np.bincount(windows.possible_rows(), minlength=size),
            {name: np.bincount(codes[name], minlength=number) > 0 for name, number in self._columns.items()},
            self._marked(sequences.user_ids),
            self._marked(sequences.user_ids[np.diff(offsets) > 0]),
            counts,
            sequences.user_ids[0],
        )

    def _marked(self, user_ids: np.ndarray) -> np.ndarray | None:
        return self._users.marked(user_ids) if self._users is not None else None

    def _labelled(self, sequences: Sequences, part: str) -> dict[str, int]:
        """Events that a ranker is asked about, and their users."""
        found = judged_events(sequences, self._options.split, part, self._held_back(part))
        users = np.unique(sequences.owners[found])
        return {f"{part}_users": len(users), f"{part}_targets": int(found.sum())}

    def _held_back(self, part: str) -> np.ndarray:
        """The items that a part must not ask for; bool [I]."""
        return (self._held_out == 1) & (part == "validation")

    def _targets(self, sequences: Sequences, part: str) -> dict[str, int]:
        """Users, pairs of user and target, and those of them whose item the user's history holds already."""
        excluded = self._held_back(part)
        users, every = relevant_items(sequences, part, new_only=False, excluded=excluded)
        new_users, new = relevant_items(sequences, part, new_only=True, excluded=excluded)
        counted = new_users if self._options.split == "time" else users
        repeated = len(every.rows) - len(new.rows)
        return {
            f"{part}_users": len(counted), f"{part}_targets": len(every.rows), f"{part}_targets_in_history": repeated,
        }  # fmt: skip

    def manifest_counts(self, tally: Tally, candidates: int, trained_items: int) -> dict[str, int]:
        """The counts of the manifest.

        Args:
            tally: of all parts.
            candidates: how many items may be recommended.
            trained_items: how many are targets in training.

        Raises:
            ValueError: the split leaves no user to train, to validate or to test.
        """
        items = {"items": len(self._held_out) - 1, "candidates": candidates, "trained_items": trained_items}
        known = Counter({**tally.counts, **items})
        names = ["users", "items", "candidates", "trained_items", "events", "train_users", "train_events"]
        names += ["train_targets"]
        for part in ("validation", "test"):
            names += [f"{part}_users", f"{part}_targets", f"{part}_targets_in_history"]
            self._say_repeated(part, known)
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

    def _say_repeated(self, part: str, known: Mapping[str, int]) -> None:
        total, repeated = known[f"{part}_targets"], known[f"{part}_targets_in_history"]
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
