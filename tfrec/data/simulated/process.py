"""The simulated shop's process: the probability of a next item, and the walk of all users; equations in `shop`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfrec.data.simulated import catalogue as cat

DAY = 86_400
NEW_DAYS = 30
ORACLE_DEPTH = 50
EVENT_TYPES = ("view", "purchase")

NOVELTY = 0.1  # ν
SEASON, FASHION = 0.3, 0.4  # sizes of the two parts of φ

# By block of the attribute vector: deviation of the taste θ, gain of g, and retention ρ of the memory.
TASTE = {"department": 0.4, "category": 0.0, "brand": 0.4, "style": 0.4, "use": 0.4, "price": 0.2}
GAIN = {"department": 0.0, "category": 7.5, "brand": 5.0, "style": 3.5, "use": 3.5, "price": 0.0}
RETENTION = {"department": 0.0, "category": 0.6, "brand": 0.8, "style": 0.7, "use": 0.8, "price": 0.0}
# Whose taste is shared by region; the rest is shared by age band.
REGIONAL = ("department", "brand")


@dataclass(frozen=True)
class Visits:
    """When and how users come, known before they choose; arrays [U, N], padded beyond `lengths` [U].

    Attributes:
        lengths: int64 [U], visits of each user.
        times: int64 [U, N], seconds since the calendar's start, increasing.
        devices: int64 [U, N].
        types: int64 [U, N], places in `EVENT_TYPES`.
        draws: float64 [U, N] in [0, 1), the chance that picks the item.
    """

    lengths: np.ndarray
    times: np.ndarray
    devices: np.ndarray
    types: np.ndarray
    draws: np.ndarray


@dataclass(frozen=True)
class Best:
    """The most probable items of each user at one of his visits, int64 [U, ORACLE_DEPTH], and their probabilities."""

    items: np.ndarray
    probabilities: np.ndarray


def spread(values: dict[str, float]) -> np.ndarray:
    """One value a block -> one value an attribute, float32 [WIDTH]."""
    return np.repeat(np.array([values[name] for name in cat.BLOCKS], np.float32), list(cat.BLOCKS.values()))


def block(name: str) -> slice:
    """Where a block stands in an attribute vector."""
    names = list(cat.BLOCKS)
    start = sum(cat.BLOCKS[before] for before in names[: names.index(name)])
    return slice(start, start + cat.BLOCKS[name])


def tastes(regions: np.ndarray, ages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """θ, float32 [U, WIDTH], of users with codes of region [U] and age band [U]: half the variance is the group's."""
    by_region = rng.normal(size=(int(regions.max()) + 1, cat.WIDTH))[regions]
    by_age = rng.normal(size=(int(ages.max()) + 1, cat.WIDTH))[ages]
    regional = spread({name: float(name in REGIONAL) for name in cat.BLOCKS}) > 0
    own = rng.normal(size=by_age.shape)
    return (spread(TASTE) * np.sqrt(0.5) * (np.where(regional, by_region, by_age) + own)).astype(np.float32)


