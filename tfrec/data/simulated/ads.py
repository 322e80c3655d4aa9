"""A seeded log of advertisements whose click probabilities are known: what a ranker's probabilities are held against.

The process. User u is shown an ad at his n-th impression, in category c; a is the ad, k its slot on the page, d the
device and h the part of the day. He clicks with probability

    P(click) = σ(β + q_a + δ_k + γ_dc + η_h + τ_u + α [c = i_u] + ω [c = j_u] + λ_gc + κ tanh(s_unc))

    β       the general level
    q_a     quality of the ad: of its advertiser, its offer and its format, and of its own.
    δ_k     the slot; slots are dealt by chance, as a page that rotates its ads does.
    γ_dc    device and category
    η_h     part of the day
    τ_u     how readily u clicks at all; no table tells it.
    i_u     the interest that u declared; j_u one that he did not, which only his clicks tell.
    λ_gc    age band of u and category
    s_unc   recency, what he clicked lately: s_u0 = 0, s_u,n+1,c = ρ s_unc + [he clicked and the ad was of category c]

Pages keep to a topic: with probability `SAME_TOPIC` an impression's category is that of the impression before, else one
by chance. Nothing of what is shown depends on clicks. The sizes of all this are the constants below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrec.data.simulated.catalogue import BRANDS, DEPARTMENTS, PRODUCTS
from tfrec.data.simulated.process import DAY
from tfrec.data.simulated.shop import AGE_BANDS, DEVICES, START, check_size
from tfrec.features import ITEM_ID, TIMESTAMP, TITLE, USER_ID

CLICK, CLICKED = "click", "clicked"  # The label, and the column of the events that holds it.
CONTEXT = (CLICKED, "slot", "device", "daypart")
FORMATS = ("banner", "video", "native")
OFFERS = ("Free Shipping", "20 % Off", "New Arrival", "Last Chance", "Members Only", "Two for One")
DAYPARTS = ("night", "morning", "afternoon", "evening")
MIN_IMPRESSIONS = 10

LEVEL = -1.8  # β
QUALITY = {"advertiser": 0.3, "offer": 0.3, "format": 0.3, "own": 0.3}  # deviations of the parts of q
SLOTS = np.array([0.0, -0.4, -0.8, -1.2])  # δ
DEVICE_BY_CATEGORY, DAYPART, READINESS, AGE_BY_CATEGORY = 0.3, 0.3, 0.1, 0.3  # deviations of γ, η, τ, λ
DECLARED, HIDDEN = 1.2, 0.5  # α, ω
RECENCY, RETENTION = 1.2, 0.8  # κ, ρ
SAME_TOPIC = 0.6
DEVICE_SHARE = (0.6, 0.3, 0.1)


@dataclass(frozen=True)
class AdLog:
    """The tables of a simulated log of advertisements.

    Attributes:
        events: one row an impression, whether it was clicked or not: user_id, item_id, timestamp (unix seconds,
            increasing within a user), clicked (1 or 0), slot, device, daypart; by time.
        items: the ads: item_id, title, category, advertiser, format.
        users: user_id, interest (the declared one), age_band.
        truth: user_id, timestamp, and `click`, the probability that the impression was clicked with.
    """

    events: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    truth: pd.DataFrame


@dataclass(frozen=True)
class _Impressions:
    """All that is shown; arrays [U, N], padded beyond `lengths` [U]. Codes but for the times, in seconds."""

    lengths: np.ndarray
    times: np.ndarray
    ads: np.ndarray
    slots: np.ndarray
    devices: np.ndarray
    dayparts: np.ndarray


def ad_log(*, seed: int = 0, users: int = 10_000, ads: int = 200, mean_impressions: int = 50, days: int = 60) -> AdLog:
    """Make a log: the same arguments give the same tables. The defaults take a few seconds.

    Args:
        seed: of all chance.
        users: how many users.
        ads: how many ads, one a category at least.
        mean_impressions: mean number of impressions of a user, `MIN_IMPRESSIONS` at least; a user has from
            `MIN_IMPRESSIONS` to about twice as many.
        days: length of the calendar.

    Raises:
        ValueError: an argument is outside its bounds.
    """
    check_size("seed", seed, 0, 2**63)
    check_size("users", users, 1, 10**6)
    check_size("ads", ads, len(DEPARTMENTS), 10**5)
    check_size("mean_impressions", mean_impressions, MIN_IMPRESSIONS, 1000)
    check_size("days", days, 1, 3650)
    rng = np.random.default_rng(seed)
    items, quality = _ads(ads, rng)
    categories = np.arange(ads) % len(DEPARTMENTS)
    people = pd.DataFrame(
        {
            USER_ID: [f"u{number:05d}" for number in range(1, users + 1)],
            "interest": np.array(DEPARTMENTS, dtype=object)[rng.integers(len(DEPARTMENTS), size=users)],
            "age_band": np.array(AGE_BANDS, dtype=object)[rng.integers(len(AGE_BANDS), size=users)],
        }
    )
    shown = _impressions(users, mean_impressions, days, categories, rng)
    logits = _logits(shown, quality, categories, rng)
    logits += np.take_along_axis(_tastes(people, rng), categories[shown.ads], axis=1)
    clicks, probabilities = _walk(logits, categories[shown.ads], rng)
    return _tables(shown, clicks, probabilities, items, people)


def _ads(ads: int, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """The table of ads, and q float64 [A]; ad n is of category n modulo their number."""
    codes = {
        name: rng.integers(len(words), size=ads)
        for name, words in (("advertiser", BRANDS), ("offer", OFFERS), ("format", FORMATS))
    }
    quality = QUALITY["own"] * rng.normal(size=ads)
    for name, words in (("advertiser", BRANDS), ("offer", OFFERS), ("format", FORMATS)):
        quality += QUALITY[name] * rng.normal(size=len(words))[codes[name]]
    departments = [DEPARTMENTS[number % len(DEPARTMENTS)] for number in range(ads)]
    nouns = [rng.choice([noun for role in PRODUCTS[department] for noun in role]) for department in departments]
    advertisers = [BRANDS[code] for code in codes["advertiser"]]
    items = pd.DataFrame(
        {
            ITEM_ID: [f"a{number:05d}" for number in range(1, ads + 1)],
            TITLE: [
                f"{advertiser} {noun}: {OFFERS[offer]}"
                for advertiser, noun, offer in zip(advertisers, nouns, codes["offer"], strict=True)
            ],
            "category": departments,
            "advertiser": advertisers,
            "format": [FORMATS[code] for code in codes["format"]],
        }
    )
    return items, quality


def _impressions(users: int, mean: int, days: int, categories: np.ndarray, rng: np.random.Generator) -> _Impressions:
    """What users are shown, and when; nothing of it depends on clicks."""
    lengths = np.rint(MIN_IMPRESSIONS + 2 * (mean - MIN_IMPRESSIONS) * rng.beta(2, 2, size=users)).astype(np.int64)
    shape = (users, int(lengths.max()))
    step = np.arange(shape[1])
    times = np.sort(np.where(step < lengths[:, None], rng.random(shape) * (days * DAY - shape[1]), np.inf), axis=1)
    times = np.where(np.isinf(times), 0, times).astype(np.int64) + step  # Increasing: no two of a user are the same.
    topics = rng.integers(len(DEPARTMENTS), size=shape)
    for place in range(1, shape[1]):
        stays = rng.random(users) < SAME_TOPIC
        topics[stays, place] = topics[stays, place - 1]
    counts = np.bincount(categories, minlength=len(DEPARTMENTS))[topics]
    drawn = (counts * rng.random(shape) ** 1.5).astype(np.int64)  # Ads are shown unequally often.
    return _Impressions(
        lengths,
        times,
        topics + len(DEPARTMENTS) * drawn,
        rng.integers(len(SLOTS), size=shape),
        rng.choice(len(DEVICES), size=shape, p=DEVICE_SHARE),
        times % DAY // (DAY // len(DAYPARTS)),
    )


def _logits(
    shown: _Impressions, quality: np.ndarray, categories: np.ndarray, rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """β + q + δ + γ + η, float64 [U, N]."""
    by_device = DEVICE_BY_CATEGORY * rng.normal(size=(len(DEVICES), len(DEPARTMENTS)))
    by_daypart = DAYPART * rng.normal(size=len(DAYPARTS))
    pairs = by_device[shown.devices, categories[shown.ads]]
    return LEVEL + quality[shown.ads] + SLOTS[shown.slots] + pairs + by_daypart[shown.dayparts]


def _tastes(people: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """τ, the two interests and λ of each user by category, float64 [U, categories]."""
    every = np.arange(len(DEPARTMENTS))
    declared = people["interest"].to_numpy()[:, None] == np.array(DEPARTMENTS, dtype=object)
    further = rng.integers(1, len(DEPARTMENTS), size=len(people))
    hidden = (declared.argmax(axis=1) + further) % len(DEPARTMENTS)  # Another one than the declared interest.
    by_age = AGE_BY_CATEGORY * rng.normal(size=(len(AGE_BANDS), len(DEPARTMENTS)))
    ages = (people["age_band"].to_numpy()[:, None] == np.array(AGE_BANDS, dtype=object)).argmax(axis=1)
    readiness = READINESS * rng.normal(size=(len(people), 1))
    return readiness + DECLARED * declared + HIDDEN * (hidden[:, None] == every) + by_age[ages]


def _walk(logits: np.ndarray, categories: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Let all users see one impression at a time; clicks, bool [U, N], and their probabilities, float64 [U, N]."""
    users, steps = logits.shape
    recent, everyone = np.zeros((users, len(DEPARTMENTS))), np.arange(users)
    clicks, probabilities = np.zeros((users, steps), bool), np.zeros((users, steps))
    for step in range(steps):
        category = categories[:, step]
        logit = logits[:, step] + RECENCY * np.tanh(recent[everyone, category])
        probabilities[:, step] = 1 / (1 + np.exp(-logit))
        clicks[:, step] = rng.random(users) < probabilities[:, step]
        recent *= RETENTION
        recent[everyone, category] += clicks[:, step]
    return clicks, probabilities


def _tables(
    shown: _Impressions, clicks: np.ndarray, probabilities: np.ndarray, items: pd.DataFrame, people: pd.DataFrame
) -> AdLog:
    user, step = np.nonzero(np.arange(clicks.shape[1]) < shown.lengths[:, None])
    events = pd.DataFrame(
        {
            USER_ID: people[USER_ID].to_numpy()[user],
            ITEM_ID: items[ITEM_ID].to_numpy()[shown.ads[user, step]],
            TIMESTAMP: shown.times[user, step] + START,
            CLICKED: clicks[user, step].astype(np.int64),
            "slot": shown.slots[user, step] + 1,
            "device": np.array(DEVICES, dtype=object)[shown.devices[user, step]],
            "daypart": np.array(DAYPARTS, dtype=object)[shown.dayparts[user, step]],
        }
    )
    truth = events[[USER_ID, TIMESTAMP]].assign(**{CLICK: probabilities[user, step]})
    order = events.sort_values([TIMESTAMP, USER_ID], kind="stable").index
    events, truth = (table.loc[order].reset_index(drop=True) for table in (events, truth))
    return AdLog(events, items, people, truth)
