"""Which columns of a table of events a model reads: the export writes them down, and what is asked is read by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.events import read_events
from tfrec.data.options import EventColumns
from tfrec.data.tables import Source, Table, read_table
from tfrec.data.time_numbers import SECOND
from tfrec.data.timestamps import read_times
from tfrec.features import CONTEXT_PREFIX, EVENT_TYPE, HISTORY, ITEM_ID, POSITION, TIMESTAMP, USER_ID

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


def inputs(
    events: pd.DataFrame, lengths: np.ndarray, manifest: Mapping[str, Any], signature: str
) -> dict[str, np.ndarray]:
    """What a table of ordered events says of each input of a signature; what it says nothing of is missing.

    Args:
        events: the events of N users, back to back, as `read` gives them.
        lengths: int [N], the events of each user.
        manifest: the model's.
        signature: its name.

    Returns:
        The history and inputs of the events, back to back [sum(lengths)]; inputs of the users [N], which count with
        their value at the user's last event. Of the candidates that a ranker judges nothing is said.
    """
    found = {HISTORY: events[ITEM_ID].to_numpy(object)}
    for name, column in manifest["inputs"].items():
        if column not in events or name.startswith(CONTEXT_PREFIX):
            continue
        values = events[column].to_numpy(np.int64 if name == TIMESTAMP else object)
        if name == TIMESTAMP:
            values = np.maximum(values, 0)
        found[name] = values if _of_events(manifest, signature, name) else values[np.cumsum(lengths) - 1]
    return found


EVENTS, USER, CONTEXT = "events", "user", "context"


def given(
    kind: str, columns: Mapping[str, Any], count: int, manifest: Mapping[str, Any], signature: str
) -> dict[str, np.ndarray]:
    """Inputs of one request, from columns that were not in a table.

    Args:
        kind: what the columns describe: `events` of the history, the `user`, or the `context` of the candidates.
        columns: name of the column, as in the data of the model -> its values, one for each event or candidate; one
            value stands for all of them, but not for events. None or "" where one is missing.
        count: events of the history, candidates, or 1 of the user.
        manifest: the model's.
        signature: its name.

    Raises:
        ValueError: the model reads no such column, there are more or fewer values, or one cannot be read.
    """
    reads = _read(kind, manifest, signature)
    found = {}
    for column, values in columns.items():
        if column not in reads:
            known = ", ".join(map(repr, reads)) or "none"
            of = {EVENTS: "of events", USER: "of users", CONTEXT: "of candidates"}[kind]
            raise ValueError(f"`{kind}` names {column!r}, which the model does not read {of}; it reads: {known}.")
        if kind != EVENTS and (values is None or np.isscalar(values)):
            values = [values] * count
        if isinstance(values, str) or len(values) != count:
            told = repr(values) if isinstance(values, str) else f"{len(values)}"
            raise ValueError(
                f"`{kind}`: {column!r} must have a value for each of {count} {_NAMED[kind]}; received {told}."
            )
        table = Table(pd.DataFrame({column: list(values)}), kind)
        if reads[column] == TIMESTAMP:
            found[reads[column]] = np.maximum(read_times(table, column) // SECOND, 0)
        else:
            found[reads[column]] = table.texts(column).to_numpy(object)
    return found


_NAMED = {EVENTS: "events", USER: "user", CONTEXT: "candidates"}


def _read(kind: str, manifest: Mapping[str, Any], signature: str) -> dict[str, str]:
    """Column -> input, of those that a signature reads of one kind."""
    inputs = manifest["signatures"][signature]["inputs"]
    found = {}
    for name, column in manifest["inputs"].items():
        if name in inputs:
            of_events = _of_events(manifest, signature, name)
            of = CONTEXT if name.startswith(CONTEXT_PREFIX) else EVENTS if of_events else USER
            if of == kind:
                found[column] = name
    return found


def _of_events(manifest: Mapping[str, Any], signature: str, name: str) -> bool:
    """Whether an input has a value for each event, and not for each user."""
    return len(manifest["signatures"][signature]["inputs"][name]["shape"]) > 1


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
