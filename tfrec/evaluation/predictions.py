"""Figures of predictions: AUC, log loss, calibration and the like of probabilities, RMSE and MAE of ratings.

Half-widths and differences come from a bootstrap over users, whose events are drawn together: events of one user are
more alike than those of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from tfrec.evaluation.bootstrap import Difference, user_draws
from tfrec.evaluation.metrics import HALF_WIDTH

BINS = 15
_SMALLEST = 1e-7  # Probabilities are kept this far from 0 and 1, so that one mistake is not infinitely bad.
# Where less is better.
_ASCENDING = ("rmse", "mae", "log_loss", "calibration_error", "excess_log_loss", "true_calibration_error")


@dataclass(frozen=True)
class Predictions:
    """What was predicted of N events.

    Attributes:
        users: [N], whose each event is.
        labels: float [N]: 0 and 1, or ratings.
        values: float [N]: probabilities, or ratings.
        binary: whether they are probabilities.
        threshold: the probability from which on a yes is predicted, chosen on validation; None leaves the figures of
            decisions (accuracy, precision, recall, F1) out.
        truth: float [N], the true probabilities, of simulated data alone.
    """

    users: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    binary: bool
    threshold: float | None = None
    truth: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        sizes = {len(self.users), len(self.labels), len(self.values)}
        if len(sizes) > 1 or 0 in sizes:
            raise ValueError(
                f"users, labels and values must be of one length, 1 or more; got {len(self.users)}, "
                f"{len(self.labels)}, {len(self.values)}."
            )
        if not np.isfinite(self.values).all() or not np.isfinite(self.labels).all():
            raise ValueError("labels and values must be finite numbers; some are not.")
        if self.binary and not (np.isin(self.labels, (0, 1)).all() and ((0 <= self.values) & (self.values <= 1)).all()):
            raise ValueError("labels must be 0 or 1 and values probabilities from 0 to 1; some are not.")

    def take(self, which: np.ndarray) -> Predictions:
        """Those of some events, bool [N]."""
        users, labels, values = (part[which] for part in (self.users, self.labels, self.values))
        truth = None if self.truth is None else self.truth[which]
        return Predictions(users, labels, values, self.binary, self.threshold, truth)

    @cached_property
    def codes(self) -> np.ndarray:
        """Place of each event's user among the distinct ones, int [N]."""
        return np.unique(self.users, return_inverse=True)[1]

    @cached_property
    def measure(self) -> _Measure:
        """What is computed once for all draws of users."""
        return _Binary(self) if self.binary else _Rating(self)

    @cached_property
    def drawn(self) -> dict[tuple[int, int], dict[str, np.ndarray]]:
        """Figures of draws of users that were computed before, by seed and number of draws; see `_replicates`."""
        return {}

    def figures(self) -> dict[str, float]:
        """Each figure: see `measured`."""
        return self.measure.figures(np.ones(int(self.codes.max()) + 1))


def measured(
    predictions: Predictions | Sequence[Predictions], *, seed: int = 0, resamples: int = 300
) -> dict[str, float]:
    """All figures of some predictions.

    Args:
        predictions: what was predicted, or what models of several seeds predicted of the same events: their figures are
            averaged.
        seed: of the draws of users.
        resamples: number of draws of all users behind the half-widths.

    Returns:
        `events`, `users` and, of probabilities, `auc` (the area under the ROC curve, NaN where all labels are the
        same), `user_auc` (its mean over the users who have both labels), `log_loss` (nats), `calibration_error` (the
        expected one: mean distance of predicted and observed share over 15 bins of as many events each; Nguyen and
        O'Connor, 2015), `accuracy`, `precision`, `recall` and `f1` at the threshold; of ratings `rmse` and `mae`. Where
        the truth is known, `true_calibration_error` has it in place of what was observed, and `excess_log_loss` is the
        mean divergence of the predicted from the true probabilities, nats: what the log loss is above the best one, but
        for the chance of the labels. Each has a `_half_width`, 1.96 standard deviations over draws of users. What is
        undefined is NaN: the precision where nothing passes the threshold.
    """
    several = [predictions] if isinstance(predictions, Predictions) else list(predictions)
    first, found = several[0], [one.figures() for one in several]
    draws = [_replicates(one, seed, resamples) for one in several]
    result: dict[str, float] = {"events": len(first.labels), "users": int(first.codes.max()) + 1}
    for name in found[0]:
        values = np.mean([one[name] for one in draws], axis=0)
        known = values[~np.isnan(values)]
        result[name] = float(np.mean([one[name] for one in found]))
        result[name + HALF_WIDTH] = float(1.96 * known.std()) if len(known) > 1 else float("nan")
    return result


