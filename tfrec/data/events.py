"""The events: read, checked, put in order and filtered; the first step of `prepare`."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfrec.data.event_log import EventLog, kept_after
from tfrec.data.event_parts import put_together
from tfrec.data.event_pieces import Pieces
from tfrec.data.options import EventColumns
from tfrec.data.shelf import Shelf
from tfrec.data.table_pieces import read_pieces
from tfrec.data.tables import Source, Table
from tfrec.data.totals import added, joint
from tfrec.features import EVENT_TYPE, ITEM_ID, POSITION, TIMESTAMP, USER_ID

logger = logging.getLogger(__name__)

ALL_MEMORY = 2.0**20  # GB: everything is one part.


def read_events(source: Source, columns: EventColumns | None = None, *, by_time: bool = False) -> pd.DataFrame:
    """Read a table of events and put it in order.

    Rows that are the same in every column of the table are one event. The order is by user id, then by position where
    there is one, else by timestamp; ties keep the order of the file (a stable sort).

    Args:
        source: path (.csv, .csv.gz, .parquet) or DataFrame.
        columns: which column holds what; None takes the standard names.
        by_time: order by timestamp first and position second, as a split by time needs; every event must have a time.

    Returns:
        One row an event: `user_id`, `item_id` (texts), `timestamp` (int64 seconds, `NO_TIME` where missing) if mapped,
        `event_type` and the context columns (texts, "" where missing), `label_...` (float32, NaN where unknown), and
        with labels `MOMENT` (int64), the same for a user's events that share a timestamp or a position. Each user's
        rows lie together.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or holds what it must not; the message shows the first such row.
    """
    events = read_log(source, columns, by_time=by_time)[0]
    coded = [name for name in events if isinstance(events[name].dtype, pd.CategoricalDtype)]
    return events.assign(**{str(name): events[name].astype("str") for name in coded})


def read_log(
    source: Source,
    columns: EventColumns | None = None,
    *,
    by_time: bool = False,
    memory: float = ALL_MEMORY,
    folder: Path | None = None,
) -> EventLog:
    """The same in parts of whole users, where the table is too large for the memory.

    Args:
        source: see `read_events`.
        columns: likewise.
        by_time: likewise.
        memory: how much memory to work with, in GB.
        folder: where to put away what the memory does not hold.

    Returns:
        The events; one part where the memory holds them.
    """
    tables, findings, rows = read_pieces(source, "events", memory)
    first = next(tables)
    second = next(tables, None)
    columns, label = columns_of(first, columns), first.label
    pieces = Pieces(columns, label, findings, Shelf(folder if second is not None else None), by_time=by_time)
    pieces.add(first)
    del first
    for table in itertools.chain([second] if second is not None else [], tables):
        pieces.add(table)
    pieces.read_times()
    log = put_together(pieces, rows)
    say_repeated(log, label)
    return log


def columns_of(table: Table, columns: EventColumns | None) -> EventColumns:
    """The mapping of the columns of a table of events, after a check that they are there; None for the standard one."""
    columns = columns or _standard_columns(table)
    named = (columns.user_id, columns.item_id, columns.timestamp, columns.position, columns.event_type)
    table.require([name for name in (*named, *columns.context) if name is not None])
    return columns


def say_repeated(log: EventLog, label: str) -> None:
    """Log how many rows of the table were left out because they repeat another one."""
    if log.repeated:
        told = "%s: %d rows repeat another one in every column and are dropped"
        if log.labels:  # Impressions may well be alike, and without some of them there are fewer noes.
            told += "; if each is an event of its own, add a column that tells them apart"
        logger.log(logging.WARNING if log.labels else logging.INFO, told, label, log.repeated)


def keep_frequent(log: EventLog, min_user_events: int, min_item_events: int) -> EventLog:
    """Leave out users and items with few events, in turn until both minima hold.

    Args:
        log: the events.
        min_user_events: users with fewer events go.
        min_item_events: items with fewer events go.

    Returns:
        The events that stay, in their order.

    Raises:
        ValueError: none would stay.
    """
    if min_user_events <= 1 and min_item_events <= 1:
        return log
    every = left = log.events
    counts, before = log.total(log.item_counts, added), -1
    parts: dict[int, int] = {}
    while left != before:
        counts, parts = log.total(functools.partial(_thin, log, counts >= min_item_events, min_user_events), _together)
        before, left, log = left, sum(parts.values()), log.thinner()
    if not left:
        raise ValueError(
            f"No event is left of {every} with min_user_events={min_user_events} and"
            f" min_item_events={min_item_events}: lower them."
        )
    if left < every:
        logger.info("%d of %d events stay under the minimum counts", left, every)
    return log.of_parts([part for part, events in sorted(parts.items()) if events])


def _thin(log: EventLog, frequent: np.ndarray, min_user_events: int, part: int) -> tuple[np.ndarray, dict[int, int]]:
    """Keep of a part, of what was kept before, the events of frequent items, then of users who have enough of those.

    Returns:
        The events of each item that stay, int64, and how many stay of the part.
    """
    items, begins = log.shelf.get(log.boxes[part], "items"), log.offsets(part)
    kept = frequent[items]
    if log.thinned:
        kept &= log.shelf.get(log.boxes[part], kept_after(log.thinned))
    sizes = np.add.reduceat(kept, begins[:-1], dtype=np.int64)
    kept &= np.repeat(sizes >= min_user_events, np.diff(begins))
    log.shelf.put(log.boxes[part], {kept_after(log.thinned + 1): kept})
    return np.bincount(items[kept], minlength=log.item_count), {part: int(kept.sum())}


def _together(found: Sequence[tuple[np.ndarray, dict[int, int]]]) -> tuple[np.ndarray, dict[int, int]]:
    return added([counts for counts, _ in found]), joint([parts for _, parts in found])


def user_offsets(user_ids: pd.Series | np.ndarray) -> np.ndarray:
    """Where each user's rows begin, int64 [users + 1], for ids whose equal values lie together."""
    codes, unique = pd.factorize(user_ids)
    return np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(unique)))]).astype(np.int64)


def _standard_columns(table: Table) -> EventColumns:
    """The mapping of a table that uses the standard names."""
    table.require([USER_ID, ITEM_ID])
    have = list(table.frame.columns)
    if TIMESTAMP not in have and POSITION not in have:
        raise ValueError(
            f"{table.label} has neither a column {TIMESTAMP!r} nor {POSITION!r}, and events need an order. Its columns"
            f" are: {', '.join(map(str, have))}. Map the one that orders, as in EventColumns(timestamp='time')."
        )
    timestamp, position, event_type = (name if name in have else None for name in (TIMESTAMP, POSITION, EVENT_TYPE))
    return EventColumns(timestamp=timestamp, position=position, event_type=event_type)