class Drift:
    """φ(t): the departments' seasons and the styles' fashions."""

    def __init__(self, days: int, rng: np.random.Generator) -> None:
        """Draw when each department is in season and how fast each style comes or goes, over `days` days."""
        self.days = days
        self.peak = rng.random(cat.BLOCKS["department"])
        self.trend = rng.normal(size=cat.BLOCKS["style"])

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Seconds since the start [B] -> float32 [B, WIDTH]."""
        days = times[:, None] / DAY
        drift = np.zeros((len(times), cat.WIDTH), np.float32)
        drift[:, block("department")] = SEASON * np.cos(2 * np.pi * (days / 365 - self.peak))
        drift[:, block("style")] = FASHION * (days / self.days - 0.5) * self.trend
        return drift


def calls() -> np.ndarray:
    """What a view and a purchase call for next, float64 [2, categories, categories]; a little for its department."""
    category = np.arange(len(cat.CATEGORIES))
    department, role = np.divmod(category, len(cat.ROLES))
    within = (department[:, None] == department).astype(float)
    following = within * (role == (role[:, None] + 1) % len(cat.ROLES))
    same = np.eye(len(category))
    return 0.2 * within + np.stack([0.6 * same + 0.2 * following, 0.2 * same + 0.6 * following])


class Process:
    """P(j | u, t) for any users, and the memory that it depends on."""

    def __init__(self, goods: cat.Catalogue, launches: np.ndarray, taste: np.ndarray, drift: Drift) -> None:
        """Start with nobody having had anything.

        Args:
            goods: what is sold.
            launches: int64 [I], seconds since the start; 0 is not a launch but there from the first day.
            taste: float32 [U, WIDTH].
            drift: φ.
        """
        self.goods, self.launches, self.taste, self.drift = goods, launches, taste, drift
        self.memory = np.zeros_like(taste)
        self.had = np.zeros((len(taste), len(launches)), bool)
        gains = np.stack([goods.attributes] * len(EVENT_TYPES))
        gains[:, :, block("category")] = calls()[:, goods.codes["category"]]
        self.gains = gains * spread(GAIN)  # g(i, e), [event types, I, WIDTH]
        self.retention = spread(RETENTION)

    def probabilities(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Users [B] at seconds since the start [B] -> float32 [B, I]; rows sum to 1, what cannot be chosen has 0."""
        query = self.taste[users] + self.drift(times) + self.memory[users]
        score = query @ self.goods.attributes.T + self.goods.popularity
        age = times.astype(np.int32)[:, None] - self.launches.astype(np.int32)
        score += np.where((age < NEW_DAYS * DAY) & (self.launches > 0), np.float32(NOVELTY), np.float32(0))
        np.copyto(score, -np.inf, where=(age < 0) | self.had[users])
        score = np.exp(score - score.max(axis=1, keepdims=True))
        return score / score.sum(axis=1, keepdims=True)

    def take(self, users: np.ndarray, items: np.ndarray, types: np.ndarray) -> None:
        """Take in one event of each user; codes [B]."""
        self.memory[users] = self.retention * self.memory[users] + (1 - self.retention) * self.gains[types, items]
        self.had[users, items] = True


def walk(process: Process, visits: Visits) -> tuple[np.ndarray, Best, Best]:
    """Lets users choose, one visit of all of them at a time.

    Returns:
        The items chosen, int64 [U, N]; what was best at the last visit; what was best at the one before.
    """
    users, steps = visits.times.shape
    chosen = np.zeros((users, steps), np.int64)
    best = [Best(np.zeros((users, ORACLE_DEPTH), np.int64), np.zeros((users, ORACLE_DEPTH))) for _ in range(2)]
    for step in range(steps):
        for batch in _batches(np.flatnonzero(visits.lengths > step)):
            probability = process.probabilities(batch, visits.times[batch, step])
            for back, known in enumerate(best):
                rows = visits.lengths[batch] == step + 1 + back
                known.items[batch[rows]], known.probabilities[batch[rows]] = _top(probability[rows])
            chosen[batch, step] = _pick(probability, visits.draws[batch, step])
            process.take(batch, chosen[batch, step], visits.types[batch, step])
    return chosen, best[0], best[1]


def _batches(users: np.ndarray, size: int = 1024) -> Iterator[np.ndarray]:
    for start in range(0, len(users), size):
        yield users[start : start + size]


def _pick(probability: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Inverse of the cumulated distribution: [B, I], [B] -> item [B]; an item of probability 0 is never picked."""
    cumulated = np.cumsum(probability, axis=1, dtype=np.float64)
    return np.argmax(cumulated > (draws * cumulated[:, -1])[:, None], axis=1)


def _top(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `ORACLE_DEPTH` best columns of each row, best first, and their values."""
    order = np.argsort(-probability, axis=1, kind="stable")[:, :ORACLE_DEPTH]
    return order, np.take_along_axis(probability, order, axis=1)
