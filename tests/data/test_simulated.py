"""The simulated shop: what its tables promise, and that its oracle is the best answer and leaves room for a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfrec.data.simulated.catalogue import BRANDS, CATEGORIES, NOUNS, PER_CATEGORY, STYLES
from tfrec.data.simulated.process import DAY, ORACLE_DEPTH
from tfrec.data.simulated.shop import CLOSING_DAYS, MIN_EVENTS, START, Shop, shop

SMALL = {"users": 300, "items": 200, "mean_events": 12, "days": 120}


@pytest.fixture(scope="module")
def small() -> Shop:
    return shop(seed=3, **SMALL)


@pytest.fixture(scope="module")
def large() -> Shop:
    """The shop of the demo."""
    return shop()


class Ordered:
    """A shop's events as rows of items in each user's order, split as `leave_last` splits."""

    def __init__(self, made: Shop) -> None:
        self.row = pd.Series(range(len(made.items)), made.items.item_id)
        events = made.events.sort_values(["user_id", "timestamp"], kind="stable")
        self.user = events.user_id.map(pd.Series(range(len(made.users)), made.users.user_id)).to_numpy()
        self.item = events.item_id.map(self.row).to_numpy()
        self.purchase = (events.event_type == "purchase").to_numpy()
        from_end = events.groupby("user_id").cumcount(ascending=False).to_numpy()
        self.train, self.history = from_end > 1, from_end > 0
        self.target = self.item[from_end == 0]
        self.count = np.bincount(self.item[self.train], minlength=len(made.items))
        self.cold = self.count[self.target] == 0

    def ranks(self, oracle: pd.DataFrame) -> np.ndarray:
        """Place of each user's target among the oracle's, 0 the best; beyond the depth where it is not."""
        hits = oracle.item_id.map(self.row).to_numpy().reshape(len(self.target), -1) == self.target[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])

    def ranks_by(self, scores: np.ndarray) -> np.ndarray:
        """The same for scores [U, I], what was seen removed."""
        scores = scores.astype(np.float64)
        scores[self.user[self.history], self.item[self.history]] = -np.inf
        own = scores[np.arange(len(scores)), self.target][:, None]
        before = np.arange(scores.shape[1]) < self.target[:, None]
        return (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)

    def popularity(self) -> np.ndarray:
        return np.tile(self.count, (len(self.target), 1))

    def cooccurrence(self) -> np.ndarray:
        """Counts of what followed the last item in training, then popularity."""
        pairs = np.zeros((len(self.count),) * 2)
        at = np.flatnonzero(self.train[:-1] & self.train[1:] & (self.user[:-1] == self.user[1:]))
        np.add.at(pairs, (self.item[at], self.item[at + 1]), 1)
        last = self.item[np.flatnonzero(~self.history) - 1]
        return pairs[last] + self.count / (1 + self.count.sum())


def hr(ranks: np.ndarray) -> float:
    return float((ranks < 10).mean())


def ndcg(ranks: np.ndarray) -> float:
    return float(np.where(ranks < 10, 1 / np.log2(ranks + 2.0), 0).mean())


# -- the tables -----------------------------------------------------------------------------------------------------


def test_same_seed_same_tables_and_another_seed_others(small: Shop) -> None:
    again = shop(seed=3, **SMALL)
    for name in ("events", "items", "users", "oracle", "oracle_validation"):
        pd.testing.assert_frame_equal(getattr(small, name), getattr(again, name))
    assert not small.events.equals(shop(seed=4, **SMALL).events)


def test_tables_have_the_promised_columns(small: Shop) -> None:
    assert list(small.events) == ["user_id", "item_id", "timestamp", "event_type", "device"]
    assert list(small.items) == ["item_id", "title", "category", "price", "available_from"]
    assert list(small.users) == ["user_id", "region", "age_band"]
    assert list(small.oracle) == list(small.oracle_validation) == ["user_id", "item_id", "rank", "score"]
    assert small.items.item_id.iloc[41] == "i00042" and small.users.user_id.iloc[0] == "u00001"
    assert set(small.events.event_type) == {"view", "purchase"} and small.events.device.nunique() == 3
    assert not any(frame.isna().any(axis=None) for frame in (small.events, small.items, small.users))


def test_events_refer_to_known_ids_and_follow_the_calendar(small: Shop) -> None:
    events = small.events.merge(small.items, on="item_id")
    assert len(events) == len(small.events) and set(events.user_id) == set(small.users.user_id)
    assert (events.timestamp >= events.available_from).all()
    assert events.timestamp.between(START, START + SMALL["days"] * DAY + 100).all()
    assert small.events.timestamp.is_monotonic_increasing
    ordered = small.events.sort_values("user_id", kind="stable")
    gaps = ordered.groupby("user_id").timestamp.diff().dropna()
    assert (gaps > 0).all()


def test_nobody_has_an_item_twice_and_lengths_are_within_bounds(small: Shop) -> None:
    assert not small.events.duplicated(["user_id", "item_id"]).any()
    lengths = small.events.groupby("user_id").size()
    assert lengths.min() >= MIN_EVENTS and lengths.max() <= 2 * SMALL["mean_events"]
    assert abs(lengths.mean() - SMALL["mean_events"]) < 1


def test_titles_are_different_and_say_the_category(large: Shop) -> None:
    assert large.items.title.is_unique
    category = dict(zip(NOUNS, np.repeat(CATEGORIES, PER_CATEGORY), strict=True))
    words = [word for pair in STYLES for word in pair]
    for title, expected in zip(large.items.title, large.items.category, strict=True):
        brand, style, rest = title.split(" ", 2)
        assert brand in BRANDS and style in words
        assert category[rest.split(" for ")[0]] == expected


def test_users_who_share_a_region_share_a_taste(large: Shop) -> None:
    events = large.events.merge(large.users, on="user_id").merge(large.items, on="item_id")
    table = pd.crosstab(events.region, events.title.str.split().str[0], normalize="index")
    assert (table.std() / table.mean()).mean() > 0.1


@pytest.mark.parametrize(
    ("argument", "value"),
    [("users", 0), ("items", 100), ("items", 10**6), ("mean_events", 3), ("days", 10), ("seed", -1), ("users", 2.5)],
)
def test_arguments_out_of_bounds_are_refused(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"`{argument}` must be a whole number .* received {value}"):
        shop(**{argument: value})


# -- the oracle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["oracle", "oracle_validation"])
def test_oracle_ranks_unseen_items_on_sale_by_falling_probability(small: Shop, name: str) -> None:
    oracle = getattr(small, name)
    target = small.events.groupby("user_id").tail(1 if name == "oracle" else 2).groupby("user_id").head(1)
    assert np.array_equal(oracle["rank"], np.tile(np.arange(1, ORACLE_DEPTH + 1), len(small.users)))
    assert len(oracle) == ORACLE_DEPTH * len(small.users) and not oracle.duplicated(["user_id", "item_id"]).any()
    assert (oracle.groupby("user_id").score.diff().dropna() <= 0).all() and (oracle.score > 0).all()
    assert oracle.groupby("user_id").score.sum().max() <= 1 + 1e-5
    placed = oracle.merge(target[["user_id", "timestamp"]], on="user_id").merge(small.items, on="item_id")
    assert (placed.available_from <= placed.timestamp).all()
    had = small.events.merge(target[["user_id", "timestamp"]], on="user_id", suffixes=("", "_target"))
    had = had[had.timestamp < had.timestamp_target]
    assert not len(oracle.merge(had, on=["user_id", "item_id"]))


def test_oracle_probabilities_are_those_of_the_targets(large: Shop) -> None:
    """Targets fall on the oracle's first k exactly as often as their probabilities say: the oracle is the process."""
    ranks, scores = Ordered(large).ranks(large.oracle), large.oracle.score.to_numpy().reshape(-1, ORACLE_DEPTH)
    for k in (1, 10, ORACLE_DEPTH):
        expected = scores[:, :k].sum(axis=1)
        error = np.sqrt((expected * (1 - expected)).sum()) / len(expected)
        assert abs((ranks < k).mean() - expected.mean()) < 4 * error


