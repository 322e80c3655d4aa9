"""Several trained rankers of labels side by side: figures of each label, cost, and which differences are real.

`stages.comparison` trains them; the tables and the picture are those of any comparison.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrec.evaluation import Difference, Predictions, compare_predictions, measured
from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report.comparison import ALL, COSTS, Comparison, Contender
from tfrec.report.prediction_results import COLUMNS

VALIDATION = "validation"
_BINARY, _RATING = ("auc", "user_auc", "log_loss", "calibration_error"), ("rmse", "mae")
_VALIDATED = ("auc", "log_loss", "rmse")
_DRAWS = 1000  # Of users, behind half-widths and differences alike.
_NOTES = f"""\
Predictions of the labelled events of the test split. A figure is the mean over seeds; ± is its 95 % half-width, from a
bootstrap over users; on validation it is the mean of the seeds' own, which is no less than that of their mean. AUC: the
share of pairs of a yes and a no that are in order; by user: its mean over users who have both. Of log loss, calibration
error, RMSE and MAE less is better; a difference above 0 is the better variant, whatever the figure.
{COSTS}"""


@dataclass(frozen=True)
class TrainedRanker:
    """One trained ranker: a variant at one seed.

    Attributes:
        predictions: label -> what it predicts of the test split.
        metrics: the content of its `metrics.json`.
        parameters: weights that train.
        train_seconds: of all epochs.
        epoch_seconds: median.
        peak_memory_mb: MiB, of the process that trained.
    """

    predictions: Mapping[str, Predictions]
    metrics: Mapping[str, Any]
    parameters: int
    train_seconds: float
    epoch_seconds: float
    peak_memory_mb: float

    def figure(self, split: str, label: str, name: str) -> float | None:
        """A figure of its `metrics.json`; None where there is none."""
        prefix = f"{label}_" if len(self.metrics["labels"]) > 1 else ""
        return self.metrics[split].get(prefix + name)

    def session(self, names: Sequence[str]) -> dict[str, float]:
        """The figures of the HParams tab: those of the test split."""
        return {
            f"{label}/{name}": value
            for label in self.predictions
            for name in names
            if (value := self.figure("test", label, name)) is not None
        }


class PredictionComparison(Comparison):
    """All variants of one ranker of labels; each label is a part, called `all` where it is the only one."""

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """Part -> label, of all that a variant predicts."""
        labels = list(dict.fromkeys(label for each in self.measured for label in each.models[0].predictions))
        return {label if labels[1:] else ALL: label for label in labels}

    @property
    def names(self) -> list[str]:
        """The figures of the tables."""
        kinds = [self._binary(label) for label in self.labels.values()]
        return [*(_BINARY if any(kinds) else ()), *(_RATING if not all(kinds) else ())]

    @property
    def parts(self) -> list[str]:
        """The labels, or `all`."""
        return list(self.labels)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Part and figure of each column: of each label what was measured on validation, then on the test split."""
        return [
            (part, name)
            for label in self.labels
            for part in (f"{label} {VALIDATION}", label)
            for name in self.names
            if any(name in found.get(part, {}) for found in self.figures.values())
        ]

    @property
    def main(self) -> tuple[str, str]:
        """Log loss or RMSE of the first label."""
        part, label = next(iter(self.labels.items()))
        return part, "log_loss" if self._binary(label) else "rmse"

    @property
    def axis(self) -> str:
        """What the picture shows upwards."""
        return f"{self.heading(*self.main)} on the test split (less is better)"

    @property
    def notes(self) -> str:
        """What the tables show."""
        return _NOTES

    @property
    def title(self) -> str:
        """What the figures are of, in a few words."""
        return "predictions, ± 95 % half-width over users"

    def heading(self, part: str, name: str) -> str:
        """What a column is called."""
        label, told = part.removesuffix(f" {VALIDATION}"), [COLUMNS[name][0].partition(" (")[0]]
        told += [] if label == ALL else [label]
        return " ".join([*told, "on validation"] if label != part else told)

    @functools.cached_property
    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """Variant -> part -> figures; labels that a variant does not predict are left out."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for each in self.measured:
            found[each.name] = {}
            for part, label in self.labels.items():
                if label in each.models[0].predictions:
                    values = measured([model.predictions[label] for model in each.models], resamples=_DRAWS)
                    kept = [*self._of(label), "events", "users"]
                    shown = {name: values[name] for name in values if name.removesuffix(HALF_WIDTH) in kept}
                    found[each.name] |= {part: shown, f"{part} {VALIDATION}": _on_validation(each, label)}
        return found

    def _against(self, ours: Contender, theirs: Contender) -> dict[str, dict[str, Difference]]:
        found = {}
        for part, label in self.labels.items():
            mine, other = ([model.predictions.get(label) for model in side.models] for side in (ours, theirs))
            if _same_events(mine[0], other[0]):
                gaps = compare_predictions(mine, other, resamples=_DRAWS)
                found[part] = {name: gaps[name] for name in self._of(label)}
        return found

    def _comparable(self, ours: Contender, theirs: Contender) -> bool:
        mine, other = (side.models[0].predictions for side in (ours, theirs))
        return any(_same_events(mine.get(label), other.get(label)) for label in self.labels.values())

    def _own(self) -> dict[str, Any]:
        return {"labels": list(self.labels.values())}

    def _means(self, each: Contender) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for split in (VALIDATION, "test"):
            names = [name for name in each.models[0].metrics[split] if name in each.models[-1].metrics[split]]
            values = {name: [model.metrics[split][name] for model in each.models] for name in names}
            found[split] = {
                name: statistics.fmean(of_seeds)
                for name, of_seeds in values.items()
                if not name.endswith(HALF_WIDTH) and None not in of_seeds
            }
        return found

    def _binary(self, label: str) -> bool:
        models = next(each.models for each in self.measured if label in each.models[0].predictions)
        return models[0].predictions[label].binary

    def _of(self, label: str) -> tuple[str, ...]:
        return _BINARY if self._binary(label) else _RATING


def _on_validation(each: Contender, label: str) -> dict[str, float]:
    """Figures of the validation split, the mean over seeds."""
    found = {}
    for name in (wanted + suffix for wanted in _VALIDATED for suffix in ("", HALF_WIDTH)):
        values = [model.figure(VALIDATION, label, name) for model in each.models]
        if None not in values:
            found[name] = statistics.fmean(values)
    return found


def _same_events(ours: Predictions | None, theirs: Predictions | None) -> bool:
    """Whether both hold predictions of the same events of the same users."""
    if ours is None or theirs is None:
        return False
    return np.array_equal(ours.users, theirs.users) and np.array_equal(ours.labels, theirs.labels)
