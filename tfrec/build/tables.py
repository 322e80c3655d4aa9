"""What the section `data` of a pipeline becomes: options of `prepare`, places of tables, a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrec import config
from tfrec.data import Dataset, EventColumns, Folds, ItemColumns, Label, PrepareOptions, Runner, UserColumns, prepare


def prepare_options(data: config.Data) -> PrepareOptions:
    """What `prepare` is told by the section `data` of a pipeline."""
    events, items, users, split = data.events, data.items, data.users, data.split
    cuts: dict[str, Any] = {"validation_from": split.validation_from, "test_from": split.test_from}
    return PrepareOptions(
        events=_event_columns(events) if events else None,
        items=ItemColumns(items.item_id, tuple(items.text), dict(items.categorical), tuple(items.numeric))
        if items
        else None,
        users=UserColumns(users.user_id, tuple(users.categorical), tuple(users.text)) if users else None,
        min_user_events=data.min_user_events,
        min_item_events=data.min_item_events,
        target_events=tuple(data.target_events or ()),
        seen=data.seen,
        candidates=data.candidates,
        split=split.kind,
        hold_out_items=_ids_table(data, data.cold_items),
        hold_out_validation_items=_ids_table(data, data.cold_items_validation),
        max_length=data.max_length,
        windows=data.windows,
        shards=data.shards,
        **(cuts if split.kind == "time" else {}),
        folds=Folds(split.folds, split.fold, split.validation, split.seed),
    )


def _event_columns(events: config.Events) -> EventColumns:
    labels = {name: Label(**label.model_dump()) for name, label in events.labels.items()}
    return EventColumns(**events.columns.model_dump(), context=tuple(events.context), labels=labels)


def _ids_table(data: config.Data, name: str | None) -> str | tuple[str, ...]:
    return str(data.path(name)) if name else ()


def tables(data: config.Data) -> tuple[Path, Path | None, Path | None]:
    """Where the events lie, and the items and the users where there are some.

    Raises:
        ValueError: the data is simulated and lies nowhere.
    """
    if data.events is None:
        raise ValueError("data.events is missing: there are no tables to read.")
    items, users = (data.path(section.path) if section else None for section in (data.items, data.users))
    return data.path(data.events.path), items, users


def dataset(data: config.Data, folder: Path, runner: Runner | None = None) -> Dataset:
    """Prepare the tables that the settings name, by whom `runner` says; what `folder` held before is replaced."""
    options = prepare_options(data)
    return prepare(*tables(data), options=options, folder=folder, replace=True, memory=data.memory, runner=runner)