def compare_predictions(
    ours: Predictions | Sequence[Predictions],
    theirs: Predictions | Sequence[Predictions],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Difference]:
    """Paired bootstrap over users of the difference in every figure; figures of several seeds are averaged.

    Args:
        ours: our predictions, or those of several seeds.
        theirs: those of the other model, of the same events in the same order.
        seed: of the draws of users.
        resamples: number of draws.

    Returns:
        Name of the figure, of those that both have -> its difference, ours minus theirs. Of `rmse`, `mae`, `log_loss`
        and `calibration_error` less is better: their differences are turned round (theirs minus ours), so that above 0
        is better throughout.

    Raises:
        ValueError: other events.
    """
    mine, other = ([one] if isinstance(one, Predictions) else list(one) for one in (ours, theirs))
    for one in (*mine, *other):
        if not (np.array_equal(one.codes, mine[0].codes) and np.array_equal(one.labels, mine[0].labels)):
            raise ValueError("ours and theirs must be predictions of the same events in the same order.")
    sides = [[one.figures() for one in side] for side in (mine, other)]
    draws = [[_replicates(one, seed, resamples) for one in side] for side in (mine, other)]
    result = {}
    for name in (each for each in sides[0][0] if each in sides[1][0]):
        a, b = (float(np.mean([one[name] for one in side])) for side in sides)
        gaps = np.mean([one[name] for one in draws[0]], axis=0) - np.mean([one[name] for one in draws[1]], axis=0)
        if name in _ASCENDING:
            a, b, gaps = -a, -b, -gaps
        low, high = np.nanpercentile(gaps, [2.5, 97.5]) if not np.isnan(gaps).all() else (np.nan, np.nan)
        result[name] = Difference(name, a, b, float(low), float(high), len(mine))
    return result


def best_threshold(predictions: Predictions) -> float:
    """The probability from which on predicting a yes has the best F1; a value that was predicted.

    Args:
        predictions: those of the validation split.
    """
    order = np.argsort(-predictions.values, kind="stable")
    values, hits = predictions.values[order], np.cumsum(predictions.labels[order])
    last = np.append(values[1:] != values[:-1], True)  # Equal values pass together.
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + predictions.labels.sum())
    return float(values[last][np.argmax(f1[last])])


def reliability(predictions: Predictions, bins: int = BINS) -> pd.DataFrame:
    """How often what was predicted happened: `predicted` and `observed` mean share and `events` of each bin.

    Args:
        predictions: probabilities.
        bins: number of bins of as many events each; equal probabilities stay together.
    """
    places = _bins(predictions.values, bins)
    frame = pd.DataFrame({"bin": places, "predicted": predictions.values, "observed": predictions.labels})
    means = frame.groupby("bin").agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), events=("bin", "size")
    )  # fmt: skip
    return means.reset_index(drop=True)


class _Measure(Protocol):
    """Figures under weights of the users."""

    def figures(self, weights: np.ndarray) -> dict[str, float]:
        """Figures where each user, of U, counts as often as `weights`, float [U], say."""


class _Rating:
    """RMSE and MAE."""

    def __init__(self, predictions: Predictions) -> None:
        codes, gaps = predictions.codes, predictions.values.astype(np.float64) - predictions.labels
        self.counts = np.bincount(codes)
        self.squares, self.sizes = np.bincount(codes, gaps**2), np.bincount(codes, np.abs(gaps))

    def figures(self, weights: np.ndarray) -> dict[str, float]:
        """See `_Measure`."""
        total = weights @ self.counts
        return {"rmse": float(np.sqrt(weights @ self.squares / total)), "mae": float(weights @ self.sizes / total)}


