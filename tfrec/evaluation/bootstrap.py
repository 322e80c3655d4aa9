"""Whether a difference is more than chance: the paired bootstrap over users, and the words that a report may use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_CHUNK_DRAWS = 4_000_000


@dataclass(frozen=True)
class Difference:
    """The difference of one figure between two models, ours minus theirs.

    Attributes:
        metric: name of the figure, such as `ndcg@10`.
        ours: our mean over users.
        theirs: their mean over the same users.
        low: lower end of the 95 % interval of `difference`.
        high: upper end of it.
        seeds: number of trained models behind `ours`; a claim about a model wants three.
    """

    metric: str
    ours: float
    theirs: float
    low: float
    high: float
    seeds: int = 1

    @property
    def difference(self) -> float:
        """Ours minus theirs."""
        return self.ours - self.theirs

    @property
    def verdict(self) -> str:
        """`better` or `worse` when the interval excludes 0, else `not better`."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not better"


def compare(
    ours: pd.DataFrame | Sequence[pd.DataFrame],
    theirs: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Difference]:
    """Paired bootstrap over users of the difference in every figure.

    Users are drawn with replacement, each with the figures of both models; the interval is that between the 2.5 and
    97.5 percentiles of the mean difference (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter
    13).

    Args:
        ours: per-user table (index user_id, a column a figure), or one table a seed: the seeds are averaged a user
            first.
        theirs: the same of the other model, over the same users.
        metrics: the figures to compare; by default every column that both have.
        seed: seed of the draws; the same draws serve every figure.
        resamples: number of draws of all users, at least 1,000.

    Returns:
        Name of the figure -> its difference. Users for whom it is undefined (NaN) on either side count as no
        difference.

    Raises:
        ValueError: no tables, other users, a figure that one side lacks, or too few resamples.
    """
    if resamples < 1000:
        raise ValueError(f"resamples must be at least 1000 for a 95 % interval, got {resamples}")
    our_tables, their_tables = _tables(ours, "ours"), _tables(theirs, "theirs")
    names = list(metrics) if metrics is not None else _shared_columns(our_tables + their_tables)
    users = our_tables[0].index
    mine, other = _seed_mean(our_tables, users, names, "ours"), _seed_mean(their_tables, users, names, "theirs")
    gaps = np.nan_to_num(mine - other, nan=0.0)
    draws = np.concatenate([counts @ gaps for counts in user_draws(len(users), resamples, seed)]) / len(users)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    means = _known_mean(mine), _known_mean(other)
    ends = zip(names, *means, low, high, strict=True)
    seeds = len(our_tables)
    return {name: Difference(name, float(a), float(b), float(c), float(d), seeds) for name, a, b, c, d in ends}


def against_published(ours: float, half_width: float, published: float) -> str:
    """The word for our figure beside a published one.

    Args:
        ours: our mean.
        half_width: half of its 95 % interval.
        published: the other's figure, taken as exact.

    Returns:
        `beats` only when our lower end exceeds it; `falls short of` when even our upper end is below it; else
        `matches`.
    """
    if ours - half_width > published:
        return "beats"
    return "falls short of" if ours + half_width < published else "matches"


def _tables(given: pd.DataFrame | Sequence[pd.DataFrame], name: str) -> list[pd.DataFrame]:
    tables = [given] if isinstance(given, pd.DataFrame) else list(given)
    if not tables or not len(tables[0]):
        raise ValueError(
            f"{name} must be a per-user table with at least one user, or a list of such, got {len(tables)} tables"
        )
    return tables


def _shared_columns(tables: list[pd.DataFrame]) -> list[str]:
    return [name for name in tables[0].columns if all(name in table.columns for table in tables)]


def _seed_mean(tables: list[pd.DataFrame], users: pd.Index, names: list[str], side: str) -> np.ndarray:
    """Float64 [U, M], the mean over seeds, in the order of `users`."""
    total = np.zeros((len(users), len(names)))
    for table in tables:
        if len(table) != len(users) or not table.index.sort_values().equals(users.sort_values()):
            raise ValueError(
                f"{side} must hold the same users in every table: got {len(table)}, others than the {len(users)}"
            )
        lacking = [name for name in names if name not in table.columns]
        if lacking:
            raise ValueError(f"metrics must be columns of both models; {side} lacks {lacking}")
        total += table.loc[users, names].to_numpy(np.float64)
    return total / len(tables)


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Float64 [M], the mean over the users for whom a figure is defined; NaN where it is for none."""
    known = ~np.isnan(values)
    number = known.sum(axis=0)
    undefined = np.full(values.shape[1], np.nan)
    return np.divide(np.where(known, values, 0).sum(axis=0), number, out=undefined, where=number > 0)


def user_draws(users: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each user is drawn, float64 [R, U], in chunks whose rows add up to `resamples`."""
    generator = np.random.default_rng(seed)
    rows = max(1, min(resamples, _CHUNK_DRAWS // users))
    for start in range(0, resamples, rows):
        number = min(rows, resamples - start)
        drawn = generator.integers(0, users, (number, users)) + np.arange(number)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=number * users).reshape(number, users).astype(np.float64)
