"""Settings of the tables: where they lie, what their columns mean, how they are filtered and split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tfrec.config.values import Count, Names, Separators, Settings, one_or_more


class Label(Settings):
    """What is predicted of an event besides its item: yes and no, or, with a `range`, a rating."""

    column: str = Field(description="column of the events, of numbers; where it has no value the label is unknown")
    range: Annotated[tuple[float, float], BeforeValidator(one_or_more)] | None = Field(
        None, description="lowest and highest rating, such as `[1, 5]`; `null`: a label of yes and no"
    )
    at_least: float | None = Field(
        None, description="the least value that means yes; `null`: the column holds 1 for yes and 0 for no"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range needs the lowest rating first, and another one last; got {list(self.range)}")
        if self.range is not None and self.at_least is not None:
            raise ValueError("give range for a rating, or at_least for yes and no, not both")
        return self


class EventColumns(Settings):
    """Which column of the events table plays which part."""

    user_id: str = Field("user_id", description="who")
    item_id: str = Field("item_id", description="what")
    timestamp: str | None = Field(None, description="when: seconds, or dates, best year first: 2015-03-01")
    position: str | None = Field(None, description="order within the user, where there is one; goes before `timestamp`")
    event_type: str | None = Field(None, description="what kind of event: view, cart, purchase")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.timestamp is None and self.position is None:
            raise ValueError("name the column that orders the events, as timestamp or as position")
        return self


class Events(Settings):
    """The table of what users did."""

    path: str = Field(description="CSV, CSV.gz or Parquet file")
    columns: EventColumns = Field(description="column names; at least one of `timestamp` and `position`")
    context: Names = Field((), description="further categorical columns of an event: device, channel")
    labels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], Label] = Field(
        default_factory=dict,
        description="name, of letters, digits, `_`, `.` and `-`, -> what the section `ranking` predicts of an event "
        "besides its item",
    )


class Items(Settings):
    """The table of items."""

    path: str = Field(description="CSV, CSV.gz or Parquet file")
    item_id: str = Field("item_id", description="column of the id")
    text: Names = Field((), description="text columns, joined in this order; the first one is the title shown")
    categorical: Separators = Field(
        default_factory=dict,
        description="categorical columns: a list, or `column: separator` where a cell holds several values",
    )
    numeric: Names = Field((), description="numeric columns, standardised")


class Users(Settings):
    """The table of users."""

    path: str = Field(description="CSV, CSV.gz or Parquet file")
    user_id: str = Field("user_id", description="column of the id")
    categorical: Names = Field((), description="categorical columns")
    text: Names = Field(
        (), description="text columns, joined in this order: a profile, a query; `model.text` turns them into vectors"
    )


class Split(Settings):
    """What is learnt from, what chooses the epoch, and what is measured."""

    kind: Literal["leave_last", "time", "folds_events", "folds_users"] = Field(
        "leave_last",
        description="`leave_last`: each user's last target event tests; `time`: two cuts in time; `folds_events` and "
        "`folds_users`, for cross-validation: one of several random parts of the events or of the users",
    )
    validation_from: str | float | None = Field(
        None, description="`time`: start of validation, as a date, seconds, or a share of the events such as `80%`"
    )
    test_from: str | float | None = Field(None, description="`time`: start of the test, written likewise")

    folds: Annotated[int, Field(ge=2)] = Field(5, description="`folds_...`: number of parts")
    fold: Annotated[int, Field(ge=0)] = Field(0, description="`folds_...`: the part that tests, from 0")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="`folds_...`: share of the other parts that chooses the epoch"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="`folds_...`: the parts follow from it")

    @model_validator(mode="after")
    def _cuts(self) -> Self:
        given = [cut for cut in ("validation_from", "test_from") if getattr(self, cut) is not None]
        if self.kind == "time" and len(given) < 2:
            raise ValueError("kind: time needs both validation_from and test_from")
        if self.kind != "time" and given:
            raise ValueError(f"kind: {self.kind} takes no {given[0]}; write kind: time to split by time")
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}, and with {self.folds} folds it goes from 0 to {self.folds - 1}")
        return self


class Simulated(Settings):
    """A shop made up from a seed, in place of tables; its best possible answers are known."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="the shop follows from it")
    users: Count = Field(6000, description="users")
    items: Count = Field(1600, description="items")
    mean_events: Count = Field(20, description="events of a user, on average")
    days: Count = Field(365, description="days that the log covers")


