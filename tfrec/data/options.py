"""The settings of `prepare`: which columns mean what, which events are kept, how they are split."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tfrec.data.labels import Label
from tfrec.features import EVENT_TYPE, ITEM_ID, TITLE, USER_ID, USER_TEXT, event_feature, user_feature

Cut = str | float | datetime.date
ItemIds = Collection[str] | str | os.PathLike[str]

# Columns that the item table of a dataset has of its own.
RESERVED_ITEM_COLUMNS = (ITEM_ID, TITLE, "text", "count", "candidate", "trained", "held_out")


@dataclass(frozen=True)
class EventColumns:
    """Which column of the events holds what.

    Args:
        user_id: column of the user's id.
        item_id: column of the item's id.
        timestamp: column of the time, None when it is not to be used.
        position: column of the place in the user's order, None when there is none. It orders before `timestamp` does.
        event_type: column of the kind of event (view, purchase), None when there is none.
        context: further categorical columns of an event (device, channel), each an input of the model.
        labels: name -> what is predicted of an event besides its item: a click, a rating.
    """

    user_id: str = USER_ID
    item_id: str = ITEM_ID
    timestamp: str | None = None
    position: str | None = None
    event_type: str | None = None
    context: tuple[str, ...] = ()
    labels: Mapping[str, Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a mapping without order, or one that uses a name twice."""
        object.__setattr__(self, "context", _names("context", self.context))
        if self.timestamp is None and self.position is None:
            raise ValueError(
                "The events need an order: neither a timestamp nor a position column is mapped. Map one of them, as in"
                " EventColumns(timestamp='time')."
            )
        names = [self.user_id, self.item_id, self.timestamp, self.position, self.event_type, *self.context]
        _refuse_twice("events", [name for name in names if name is not None])
        _refuse_twice("events", [event_feature(name) for name in self.columns], what="feature name")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the categorical columns, as the rest of the library calls them."""
        return ((EVENT_TYPE,) if self.event_type is not None else ()) + self.context


@dataclass(frozen=True)
class ItemColumns:
    """Which column of the items holds what.

    Args:
        item_id: column of the item's id.
        text: text columns, joined with ". " into the item's text; the first one is the title that is shown.
            None takes `title` where the table has it.
        categorical: column name -> separator, or None where a value is a single one ("Drama|Comedy" has "|").
        numeric: columns of numbers, standardised with the statistics of the items in training.
    """

    item_id: str = ITEM_ID
    text: tuple[str, ...] | None = None
    categorical: Mapping[str, str | None] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that are used twice or that the dataset needs for itself."""
        if self.text is not None:
            object.__setattr__(self, "text", _names("text", self.text))
        object.__setattr__(self, "numeric", _names("numeric", self.numeric))
        if not isinstance(self.categorical, Mapping):
            raise ValueError(
                "categorical must map each column to its separator or None, as in {'genres': '|', 'brand': None};"
                f" got {self.categorical!r}."
            )
        names = [*self.categorical, *self.numeric]
        _refuse_twice("items", names)
        for name in names:
            if name in RESERVED_ITEM_COLUMNS:
                raise ValueError(
                    f"The item column {name!r} cannot be a categorical or numeric one: the dataset needs the name for"
                    " itself. Give the column another name in the table."
                )
        for name, separator in self.categorical.items():
            if separator is not None and (not isinstance(separator, str) or not separator):
                raise ValueError(
                    f"The separator of the item column {name!r} must be a text such as '|', or None for single values;"
                    f" got {separator!r}."
                )


