"""Bayesian matrix factorisation by Gibbs sampling: samples of item factors; `factors` reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Users or items that are drawn at once; each takes 8 * (rank + 1) ** 2 bytes.
BLOCK = 4_096
# Strength of the prior of the means of users and of items, in users and items: Normal-Wishart, `beta_0` of the paper.
PRIOR_COUNT = 2.0
NOISE_START = 0.75


@dataclass(frozen=True)
class Ratings:
    """Labelled events: the user, the item and the label of each.

    Attributes:
        users: int64 [N], 0 to `user_count` - 1.
        items: int64 [N], 0 to `item_count` - 1.
        values: float [N].
        user_count: number U of users.
        item_count: number I of items.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    user_count: int
    item_count: int


@dataclass(frozen=True)
class FactorSamples:
    """K samples of what a label is made of: centre + item bias + user bias + item factors * user factors + noise.

    Attributes:
        center: mean label.
        items: float32 [K, I, 1 + R], bias and factors of each item.
        precision: float32 [K, 1 + R, 1 + R], of the normal distribution of users' biases and factors.
        mean: float32 [K, 1 + R], its mean.
        noise: float32 [K], precision of the noise.
    """

    center: float
    items: np.ndarray
    precision: np.ndarray
    mean: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class _Side:
    """The events of one side, users or items, those of a member together.

    Attributes:
        order: int64 [N], the events by member.
        offsets: int64 [members + 1].
        others: int64 [N], the member of the other side, in that order.
    """

    order: np.ndarray
    offsets: np.ndarray
    others: np.ndarray

    @classmethod
    def of(cls, members: np.ndarray, others: np.ndarray, count: int) -> _Side:
        order = np.argsort(members, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(members, minlength=count))])
        return cls(order, offsets, others[order])


def sample_factors(
    ratings: Ratings, rank: int, samples: int = 32, *, burn_in: int = 16, every: int = 2, seed: int = 0
) -> FactorSamples:
    """Draw samples from the posterior of Bayesian probabilistic matrix factorisation.

    Each sweep draws the items given the users, then the users given the items, their normal distributions from
    Normal-Wishart ones, and the noise; there is no learning rate and no weight of a penalty to choose.
    Items without an event lie at the mean of items. Source: Salakhutdinov and Mnih, "Bayesian probabilistic matrix
    factorization using Markov chain Monte Carlo" (ICML 2008), with biases as one more column of each side.

    Args:
        ratings: the labelled events that train.
        rank: number R of factors, the biases not counted.
        samples: number K of samples that are kept.
        burn_in: sweeps before the first one.
        every: sweeps from one sample to the next.
        seed: the draws follow from it.

    Raises:
        ValueError: no event.
    """
    if not len(ratings.values):
        raise ValueError("`ratings` must hold at least one labelled event; received none.")
    rng, center = np.random.default_rng(seed), float(np.mean(ratings.values))
    labels = ratings.values.astype(np.float64) - center
    by_user = _Side.of(ratings.users, ratings.items, ratings.user_count)
    by_item = _Side.of(ratings.items, ratings.users, ratings.item_count)
    users = rng.normal(size=(ratings.user_count, rank + 1)) * 0.3
    items = rng.normal(size=(ratings.item_count, rank + 1)) * 0.3
    users[:, 0] = items[:, 0] = 0.0
    without, noise, kept = np.diff(by_item.offsets) == 0, 1 / NOISE_START, []
    for sweep in range(burn_in + samples * every):
        item_normal, user_normal = _draw_normal(items, rng), _draw_normal(users, rng)
        items = _draw_members(by_item, users, labels, item_normal, noise, rng)
        items[without] = item_normal[1]
        users = _draw_members(by_user, items, labels, user_normal, noise, rng)
        left = labels - items[ratings.items, 0] - users[ratings.users, 0]
        left -= np.einsum("nr,nr->n", items[ratings.items, 1:], users[ratings.users, 1:])
        noise = rng.gamma(len(left) / 2 + 1, 1 / (left @ left / 2 + 1))
        if sweep >= burn_in and (sweep - burn_in) % every == every - 1:
            kept.append((items, *user_normal, noise))
    return FactorSamples(center, *(np.asarray(part, np.float32) for part in zip(*kept, strict=True)))


def _draw_members(
    side: _Side,
    others: np.ndarray,
    labels: np.ndarray,
    normal: tuple[np.ndarray, np.ndarray],
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Bias and factors of each member of a side given the other side's, float64 [members, 1 + R]."""
    (precision, mean), offsets = normal, side.offsets
    found = others[side.others]
    read = np.concatenate([np.ones((len(found), 1)), found[:, 1:]], axis=1)
    target = labels[side.order] - found[:, 0]
    drawn = np.empty((len(offsets) - 1, len(mean)))
    for first in range(0, len(drawn), BLOCK):
        last = min(first + BLOCK, len(drawn))
        matrix = np.repeat(precision[None], last - first, axis=0)
        vector = np.repeat((precision @ mean)[None], last - first, axis=0)
        for place in range(first, last):
            rows = read[offsets[place] : offsets[place + 1]]
            matrix[place - first] += noise * (rows.T @ rows)
            vector[place - first] += noise * (target[offsets[place] : offsets[place + 1]] @ rows)
        root = np.linalg.cholesky(matrix)
        spread = np.linalg.solve(np.swapaxes(root, 1, 2), rng.normal(size=(*vector.shape, 1)))
        drawn[first:last] = (np.linalg.solve(matrix, vector[..., None]) + spread)[..., 0]
    return drawn


def _draw_normal(members: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Precision [W, W] and mean [W] of the members' normal distribution, drawn from the Normal-Wishart posterior."""
    count, width = members.shape
    center = members.mean(axis=0)
    scatter = (members - center).T @ (members - center)
    pull = PRIOR_COUNT * count / (PRIOR_COUNT + count)
    scale = np.linalg.inv(np.eye(width) + scatter + pull * np.outer(center, center))
    bartlett = np.tril(rng.normal(size=(width, width)), -1)
    bartlett[np.diag_indices(width)] = np.sqrt(rng.chisquare(width + count - np.arange(width)))
    root = np.linalg.cholesky(scale) @ bartlett
    precision = root @ root.T
    spread = np.linalg.solve(np.linalg.cholesky(precision * (PRIOR_COUNT + count)).T, rng.normal(size=width))
    return precision, count * center / (PRIOR_COUNT + count) + spread