# -- what the demo relies on ----------------------------------------------------------------------------------------


def test_popularity_is_zipf_like(large: Shop) -> None:
    counts = np.sort(large.events.groupby("item_id").size().to_numpy())[::-1]
    head = counts[: int(0.8 * len(counts))]
    log_rank = np.log(np.arange(1, len(head) + 1))
    slope, _ = np.polyfit(log_rank, np.log(head), 1)
    assert -1.2 < slope < -0.6
    assert np.corrcoef(log_rank, np.log(head))[0, 1] < -0.96


def test_oracle_is_far_above_the_baselines(large: Shop) -> None:
    ordered = Ordered(large)
    oracle = ordered.ranks(large.oracle)
    popularity, cooccurrence = ordered.ranks_by(ordered.popularity()), ordered.ranks_by(ordered.cooccurrence())
    assert 0.3 < hr(oracle) < 0.6
    assert ndcg(popularity) <= ndcg(oracle) / 5
    assert 2 * ndcg(popularity) < ndcg(cooccurrence) < 0.55 * ndcg(oracle)


def test_late_launches_are_cold_targets_that_the_oracle_finds(large: Shop) -> None:
    ordered = Ordered(large)
    closing = START + (365 - CLOSING_DAYS) * DAY
    late = (large.items.available_from == closing).to_numpy()
    assert 50 <= late.sum() <= 100
    assert ordered.count[late].sum() == 0
    assert late[ordered.target].sum() >= 200 and ordered.cold.sum() >= late[ordered.target].sum()
    assert hr(ordered.ranks(large.oracle)[ordered.cold]) > 0.4