@dataclass(frozen=True)
class UserColumns:
    """Which column of the users holds what.

    Args:
        user_id: column of the user's id.
        categorical: columns that become inputs of the model.
        text: text columns (a profile, a query), joined with ". " into the user's text, one input of the model.
    """

    user_id: str = USER_ID
    categorical: tuple[str, ...] = ()
    text: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that are used twice."""
        object.__setattr__(self, "categorical", _names("categorical", self.categorical))
        object.__setattr__(self, "text", _names("text", self.text))
        joined = [USER_TEXT] if self.text else []
        _refuse_twice("users", [self.user_id, *self.categorical, *joined])
        _refuse_twice("users", [*self.text])
        _refuse_twice("users", [USER_ID, *map(user_feature, self.categorical), *joined], what="feature name")


@dataclass(frozen=True)
class Folds:
    """Cross-validation: which part of the data tests.

    Args:
        folds: number K of parts, 2 or more.
        fold: the part that tests, 0 to K - 1.
        validation: share of the other parts that validates: settings and epochs are chosen by it.
        seed: the parts follow from it.
    """

    folds: int = 5
    fold: int = 0
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a part that is none."""
        for name, least in (("folds", 2), ("fold", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
        if self.fold >= self.folds:
            raise ValueError(f"fold must be from 0 to {self.folds - 1}, there being {self.folds}; got {self.fold}.")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must be a share between 0 and 1; got {self.validation!r}.")


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` makes of the tables.

    Args:
        events: columns of the events; None takes the standard names that the table has.
        items: columns of the items; None takes `item_id` and `title`.
        users: columns of the users; None takes `user_id` alone.
        min_user_events: users with fewer events are left out. Both minima count the events of every type, before the
            split, and are applied in turn until nothing changes, so that both hold at the end.
        min_item_events: events of items with fewer events are left out.
        target_events: event types that are predicted; empty for all. The others are context.
        seen: "remove" when what a user has had is not recommended again, "keep" when it may be (groceries, music).
            Events of every type count: under "remove" a purchase after a view of the same item is never a hit.
        candidates: "events" to recommend from the items that occur in events, "items" from the whole item table.
        split: "leave_last" (the last target event tests, the one before validates), "time" (two cuts), or, for
            cross-validation, "folds_events" and "folds_users" (see `tfrec.data.folds`). Under "time" an item that the
            history holds already, by an event of any type, is no target, whatever `seen` says.
        validation_from: first moment of validation under "time": text that pandas parses, a date, seconds since 1970,
            or a share of the events such as "80%". Cuts are rounded up to whole seconds; without a zone they are UTC.
        test_from: first moment of the test under "time", written likewise.
        folds: how the folds are cut, under the splits of their names.
        hold_out_items: ids, or a table with a column `item_id`: items whose events are left out of training and of the
            validation targets. They stay in the catalogue and in the histories: the protocol for cold items.
        hold_out_validation_items: the same, but they remain validation targets: to choose settings for cold items.
        max_length: the newest events of a history that a model reads, and the newest that an epoch trains beside the
            first one.
        windows: "newest" for these, or "drawn": of most longer histories, an epoch trains as many events in a row from
            anywhere in them, others in each epoch.
        shards: number of record files.
    """

    events: EventColumns | None = None
    items: ItemColumns | None = None
    users: UserColumns | None = None
    min_user_events: int = 1
    min_item_events: int = 1
    target_events: tuple[str, ...] = ()
    seen: str = "remove"
    candidates: str = "events"
    split: str = "leave_last"
    validation_from: Cut = "80%"
    test_from: Cut = "90%"
    folds: Folds = Folds()
    hold_out_items: ItemIds = ()
    hold_out_validation_items: ItemIds = ()
    max_length: int = 200
    windows: str = "drawn"
    shards: int = 4

    def __post_init__(self) -> None:
        """Refuse values outside the rules above."""
        object.__setattr__(self, "target_events", _names("target_events", self.target_events))
        for name in ("min_user_events", "min_item_events", "max_length", "shards"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
        choices = {
            "seen": ("remove", "keep"),
            "candidates": ("events", "items"),
            "split": ("leave_last", "time", "folds_events", "folds_users"),
            "windows": ("newest", "drawn"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}.")

    def as_json(self) -> dict:
        """The options as plain JSON values, for the manifest and the content hash; of a path the file's name alone."""
        plain = dataclasses.asdict(self)
        for name in ("hold_out_items", "hold_out_validation_items"):
            ids = plain[name]
            plain[name] = os.path.basename(ids) if isinstance(ids, (str, os.PathLike)) else sorted(map(str, ids))
        if plain["users"] and not plain["users"]["text"]:  # Data sets of before keep their content hash.
            del plain["users"]["text"]
        if plain["windows"] == "newest":
            del plain["windows"]
        if not plain["split"].startswith("folds"):
            del plain["folds"]
        if plain["events"] and not plain["events"]["labels"]:
            del plain["events"]["labels"]
        return json.loads(json.dumps(plain, default=str))


def _names(argument: str, value: object) -> tuple[str, ...]:
    """`value` as a tuple of names, None as none; a bare text is refused, since it would be taken apart into letters."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Collection) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{argument} must be a list of names, such as ['title']; got {value!r}.")
    return tuple(value)


def _refuse_twice(table: str, names: list[str], what: str = "column") -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"The {what} {name!r} of the {table} is used twice; each has one meaning.")
