"""A seeded shop whose best answer is known: `shop` makes the tables, and the oracle that a model is measured against.

The process. Item j has an attribute vector x_j (one-hot department, category, brand, style, use, and its relative
price), all but the price readable in its title, and a popularity b_j (a Zipf law). At his n-th visit, at time t, user u
takes item j with probability

    P(j | u, t) ∝ exp(b_j + x_j · (θ_u + φ(t) + s_un) + ν [a_j <= t < a_j + 30 days and a_j > 0])

among the items that are on sale (a_j <= t) and that he has not had. Nobody has an item twice.

    θ_u     taste: half of its variance is shared by the region (department, brand) or the age band (the rest) of u.
    φ(t)    drift: departments have seasons, cos(2π(t - τ_d) / year); styles come into and out of fashion, linear in t.
    s_un    memory: s_u0 = 0, s_u,n+1 = ρ ∘ s_un + (1 - ρ) ∘ g(i_n, e_n), where i_n is the item of the n-th event and
            e_n its type. Brand, style and use of g say "more of the same"; its category block depends on e_n: a view
            calls above all for the same category (the user compares), a purchase above all for the next role of the
            same department (gear -> accessories -> supplies -> care -> gear). As ρ is 0.6 to 0.8, the events before
            the last one say together more than the last one.
    e_n     purchase with a probability that depends on the device, else view; independent of all else.

The sizes of all this are the constants of `process`.

The calendar. Most items are on sale from day 0 (a_j = 0); others are launched day by day; the last ones are launched
for the closing fortnight, which most users attend with exactly one visit, their last. Under `leave_last` these late
launches are therefore in no training event and no validation target, but in a few hundred test targets. They are the
cold items. Since the process knows an item only by its words, its price and its popularity, which its words explain for
the most part, titles are enough to rank them.

The oracle is P itself, worked out with θ_u, φ and s_un known, so no model does better in expectation. A model sees θ_u
only through what the user did, and has no clock: one that learnt everything else stays below the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrec.data.simulated import catalogue as cat
from tfrec.data.simulated.process import DAY, EVENT_TYPES, NEW_DAYS, Best, Drift, Process, Visits, tastes, walk
from tfrec.features import EVENT_TYPE, ITEM_ID, RANK, SCORE, TIMESTAMP, USER_ID

START = 1_704_067_200  # day 0: 2024-01-01, UTC
CLOSING_DAYS = 14
MIN_EVENTS = 4

DEVICES = ("phone", "desktop", "tablet")
REGIONS = ("north", "south", "east", "west", "islands")
AGE_BANDS = ("18-24", "25-39", "40-59", "60+")

ZIPF = 0.55
INITIAL, LATE = 0.65, 0.05  # shares of the items on sale from day 0, and launched for the closing fortnight
ATTENDING = 0.9  # share of the users who visit in the closing fortnight
DEVICE_SHARE = (0.6, 0.3, 0.1)
PURCHASE = np.array([0.4, 0.6, 0.5])  # probability that an event is a purchase, by device


@dataclass(frozen=True)
class Shop:
    """The tables of a simulated shop and its known best answers.

    Attributes:
        events: user_id, item_id, timestamp (unix seconds, increasing within a user), event_type, device; by time.
        items: item_id, title, category, price, available_from (unix seconds).
        users: user_id, region, age_band.
        oracle: user_id, item_id, rank, score: for the last event of each user, the 50 items that were most probable
            given everything before it, best first; score is the probability. What the user had before is not among
            them.
        oracle_validation: the same for the last event but one.
    """

    events: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    oracle: pd.DataFrame
    oracle_validation: pd.DataFrame


def shop(*, seed: int = 0, users: int = 6000, items: int = 1600, mean_events: int = 20, days: int = 365) -> Shop:
    """Make a shop: the same arguments give the same tables. The defaults take a few seconds.

    Args:
        seed: of all chance.
        users: how many users.
        items: how many items; 200 at least, so that no user empties the shop.
        mean_events: mean number of events of a user, 10 to 40; a user has from `MIN_EVENTS` to about twice as many.
        days: length of the calendar, 90 at least.

    Raises:
        ValueError: an argument is outside its bounds.
    """
    check_size("seed", seed, 0, 2**63)
    check_size("users", users, 1, 10**6)
    check_size("items", items, 200, cat.LIMIT)
    check_size("mean_events", mean_events, 10, 40)
    check_size("days", days, 90, 3650)
    rng = np.random.default_rng(seed)
    goods = cat.catalogue(items, ZIPF, rng)
    launches = _launches(items, days, rng)
    visits = _visits(users, mean_events, days, rng)
    regions, ages = rng.integers(len(REGIONS), size=users), rng.integers(len(AGE_BANDS), size=users)
    chosen, last, before = walk(Process(goods, launches, tastes(regions, ages, rng), Drift(days, rng)), visits)
    user_ids, item_ids = _ids("u", users), _ids("i", items)
    return Shop(
        events=_events(visits, chosen, user_ids, item_ids),
        items=goods.frame(item_ids, launches + START),
        users=pd.DataFrame(
            {USER_ID: user_ids, "region": _words(REGIONS, regions), "age_band": _words(AGE_BANDS, ages)}
        ),
        oracle=_ranking(last, user_ids, item_ids),
        oracle_validation=_ranking(before, user_ids, item_ids),
    )


def check_size(name: str, value: int, low: int, high: int) -> None:
    """Refuse what is no whole number from `low` to `high`."""
    if not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(f"`{name}` must be a whole number from {low} to {high}; received {value!r}: choose another.")


def _launches(items: int, days: int, rng: np.random.Generator) -> np.ndarray:
    """When each item goes on sale, int64 [I] seconds: day 0, a day in between, or the closing fortnight's first."""
    closing = days - CLOSING_DAYS
    place = (rng.permutation(items) + 0.5) / items
    day = np.where(place < INITIAL, 0, rng.integers(NEW_DAYS, closing, size=items))
    return np.where(place > 1 - LATE, closing, day).astype(np.int64) * DAY


