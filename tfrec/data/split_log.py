"""The split of a log, part by part: what holds for all parts, such as cuts and folds, is settled first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfrec.data.event_log import EventLog, Seconds
from tfrec.data.folds import by_events, by_users, drawn_parts
from tfrec.data.options import PrepareOptions
from tfrec.data.splits import Split, by_time, check_target_events, leave_last, targets_of, time_cuts, up_to_last_target
from tfrec.features import EVENT_TYPE, USER_ID


class SplitLog:
    """The parts of a log, split; parts without an event that is used are left out.

    Args:
        log: the events, ordered and filtered.
        options: of the split.

    Raises:
        ValueError: the events do not have what the split needs.
    """

    def __init__(self, log: EventLog, options: PrepareOptions) -> None:
        self.log = log
        self._options = options
        check_target_events(options.target_events, _event_types(log))
        self.cuts: dict[str, int] = {}
        self._drawn: list[np.ndarray] = []
        self._held: list[Split] = []
        if options.split == "time":
            if not log.timed:
                raise ValueError("split 'time' needs the time of each event: map the timestamp column of the events.")
            self.cuts = time_cuts(Seconds(log), options.validation_from, options.test_from)
        elif options.split.startswith("folds"):
            self._drawn = self._draw()

    def __iter__(self) -> Iterator[Split]:
        """The split of each part; of a log in one part it is kept."""
        if self._held:
            yield from self._held
            return
        for part in range(len(self.log)):
            split = self._split(part)
            if len(self.log) == 1:
                self._held = [split]
            if len(split.events):
                yield split

    def _split(self, part: int) -> Split:
        events, options = self.log[part], self._options
        targets = options.target_events
        if options.split == "time":
            return by_time(events, self.cuts, targets, rolling=bool(options.events and options.events.labels))
        if options.split == "folds_events":
            return by_events(events, self._drawn[part], targets)
        if options.split == "folds_users":
            return by_users(events, self._drawn[part], targets)
        return leave_last(events, targets)

    def _draw(self) -> list[np.ndarray]:
        """The fold of each target event, or of each user with one, in each part."""
        options = self._options
        by_event = options.split == "folds_events"
        counts = [_members(self.log[part], options, by_event=by_event) for part in range(len(self.log))]
        drawn = drawn_parts(sum(counts), options.folds, "target events" if by_event else "users")
        return np.split(drawn, np.cumsum(counts)[:-1])


def _members(events: pd.DataFrame, options: PrepareOptions, *, by_event: bool) -> int:
    """How many members of folds a part has."""
    if by_event:
        return int(targets_of(events, options.target_events).sum())
    return up_to_last_target(events, options.target_events)[0][USER_ID].nunique()


def _event_types(log: EventLog) -> set[str] | None:
    """The types that events have; None where they have none."""
    if EVENT_TYPE not in log.categories:
        return None
    counts = sum(log.counts(part, EVENT_TYPE) for part in range(len(log)))
    return set(log.categories[EVENT_TYPE].categories[counts > 0])