class SimulatedAds(Settings):
    """A log of advertisements made up from a seed; its click probabilities are known."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="the log follows from it")
    users: Count = Field(10_000, description="users")
    ads: Count = Field(200, description="advertisements")
    mean_impressions: Count = Field(50, description="impressions of a user, on average, most of them not clicked")
    days: Count = Field(60, description="days that the log covers")


class Data(Settings):
    """Tables, how they are filtered and split."""

    root: str = Field("data", description="folder that the tables' paths are relative to; `TFREC_DATA` goes before it")
    simulated: Simulated | None = Field(None, description="a made-up shop, in place of tables")
    simulated_ads: SimulatedAds | None = Field(
        None,
        description="a made-up log of advertisements, in place of tables: its label is `click`, its context `clicked`, "
        "`slot`, `device` and `daypart`",
    )
    events: Events | None = Field(None, description="the table of what users did")
    items: Items | None = Field(None, description="the table of items, where there is one")
    users: Users | None = Field(None, description="the table of users, where there is one")
    split: Split = Field(default_factory=Split, description="what trains, validates and tests")
    min_user_events: Count = Field(1, description="users with fewer events are left out")
    min_item_events: Count = Field(1, description="items with fewer events are left out")
    target_events: Names | None = Field(None, description="event types that are predicted; all of them by default")
    seen: Literal["remove", "keep"] = Field(
        "remove",
        description="whether what is in the user's history, by an event of any type, may be recommended; `split: time` "
        "leaves it out of the truth in either case",
    )
    candidates: Literal["events", "items"] = Field(
        "events", description="the catalogue: items that occur in events, or the whole item table"
    )
    max_length: Count = Field(200, description="events of a history that the model looks at, the newest ones")
    windows: Literal["newest", "drawn"] = Field(
        "drawn",
        description="what an epoch trains of a history longer than `max_length`: its newest events, or, of most such "
        "histories, as many in a row that are drawn anew for each epoch",
    )
    cold_items: str | None = Field(
        None, description="table of item ids whose events are kept out of training and of validation targets"
    )
    cold_items_validation: str | None = Field(
        None, description="the same, but they stay validation targets: to choose settings for new items"
    )
    shards: Count = Field(4, description="TFRecord files of the prepared data set; workers of a training divide them")
    memory: Annotated[float, Field(gt=0)] = Field(
        2.0,
        description="GB that `prepare` may take for the events, about; a larger table is worked through in parts, and "
        "gives the same data set",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = ("events", "simulated", "simulated_ads")
        given = [name for name in sources if getattr(self, name) is not None]
        if not given:
            raise ValueError("give either events or simulated, or simulated_ads")
        if given[1:]:
            raise ValueError(f"give either {given[0]} or {given[1]}, not both")
        if self.made_up and (self.items or self.users):
            raise ValueError(f"{given[0]} brings its own items and users; take the items and users sections out")
        if self.target_events and self.events and self.events.columns.event_type is None:
            raise ValueError("target_events needs the column events.columns.event_type")
        if self.candidates == "items" and self.items is None and not self.made_up:
            raise ValueError("candidates: items needs an items section")
        return self

    @property
    def made_up(self) -> bool:
        """Whether there are no tables: a shop or a log is simulated."""
        return self.simulated is not None or self.simulated_ads is not None

    @property
    def labels(self) -> dict[str, Label]:
        """What can be predicted of an event besides its item."""
        if self.simulated_ads is not None:
            return {"click": Label(column="clicked")}
        return self.events.labels if self.events else {}

    @property
    def context(self) -> Names:
        """Further categorical columns of the events."""
        if self.simulated_ads is not None:
            return ("clicked", "slot", "device", "daypart")
        return self.events.context if self.events else ()

    def path(self, name: str) -> Path:
        """Where `name` of this pipeline lies: an absolute path as it is, any other one under the root."""
        return Path(self.root).expanduser() / Path(name).expanduser()
