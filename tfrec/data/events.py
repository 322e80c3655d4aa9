"""The events: read, checked, put in order and filtered; the first step of `prepare`."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from tfrec.data.labels import read_label
from tfrec.data.options import EventColumns
from tfrec.data.tables import Source, Table, read_table
from tfrec.data.timestamps import NO_TIME, SECOND, read_times
from tfrec.features import EVENT_TYPE, ITEM_ID, POSITION, TIMESTAMP, USER_ID, label_feature

logger = logging.getLogger(__name__)


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
        `event_type` and the context columns (texts, "" where missing), `label_...` (float32, NaN where unknown). Each
        user's rows lie together.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or holds what it must not; the message shows the first such row.
    """
    table = read_table(source, "events")
    columns = columns or _standard_columns(table)
    named = (columns.user_id, columns.item_id, columns.timestamp, columns.position, columns.event_type)
    table.require([name for name in (*named, *columns.context) if name is not None])
    table = _without_duplicates(table)
    events = pd.DataFrame({USER_ID: table.ids(columns.user_id), ITEM_ID: table.ids(columns.item_id)})
    keys = []
    if columns.timestamp is not None:
        times = read_times(table, columns.timestamp)
        if by_time or columns.position is None:
            what = "rows have no time, which the order and the split by time need"
            table.refuse(columns.timestamp, times == NO_TIME, what, "Give them a time or remove them.")
        events[TIMESTAMP] = np.where(times == NO_TIME, NO_TIME, times // SECOND)
        keys.append(times)
    if columns.position is not None:
        keys.insert(1 if by_time else 0, _positions(table, columns.position))
    for name in columns.columns:
        events[name] = table.texts(columns.event_type if name == EVENT_TYPE and columns.event_type else name)
    for name, label in columns.labels.items():
        events[label_feature(name)] = read_label(table, name, label)
    return _ordered(events, keys[: 2 if by_time else 1])


def keep_frequent(events: pd.DataFrame, min_user_events: int, min_item_events: int) -> pd.DataFrame:
    """Leave out users and items with few events, in turn until both minima hold.

    Args:
        events: the ordered events.
        min_user_events: users with fewer events go.
        min_item_events: items with fewer events go.

    Returns:
        The events that stay, in their order.

    Raises:
        ValueError: none would stay.
    """
    users, items = (pd.factorize(events[column])[0] for column in (USER_ID, ITEM_ID))
    keep = np.arange(len(events))
    before = -1
    while before != len(keep):
        before = len(keep)
        for codes, least in ((items, min_item_events), (users, min_user_events)):
            keep = keep[np.bincount(codes[keep])[codes[keep]] >= least] if len(keep) else keep
    if not len(keep):
        raise ValueError(
            f"No event is left of {len(events)} with min_user_events={min_user_events} and"
            f" min_item_events={min_item_events}: lower them."
        )
    if len(keep) < len(events):
        logger.info("%d of %d events stay under the minimum counts", len(keep), len(events))
    return events.iloc[keep].reset_index(drop=True)


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


def _without_duplicates(table: Table) -> Table:
    try:
        repeated = table.frame.duplicated()
    except TypeError as error:
        raise ValueError(f"{table.label}: a column holds lists or the like ({error}); remove it.") from error
    if not repeated.any():
        return table
    logger.info("%s: %d rows repeat another one in every column and are dropped", table.label, int(repeated.sum()))
    return Table(table.frame[~repeated].reset_index(drop=True), table.label)


def _positions(table: Table, column: str) -> np.ndarray:
    numbers = table.numbers(column)
    table.refuse(column, np.isnan(numbers), "positions are missing", "Give every event a place in its user's order.")
    table.refuse(column, numbers != np.trunc(numbers), "positions are not whole numbers")
    return numbers


def _ordered(events: pd.DataFrame, keys: list[np.ndarray]) -> pd.DataFrame:
    users = pd.factorize(events[USER_ID], sort=True)[0]
    return events.iloc[np.lexsort([*keys[::-1], users])].reset_index(drop=True)
