"""The split of a log, part by part: what holds for all parts, such as cuts and folds, is settled first."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from tfrec.data.cuts import Seconds
from tfrec.data.event_log import EventLog
from tfrec.data.folds import by_events, by_users, drawn_parts
from tfrec.data.options import PrepareOptions
from tfrec.data.splits import Split, by_time, check_target_events, leave_last, targets_of, time_cuts, up_to_last_target
from tfrec.data.totals import Merge, T, added, joint
from tfrec.features import EVENT_TYPE, USER_ID


class SplitLog:
    """The parts of a log, split; parts without an event that is used are left out.

    Args:
        log: the events, ordered and filtered.
        options: of the split.

    Attributes:
        cuts: of a split by time, the seconds at which validation and test begin.

    Raises:
        ValueError: the events do not have what the split needs.
    """

    def __init__(self, log: EventLog, options: PrepareOptions) -> None:
        self.log = log
        self._options = options
        self.cuts: dict[str, int] = {}
        self._held: Split | None = None
        if options.target_events:
            check_target_events(options.target_events, _event_types(log))
        if options.split == "time":
            if not log.timed:
                raise ValueError("split 'time' needs the time of each event: map the timestamp column of the events.")
            self.cuts = time_cuts(Seconds(log.total_of_seconds), options.validation_from, options.test_from)
        elif options.split.startswith("folds"):
            self._draw()

    def __getitem__(self, part: int) -> Split:
        """The split of a part, which may be without events; of a log in one part it is kept."""
        if self._held is not None:
            return self._held
        split = self._split(part)
        self._held = split if len(self.log) == 1 else None
        return split

    def total(self, function: Callable[[Split], T], merge: Merge[T], none: T) -> T:
        """What a function says of the split of each part, merged.

        Args:
            function: it can be pickled.
            merge: see `Total`.
            none: what it would say of no events; for parts where none is used.
        """
        return self.log.total(functools.partial(_of_split, self, function, none), merge)

    def _split(self, part: int) -> Split:
        events, options = self.log[part], self._options
        targets = options.target_events
        if options.split == "time":
            return by_time(events, self.cuts, targets, rolling=bool(options.events and options.events.labels))
        if options.split == "folds_events":
            return by_events(events, self._fold(part), targets)
        if options.split == "folds_users":
            return by_users(events, self._fold(part), targets)
        return leave_last(events, targets)

    def _draw(self) -> None:
        """Put into the box of each part the fold of each target event, or of each user with one: `fold`."""
        by_event = self._options.split == "folds_events"
        members = self.log.total(functools.partial(_members, self.log, self._options), joint)
        counts = [count for _, count in sorted(members.items())]
        drawn = drawn_parts(sum(counts), self._options.folds, "target events" if by_event else "users")
        for box, some in zip(self.log.boxes, np.split(drawn, np.cumsum(counts)[:-1]), strict=True):
            self.log.shelf.put(box, {"fold": some})

    def _fold(self, part: int) -> np.ndarray:
        return self.log.shelf.get(self.log.boxes[part], "fold")


def _of_split(splits: SplitLog, function: Callable[[Split], T], none: T, part: int) -> T:
    split = splits[part]
    return function(split) if len(split.events) else none


def _members(log: EventLog, options: PrepareOptions, part: int) -> dict[int, int]:
    """How many members of folds a part has: target events, or users with one."""
    if options.split == "folds_events":
        return {part: int(targets_of(log[part], options.target_events).sum())}
    return {part: up_to_last_target(log[part], options.target_events)[0][USER_ID].nunique()}


def _event_types(log: EventLog) -> set[str] | None:
    """The types that events have; None where they have none."""
    if EVENT_TYPE not in log.categories:
        return None
    counts = log.total(functools.partial(log.counts, EVENT_TYPE), added)
    return set(log.categories[EVENT_TYPE].categories[counts > 0])