class _Binary:
    """Figures of probabilities; what does not depend on the weights is computed once."""

    def __init__(self, predictions: Predictions) -> None:
        codes = predictions.codes
        labels, values = predictions.labels.astype(np.float64), predictions.values.astype(np.float64)
        kept = np.clip(values, _SMALLEST, 1 - _SMALLEST)
        self.counts = np.bincount(codes)
        self.losses = np.bincount(codes, -(labels * np.log(kept) + (1 - labels) * np.log1p(-kept)))
        order = np.argsort(values, kind="stable")
        self.owners, self.labels = codes[order], labels[order]
        self.ends = np.flatnonzero(np.append(values[order][1:] != values[order][:-1], True))
        places = _bins(values, BINS)
        self.bins = [np.bincount(codes * BINS + places, each, len(self.counts) * BINS).reshape(-1, BINS)
                     for each in (labels, values)]  # fmt: skip
        self.user_auc = _user_auc(codes, labels, values)
        self.excess: np.ndarray | None = None
        if predictions.truth is not None:
            truth = np.clip(predictions.truth.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
            gaps = truth * np.log(truth / kept) + (1 - truth) * np.log((1 - truth) / (1 - kept))
            self.excess = np.bincount(codes, gaps)
            self.bins.append(np.bincount(codes * BINS + places, truth, len(self.counts) * BINS).reshape(-1, BINS))
        self.decisions: Mapping[str, np.ndarray] = {}
        if predictions.threshold is not None:
            said = values >= predictions.threshold
            found = {"yes": said, "hits": said * labels, "wanted": labels, "right": said == labels}
            self.decisions = {name: np.bincount(codes, each) for name, each in found.items()}

    def figures(self, weights: np.ndarray) -> dict[str, float]:
        """See `_Measure`."""
        total = float(weights @ self.counts)
        seen, shares = weights @ self.bins[0], weights @ self.bins[1]
        known = ~np.isnan(self.user_auc)
        number = weights[known].sum()
        result = {
            "auc": self._auc(weights),
            "user_auc": float(weights[known] @ self.user_auc[known] / number) if number else float("nan"),
            "log_loss": float(weights @ self.losses / total),
            "calibration_error": float(np.abs(seen - shares).sum() / total),
        }
        if self.excess is not None:
            result["excess_log_loss"] = float(weights @ self.excess / total)
            result["true_calibration_error"] = float(np.abs(weights @ self.bins[2] - shares).sum() / total)
        return {**result, **self._decided(weights, total)}

    def _decided(self, weights: np.ndarray, total: float) -> dict[str, float]:
        if not self.decisions:
            return {}
        yes, hits, wanted, right = (weights @ self.decisions[name] for name in ("yes", "hits", "wanted", "right"))
        nan = float("nan")
        return {
            "accuracy": float(right / total),
            "precision": float(hits / yes) if yes else nan,
            "recall": float(hits / wanted) if wanted else nan,
            "f1": float(2 * hits / (yes + wanted)) if yes + wanted else nan,
        }

    def _auc(self, weights: np.ndarray) -> float:
        """The share of pairs of a yes and a no that are in order; equal values count half."""
        of_events = weights[self.owners]
        yes, no = np.cumsum(of_events * self.labels)[self.ends], np.cumsum(of_events * (1 - self.labels))[self.ends]
        if not yes[-1] or not no[-1]:
            return float("nan")
        new_yes, new_no = np.diff(yes, prepend=0.0), np.diff(no, prepend=0.0)
        return float((new_yes * (no - new_no / 2)).sum() / (yes[-1] * no[-1]))


def _user_auc(codes: np.ndarray, labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The AUC of each user, float64 [U]; NaN where the labels are all the same. Ranks of equal values are averaged."""
    ranks = pd.DataFrame({"user": codes, "value": values}).groupby("user")["value"].rank().to_numpy()
    events, yes = np.bincount(codes), np.bincount(codes, labels)
    pairs = yes * (events - yes)
    won = np.bincount(codes, ranks * labels) - yes * (yes + 1) / 2
    return np.divide(won, pairs, out=np.full(len(events), np.nan), where=pairs > 0)


def _bins(values: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each value, int [N], 0 to bins - 1: of as many values each, equal ones together."""
    edges = np.quantile(values, np.arange(1, bins) / bins, method="lower")
    return np.searchsorted(np.unique(edges), values, side="left")


def _replicates(predictions: Predictions, seed: int, resamples: int) -> dict[str, np.ndarray]:
    """Every figure for each draw of users, float64 [R]; computed once, whatever it is compared with."""
    if (seed, resamples) not in predictions.drawn:
        users, found = int(predictions.codes.max()) + 1, []
        for counts in user_draws(users, resamples, seed):
            found += [predictions.measure.figures(weights) for weights in counts]
        predictions.drawn[seed, resamples] = {name: np.array([one[name] for one in found]) for name in found[0]}
    return predictions.drawn[seed, resamples]
