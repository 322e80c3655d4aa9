"""Who does the work of `prepare`: this process here, the workers of a cluster in `cluster.runner`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tfrec.data.draft import Draft
from tfrec.data.event_log import EventLog
from tfrec.data.events import read_log
from tfrec.data.options import EventColumns
from tfrec.data.records import ShardWriter
from tfrec.data.scored_events import EventWriter
from tfrec.data.tables import Source
from tfrec.features import EVENTS_SCORED


class Runner(Protocol):
    """Whoever does the work."""

    def read_log(
        self, source: Source, columns: EventColumns | None, *, by_time: bool, memory: float, folder: Path
    ) -> EventLog:
        """Read, check and order the events.

        Args:
            source: see `prepare`.
            columns: which column holds what; None for the standard names.
            by_time: whether time orders before position does.
            memory: how many GB a part of them may take, about.
            folder: where things can be put away meanwhile.
        """
        ...

    def write(self, draft: Draft, folder: Path) -> None:
        """Write all of a draft but the manifest."""
        ...


class LocalRunner:
    """This process."""

    def read_log(
        self, source: Source, columns: EventColumns | None, *, by_time: bool, memory: float, folder: Path
    ) -> EventLog:
        """See `Runner`."""
        return read_log(source, columns, by_time=by_time, memory=memory, folder=folder)

    def write(self, draft: Draft, folder: Path) -> None:
        """See `Runner`."""
        with ShardWriter(folder, draft.options.shards) as shards, EventWriter(folder / EVENTS_SCORED) as scored:
            for part in range(len(draft.splits.log)):
                draft.write_events(part, shards, scored)
        draft.write_tables(folder)
