"""Which columns of a table of events a model reads: the export writes them down, and `answers` reads tables by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tfrec.data.events import read_events
from tfrec.data.options import EventColumns
from tfrec.data.tables import Source, Table, read_table
from tfrec.features import EVENT_TYPE, ITEM_ID, POSITION, TIMESTAMP, USER_ID

_STANDARD = {name: name for name in (USER_ID, ITEM_ID, TIMESTAMP, POSITION, EVENT_TYPE)}


def recorded(dataset: Any) -> dict[str, Any]:
    """What a manifest says of the events under `events`.

    Args:
        dataset: a data set; one that `prepare` did not write has nothing to say.

    Returns:
        `columns`, the mapping as in `EventColumns`, None for the standard names; `by_time`, whether time orders first.
    """
    options = (getattr(dataset, "manifest", None) or {}).get("options", {})
    return {"columns": options.get("events"), "by_time": options.get("split") == "time"}


def read(source: Source, manifest: Mapping[str, Any], columns: EventColumns | None = None) -> pd.DataFrame:
    """Read a table of events for a model, in the order in which `prepare` put its events.

    Args:
        source: path (.csv, .csv.gz, .parquet) or DataFrame.
        manifest: the model's.
        columns: which column holds what; None takes the names that the model's data had, else the standard ones.

    Returns:
        The events as `tfrec.data.events.read_events` gives them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the table has other columns, or cannot be read.
    """
    table = read_table(source, "events")
    told = manifest.get("events") or {}  # Absent in what was exported before it was written down.
    columns = columns or _mapping(table, told.get("columns"), manifest["inputs"])
    return read_events(table.frame, columns, by_time=bool(told.get("by_time")))


def _mapping(table: Table, trained: Mapping[str, Any] | None, inputs: Mapping[str, str]) -> EventColumns:
    """The first mapping that fits the table, without what the table lacks, with what the model knows besides."""
    present = set(table.frame.columns)
    names = next((names for names in (trained, _STANDARD) if names and _fits(names, present)), None)
    if names is None:
        raise ValueError(_refusal(table, trained))
    known = {column for feature, column in inputs.items() if feature != TIMESTAMP}
    chosen: dict[str, Any] = {
        key: names[key] for key in (USER_ID, ITEM_ID, TIMESTAMP, POSITION) if names.get(key) in present
    }
    if EVENT_TYPE in known and names.get(EVENT_TYPE) in present:
        chosen[EVENT_TYPE] = names[EVENT_TYPE]
    context = known & present - {EVENT_TYPE, *chosen.values()}
    return EventColumns(**chosen, context=tuple(sorted(context)))


def _fits(names: Mapping[str, Any], present: set[Any]) -> bool:
    """Whether a table has the two ids and something that orders."""
    order = {names.get(TIMESTAMP), names.get(POSITION)} - {None}
    return {names[USER_ID], names[ITEM_ID]} <= present and bool(order & present)


def _refusal(table: Table, trained: Mapping[str, Any] | None) -> str:
    wanted = _listed(_STANDARD)
    if trained and _listed(trained) != wanted:
        wanted = f"{_listed(trained)}, as in the data of the model; or {wanted}"
    have = ", ".join(map(str, table.frame.columns))
    return f"{table.label} needs the columns {wanted}. Its columns are: {have}. Rename them."


def _listed(names: Mapping[str, Any]) -> str:
    order = [repr(names[key]) for key in (TIMESTAMP, POSITION) if names.get(key)]
    return f"{names[USER_ID]!r}, {names[ITEM_ID]!r} and {' or '.join(order)}"
