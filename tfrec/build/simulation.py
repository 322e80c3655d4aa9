"""Made-up tables in place of a user's: what they are, what `prepare` is told of them, what is known of their test."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pandas as pd

from tfrec import config
from tfrec.build.tables import prepare_options
from tfrec.data import EventColumns, ItemColumns, Label, PrepareOptions, UserColumns
from tfrec.features import EVENT_TYPE


@dataclass(frozen=True)
class MadeUp:
    """Simulated tables.

    Attributes:
        events: the table of events, as `prepare` takes it.
        items: that of the items.
        users: that of the users.
        oracle: the best answers known: of the shop the recommendations for the test users, where they apply; of the
            advertisements the probability of each click, by user and time.
    """

    events: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    oracle: pd.DataFrame | None


def made_up(data: config.Data) -> MadeUp:
    """The tables that the section `data` describes by a seed.

    Raises:
        ValueError: a size is outside its bounds, or nothing is to be simulated.
    """
    if data.simulated_ads is not None:
        from tfrec.data.simulated.ads import ad_log

        log = ad_log(**data.simulated_ads.model_dump())
        return MadeUp(log.events, log.items, log.users, log.truth)
    if data.simulated is None:
        raise ValueError("data.simulated is missing: there is nothing to simulate.")
    from tfrec.data.simulated.shop import shop

    made = shop(**data.simulated.model_dump())
    return MadeUp(made.events, made.items, made.users, made.oracle if oracle_applies(data) else None)


def simulated_options(data: config.Data) -> PrepareOptions:
    """What `prepare` is told of simulated tables, whose columns are known, and all of whose items are on sale."""
    if data.simulated_ads is not None:
        labels = {name: Label(**label.model_dump()) for name, label in data.labels.items()}
        events = EventColumns(timestamp="timestamp", context=data.context, labels=labels)
        items = ItemColumns(text=("title",), categorical=dict.fromkeys(("category", "advertiser", "format")))
        users = UserColumns(categorical=("interest", "age_band"))
    else:
        events = EventColumns(timestamp="timestamp", event_type=EVENT_TYPE, context=("device",))
        items = ItemColumns(text=("title",), categorical={"category": None}, numeric=("price",))
        users = UserColumns(categorical=("region", "age_band"))
    return dataclasses.replace(prepare_options(data), events=events, items=items, users=users, candidates="items")


def oracle_applies(data: config.Data) -> bool:
    """Whether the simulated shop's oracle answers the test: each user's last event, of the whole log."""
    filtered = data.min_user_events > 1 or data.min_item_events > 1 or data.target_events
    return data.split.kind == "leave_last" and data.seen == "remove" and not filtered
