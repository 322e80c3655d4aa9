"""The simulated log of advertisements: its clicks follow the probabilities, and those the formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfrec.data.simulated import ads

SMALL = {"users": 400, "ads": 16, "mean_impressions": 40, "days": 20}


@pytest.fixture(scope="module")
def small() -> ads.AdLog:
    return ads.ad_log(seed=3, **SMALL)


@pytest.fixture(scope="module")
def joined(small: ads.AdLog) -> pd.DataFrame:
    """All that is known of each impression, a user's together and in order, with the logit of its click."""
    events = small.events.merge(small.truth, on=["user_id", "timestamp"], validate="1:1")
    events = events.merge(small.items, on="item_id", validate="m:1").merge(small.users, on="user_id", validate="m:1")
    events = events.sort_values(["user_id", "timestamp"], ignore_index=True)
    return events.assign(logit=np.log(events.click / (1 - events.click)))


def test_the_same_seed_gives_the_same_tables_and_another_seed_others(small: ads.AdLog) -> None:
    again, other = ads.ad_log(seed=3, **SMALL), ads.ad_log(seed=4, **SMALL)
    for name in ("events", "items", "users", "truth"):
        pd.testing.assert_frame_equal(getattr(small, name), getattr(again, name))
        assert not getattr(small, name).equals(getattr(other, name))


def test_the_tables_are_a_log_of_impressions(small: ads.AdLog) -> None:
    events = small.events
    assert list(events) == ["user_id", "item_id", "timestamp", "clicked", "slot", "device", "daypart"]
    assert events.timestamp.is_monotonic_increasing
    assert not events.duplicated(["user_id", "timestamp"]).any()
    sizes = events.groupby("user_id").size()
    assert len(sizes) == 400 and sizes.min() >= ads.MIN_IMPRESSIONS and abs(sizes.mean() - 40) < 2
    assert 0.08 < events.clicked.mean() < 0.25  # Most are not clicked.
    assert set(events.item_id) == set(small.items.item_id)
    hours = pd.to_datetime(events.timestamp, unit="s").dt.hour
    assert (hours[events.daypart == "evening"] >= 18).all() and (hours[events.daypart == "night"] < 6).all()


def test_clicks_happen_as_often_as_their_probabilities_say(joined: pd.DataFrame) -> None:
    for places in np.array_split(np.argsort(joined.click), 8):
        part = joined.iloc[places]
        error = np.sqrt((part.click * (1 - part.click)).sum()) / len(part)
        assert abs(part.clicked.mean() - part.click.mean()) < 4 * error


def test_what_was_clicked_lately_counts_as_the_formula_says(joined: pd.DataFrame) -> None:
    """Two impressions that are alike but for what was clicked before differ by the recency alone."""
    recency = []
    for _, events in joined.groupby("user_id", sort=False):
        recent: dict[str, float] = {}
        for category, clicked in zip(events.category, events.clicked, strict=True):
            recency.append(recent.get(category, 0.0))
            recent = {name: ads.RETENTION * value for name, value in recent.items()}
            recent[category] = recent.get(category, 0.0) + clicked
    rest = joined.logit - ads.RECENCY * np.tanh(recency)
    alike = rest.groupby([joined[name] for name in ("user_id", "item_id", "slot", "device", "daypart")])
    assert alike.ngroups < len(joined) - 500
    assert (alike.max() - alike.min()).max() < 1e-9
    assert (joined.logit - rest).std() > 0.2


def test_slots_are_dealt_by_chance_and_count_alike_for_all(joined: pd.DataFrame) -> None:
    means = joined.groupby("slot").logit.mean()
    np.testing.assert_allclose(means - means[1], ads.SLOTS, atol=0.1)


def test_a_declared_interest_is_clicked_more(joined: pd.DataFrame) -> None:
    own = joined.category == joined.interest
    assert joined.logit[own].mean() > joined.logit[~own].mean() + 0.7


@pytest.mark.parametrize("wrong", [{"users": 0}, {"ads": 7}, {"mean_impressions": 9}, {"days": 0}, {"seed": -1}])
def test_sizes_outside_their_bounds_are_refused(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number from"):
        ads.ad_log(**wrong)
