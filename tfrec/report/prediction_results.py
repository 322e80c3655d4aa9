"""What a run of a ranker reached: the content of its `metrics.json`, and its `report.md`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from tfrec.evaluation import Difference
from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report import tables
from tfrec.report.markdown import costs, pictures, rerun
from tfrec.report.results import ORACLE, write_text

Figures = Mapping[str, float]

# Figure -> (heading with unit, decimals).
COLUMNS = {
    "auc": ("AUC (0-1)", 4),
    "user_auc": ("AUC by user (0-1)", 4),
    "log_loss": ("log loss (nats)", 4),
    "calibration_error": ("calibration error (0-1)", 4),
    "true_calibration_error": ("error to the truth (0-1)", 4),
    "excess_log_loss": ("excess loss (nats)", 4),
    "accuracy": ("accuracy (0-1)", 4),
    "precision": ("precision (0-1)", 4),
    "recall": ("recall (0-1)", 4),
    "f1": ("F1 (0-1)", 4),
    "rmse": ("RMSE (points)", 4),
    "mae": ("MAE (points)", 4),
}
_NOTES = """\
± is the 95 % half-width, from a bootstrap over users. AUC: the share of pairs of a yes and a no that are in order; by
user: its mean over users who have both. Calibration error: mean distance between predicted and observed share over 15
bins of as many events each. Accuracy, precision, recall and F1: at the threshold with the best F1 on validation. Of log
loss, calibration error, RMSE and MAE less is better."""
_TRUTH = """\
Error to the truth: the calibration error with the true probability in place of what was observed. Excess loss: mean
divergence of the predicted from the true probabilities, which is free of the chance of the clicks."""
_VERDICTS = """\
Paired bootstrap over users; above 0 the model is the better one, whatever the figure. The interval covers the choice of
users, not that of the seed: one trained model stands behind it."""


@dataclass(frozen=True)
class LabelResults:
    """What was measured of one label.

    Attributes:
        validation: figures of the validation split, as `evaluation.measured` gives them.
        test: those of the test split.
        baselines: name -> the same of predictions without a model.
        slices: name -> figures of a part of the test split.
        differences: name of the baseline -> figure -> paired difference.
        reliability: `evaluation.reliability` of the test split; None for ratings.
        threshold: the probability from which on a yes is predicted; None for ratings.
        variants: name -> figures of the test split of the model that is told less, without the neutral columns ("as
            served") and with the history alone, where it reads more, and of each model of an ensemble.
    """

    validation: Figures
    test: Figures
    baselines: Mapping[str, Figures]
    slices: Mapping[str, Figures]
    differences: Mapping[str, Mapping[str, Difference]]
    reliability: pd.DataFrame | None = None
    threshold: float | None = None
    variants: Mapping[str, Figures] = field(default_factory=dict)

    def beside(self, variants: Mapping[str, Figures]) -> LabelResults:
        """The same with figures of further variants."""
        return replace(self, variants={**self.variants, **variants})


@dataclass(frozen=True)
class PredictionResults:
    """What is known of a run.

    Attributes:
        name: the pipeline's.
        labels: name of the label -> what was measured of it.
        timing: seconds and counts, as in `Results`.
        peak_memory_mb: MiB.
        environment: see `environment.describe`.
    """

    name: str
    labels: Mapping[str, LabelResults]
    timing: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float = float("nan")
    environment: Mapping[str, str | int | float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The content of `metrics.json`; where there are several labels, a figure's name begins with the label's."""
        return {
            "name": self.name,
            "labels": list(self.labels),
            "validation": dict(self._named(lambda each: each.validation)),
            "test": dict(self._named(lambda each: each.test)),
            **({"variants": variants} if (variants := self._by_name("variants")) else {}),
            "baselines": self._by_name("baselines"),
            "slices": self._by_name("slices"),
            "thresholds": {name: each.threshold for name, each in self.labels.items() if each.threshold is not None},
            "reliability": {
                name: each.reliability.to_dict("list")
                for name, each in self.labels.items()
                if each.reliability is not None
            },
            "timing": dict(self.timing),
            "peak_memory_mb": self.peak_memory_mb,
            "environment": dict(self.environment),
        }

    def _named(self, figures: Any) -> Iterator[tuple[str, float]]:
        for label, each in self.labels.items():
            prefix = f"{label}_" if len(self.labels) > 1 else ""
            yield from ((prefix + name, value) for name, value in figures(each).items())

    def _by_name(self, attribute: str) -> dict[str, dict[str, float]]:
        names = dict.fromkeys(name for each in self.labels.values() for name in getattr(each, attribute))
        return {name: dict(self._named(lambda each: getattr(each, attribute).get(name, {}))) for name in names}  # noqa: B023


def load_prediction_tables(path: str | os.PathLike[str]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Label -> headings and rows of its results table, from the `metrics.json` of a ranker."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    found = {}
    for label in document["labels"]:
        prefix = f"{label}_" if len(document["labels"]) > 1 else ""
        rows = {document["name"]: document["test"], **document.get("variants", {}), **document["baselines"]}
        own = {
            row: {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}
            for row, figures in rows.items()
        }
        found[label] = prediction_table(own)
    return found


def write_prediction_report(
    path: str | os.PathLike[str],
    results: PredictionResults,
    *,
    plots: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
) -> None:
    """Write the report of a ranker; the arguments are those of `write_report`."""
    parts = [f"# {results.name}"]
    for label, each in results.labels.items():
        parts += [f"## {label}: results on the test split", *_label(results.name, each)]
    parts += [_NOTES, *pictures(plots or {}, os.path.dirname(os.path.abspath(path)))]
    parts += costs(results.timing, results.peak_memory_mb, results.environment) + rerun(settings, command)
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")


def _label(name: str, each: LabelResults) -> list[str]:
    rows = {name: each.test, **each.variants, **each.baselines}
    told = [tables.markdown(*prediction_table(rows))]
    told.append(f"On validation: {_spelled(each.validation)}.")
    if ORACLE in each.baselines:
        excess = each.test["log_loss"] / each.baselines[ORACLE]["log_loss"] - 1
        told.append(f"The log loss is {excess:.1%} above that of the oracle, the true probabilities. {_TRUTH}")
    if each.threshold is not None:
        told.append(f"A yes is predicted from a probability of {each.threshold:.3f} on.")
    if each.differences:
        told += ["### Against the baselines", tables.markdown(*tables.difference_table(each.differences)), _VERDICTS]
    if each.slices:
        slices = {name.replace("_", " "): figures for name, figures in each.slices.items()}
        told += ["### Slices", tables.markdown(*prediction_table(slices, "slice"))]
    return told


def prediction_table(rows: Mapping[str, Figures], first: str = "model") -> tuple[list[str], list[list[str]]]:
    """One row a model or slice, one column a figure that any of them has; headings with units, and rows of text."""
    shown = [name for name in COLUMNS if any(name in figures for figures in rows.values())]
    headings = [first, "events", "users", *(COLUMNS[name][0] for name in shown)]
    return headings, [
        [
            row,
            f"{figures['events']:,}",
            f"{figures['users']:,}",
            *(_cell(figures, name) for name in shown),
        ]
        for row, figures in rows.items()
    ]


def _cell(figures: Figures, name: str) -> str:
    value, half_width = figures.get(name), figures.get(name + HALF_WIDTH)
    if value is None or value != value:
        return "–"
    decimals = COLUMNS[name][1]
    return f"{value:.{decimals}f}" + (
        "" if half_width is None or half_width != half_width else f" ± {half_width:.{decimals}f}"
    )


def _spelled(figures: Figures) -> str:
    return ", ".join(f"{COLUMNS[name][0]} {_cell(figures, name)}" for name in COLUMNS if name in figures)
