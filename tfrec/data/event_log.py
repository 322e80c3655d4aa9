"""The events of a log, in order, in parts of whole users: what `events` reads, and `splits` and `draft` go through."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tfrec.data.shelf import Shelf
from tfrec.data.totals import Merge, T, Total, in_turn
from tfrec.features import ITEM_ID, MOMENT, TIMESTAMP, USER_ID, label_feature


@dataclass(frozen=True)
class EventLog:
    """The events, user by user by id, each user's in order; a part holds whole users, and is read when it is asked for.

    In the box of a part lie `users` (its ids), `offsets` (where the events of each begin), `items` (places among all
    ids), `seconds`, `column0` ... (places among all values), `label0` ... and, with labels, `moments`. Which
    events are kept is there too, anew each time that some are left out: `kept1`, ... (bool).

    Attributes:
        shelf: where the parts lie.
        boxes: the name of each part's box.
        categories: of `item_id` and of each column, sorted; the columns' hold the empty text, which stands for missing.
        labels: names of the labels.
        timed: whether events have times.
        repeated: how many rows of the table repeated another one and are left out.
        thinned: how many times events were left out.
        over: who goes through the parts.
    """

    shelf: Shelf
    boxes: tuple[str, ...]
    categories: Mapping[str, pd.CategoricalDtype]
    labels: tuple[str, ...]
    timed: bool
    repeated: int = 0
    thinned: int = 0
    over: Total = in_turn

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.boxes)

    def __getitem__(self, part: int) -> pd.DataFrame:
        """The events of a part.

        Returns:
            `user_id`, `item_id` and the columns (categorical), `timestamp` (int64 seconds, `NO_TIME` where missing) if
            there are times, `label_...` (float32, NaN where unknown), with labels `MOMENT` (int64, each user's from 0).
        """
        users = pd.Index(self.shelf.get(self.boxes[part], "users"), dtype="str")
        owners = np.repeat(np.arange(len(users), dtype=np.int32), np.diff(self.offsets(part)))
        events: dict[str, object] = {USER_ID: pd.Categorical.from_codes(self._kept(part, owners), categories=users)}
        item_ids, *columns = self.categories.items()
        events[ITEM_ID] = pd.Categorical.from_codes(self.items(part), dtype=item_ids[1])
        if self.timed:
            events[TIMESTAMP] = self.array(part, "seconds")
        for place, (name, values) in enumerate(columns):
            events[name] = pd.Categorical.from_codes(self.array(part, f"column{place}"), dtype=values)
        for place, name in enumerate(self.labels):
            events[label_feature(name)] = self.array(part, f"label{place}")
        if self.labels:
            events[MOMENT] = self.array(part, "moments")
        return pd.DataFrame(events)

    def total(self, function: Callable[[int], T], merge: Merge[T]) -> T:
        """What a function says of each part, by its number, merged."""
        return self.over(function, range(len(self)), merge)

    def total_of_seconds(self, function: Callable[[np.ndarray], T], merge: Merge[T]) -> T:
        """The same of a function of the times of a part's events, int64 seconds."""
        return self.total(functools.partial(_of_seconds, self, function), merge)

    def thinner(self) -> EventLog:
        """The log, now that each box says which events are kept when one more time some are left out."""
        for box in self.boxes:
            self.shelf.remove(box, kept_after(self.thinned))
        return replace(self, thinned=self.thinned + 1)

    def of_parts(self, parts: Sequence[int]) -> EventLog:
        """The log of some parts alone."""
        return replace(self, boxes=tuple(self.boxes[part] for part in parts))

    @property
    def item_count(self) -> int:
        """Number of items of the whole table."""
        return len(self.categories[ITEM_ID].categories)

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(len(self.items(part)) for part in range(len(self)))

    def offsets(self, part: int) -> np.ndarray:
        """Where the events of each user of a part begin, those that are left out counted too; int64 [users + 1]."""
        return self.shelf.get(self.boxes[part], "offsets")

    def items(self, part: int) -> np.ndarray:
        """The item of each event of a part, as its place among all ids; int32."""
        return self.array(part, "items")

    def item_counts(self, part: int) -> np.ndarray:
        """How many events of a part each item has, int64."""
        return np.bincount(self.items(part), minlength=self.item_count)

    def counts(self, name: str, part: int) -> np.ndarray:
        """How many events of a part have each category of a column, int64."""
        codes = self.array(part, f"column{list(self.categories).index(name) - 1}")
        return np.bincount(codes, minlength=len(self.categories[name].categories))

    def array(self, part: int, name: str) -> np.ndarray:
        """What lies in the box of a part, for the events that are left."""
        return self._kept(part, self.shelf.get(self.boxes[part], name))

    def _kept(self, part: int, values: np.ndarray) -> np.ndarray:
        return values[self.shelf.get(self.boxes[part], kept_after(self.thinned))] if self.thinned else values


def _of_seconds(log: EventLog, function: Callable[[np.ndarray], T], part: int) -> T:
    return function(log.array(part, "seconds"))


def kept_after(times: int) -> str:
    """What says in each box which events are kept, after events were left out so many times.

    It has a name of its own each time, since a worker of a cluster may not see at once that a file was replaced.
    """
    return f"kept{times}"