def test_other_items_are_launched_during_training(large: Shop) -> None:
    launched = large.items[large.items.available_from > START]
    assert 0.3 < len(launched) / len(large.items) < 0.4
    closing = START + (365 - CLOSING_DAYS) * DAY
    before = launched[launched.available_from < closing - 60 * DAY]
    assert large.events[large.events.item_id.isin(before.item_id)].groupby("item_id").size().median() > 15


def test_what_comes_next_depends_on_more_than_the_last_event(large: Shop) -> None:
    """Where the last two events are of two departments, the older one still calls: more often than the other six do."""
    ordered = Ordered(large)
    department = large.items.category.str.split().str[0].astype("category").cat.codes.to_numpy()[ordered.item]
    same_user = (ordered.user[2:] == ordered.user[1:-1]) & (ordered.user[1:-1] == ordered.user[:-2])
    older, last, following = department[:-2], department[1:-1], department[2:]
    switched = same_user & (older != last)
    left = switched & (following != last)
    assert switched.sum() > 10_000
    assert (following == older)[left].mean() > 2 / 7


def test_a_purchase_calls_for_the_next_role_and_a_view_for_the_same(large: Shop) -> None:
    ordered = Ordered(large)
    codes = large.items.category.map({name: place for place, name in enumerate(CATEGORIES)}).to_numpy()[ordered.item]
    department, role = np.divmod(codes, 4)
    same = (ordered.user[1:] == ordered.user[:-1]) & (department[1:] == department[:-1])
    step, bought = (role[1:] - role[:-1])[same] % 4, ordered.purchase[:-1][same]
    assert (step[bought] == 1).mean() > 1.5 * (step[~bought] == 1).mean()
    assert (step[~bought] == 0).mean() > 1.5 * (step[bought] == 0).mean()


def test_departments_have_seasons(large: Shop) -> None:
    events = large.events.merge(large.items, on="item_id")
    quarter = (events.timestamp - START) // (91 * DAY)
    shares = pd.crosstab(quarter, events.category.str.split().str[0], normalize="index").loc[0:3]
    assert (shares.max() / shares.min()).max() > 1.3