def _visits(users: int, mean_events: int, days: int, rng: np.random.Generator) -> Visits:
    """Everything of the users' visits but what they choose."""
    lengths = np.rint(MIN_EVENTS + 2 * (mean_events - MIN_EVENTS) * rng.beta(2, 2, size=users)).astype(np.int64)
    shape = (users, int(lengths.max()))
    devices = rng.choice(len(DEVICES), size=shape, p=DEVICE_SHARE)
    types = (rng.random(shape) < PURCHASE[devices]).astype(np.int64)
    return Visits(lengths, _times(lengths, days, rng), devices, types, rng.random(shape))


def _times(lengths: np.ndarray, days: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds of each visit, int64 [U, N], increasing; in the closing fortnight only attenders' last one."""
    users, width = len(lengths), int(lengths.max())
    step = np.arange(width)
    closing = (days - CLOSING_DAYS) * DAY
    open_until = closing - width  # Times grow by up to `width` seconds below, and must not enter the fortnight.
    joined = 0.6 * open_until * rng.beta(1, 2, size=users)
    attends = rng.random(users) < ATTENDING
    stay = np.where(attends, 1.0, rng.uniform(0.5, 1.0, size=users)) * (open_until - joined)
    times = joined[:, None] + stay[:, None] * rng.random((users, width))
    last = step == lengths[:, None] - 1
    attended = closing + CLOSING_DAYS * DAY * rng.random((users, 1))
    times = np.where(last & attends[:, None], attended, times)
    times = np.sort(np.where(step < lengths[:, None], times, np.inf), axis=1)
    return np.where(np.isinf(times), 0, times).astype(np.int64) + step


def _ids(prefix: str, count: int) -> np.ndarray:
    return np.array([f"{prefix}{number:05d}" for number in range(1, count + 1)], dtype=object)


def _words(words: tuple[str, ...], codes: np.ndarray) -> np.ndarray:
    return np.array(words, dtype=object)[codes]


def _events(visits: Visits, chosen: np.ndarray, user_ids: np.ndarray, item_ids: np.ndarray) -> pd.DataFrame:
    user, step = np.nonzero(np.arange(chosen.shape[1]) < visits.lengths[:, None])
    events = pd.DataFrame(
        {
            USER_ID: user_ids[user],
            ITEM_ID: item_ids[chosen[user, step]],
            TIMESTAMP: visits.times[user, step] + START,
            EVENT_TYPE: _words(EVENT_TYPES, visits.types[user, step]),
            "device": _words(DEVICES, visits.devices[user, step]),
        }
    )
    return events.sort_values([TIMESTAMP, USER_ID], kind="stable").reset_index(drop=True)


def _ranking(best: Best, user_ids: np.ndarray, item_ids: np.ndarray) -> pd.DataFrame:
    users, depth = best.items.shape
    return pd.DataFrame(
        {
            USER_ID: np.repeat(user_ids, depth),
            ITEM_ID: item_ids[best.items.ravel()],
            RANK: np.tile(np.arange(1, depth + 1), users),
            SCORE: best.probabilities.ravel(),
        }
    )
