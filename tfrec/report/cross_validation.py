"""What the folds of a cross-validation reached: mean and spread of every figure, as JSON values and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report import tables
from tfrec.report.markdown import costs

# What tables show, where a run has it; the JSON has every figure.
_SHOWN = ("hr@10", "ndcg@10", "mrr@10", "auc", "user_auc", "log_loss", "calibration_error", "f1", "rmse", "mae")
_COUNTS = ("users", "events")
_NOTES = """\
One training a fold; the epoch is chosen on a share of the other folds, and no setting by the fold that tests. Spread:
standard deviation over the folds, whose trainings share data, so that it is no half-width of the mean."""


def summarized(documents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and spread over folds.

    Args:
        documents: the `metrics.json` of each fold, fold 0 first.

    Returns:
        Name of the model or baseline -> figure -> `mean`, `spread` (standard deviation, n - 1) and `folds`, the values.
    """
    name = documents[0]["name"]
    rows = {name: [document["test"] for document in documents]}
    for baseline in documents[0]["baselines"]:
        rows[baseline] = [document["baselines"][baseline] for document in documents]
    return {row: _of(figures) for row, figures in rows.items()}


def _of(figures: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in figures[0]:
        values = [fold[name] for fold in figures if fold.get(name) is not None]
        if name.endswith(HALF_WIDTH) or name.rpartition("_")[2] in _COUNTS or len(values) < len(figures):
            continue
        found[name] = {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1)), "folds": values}
    return found


def folds_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[list[str], list[list[str]]]:
    """One row a model and figure: mean, spread, each fold."""
    first = next(iter(found.values()))
    shown = [name for name in first if name.endswith(_SHOWN) and (name in _SHOWN or "@" not in name)]
    count = len(next(iter(first.values()))["folds"])
    headings = ["model", "figure", "mean", "spread", *(f"fold {fold}" for fold in range(count))]
    rows = [
        [row, name, *(f"{value:.4f}" for value in (each["mean"], each["spread"], *each["folds"]))]
        for name in shown
        for row, figures in found.items()
        if (each := figures.get(name)) is not None
    ]
    return headings, rows


def as_markdown(
    name: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]], documents: Sequence[Mapping[str, Any]]
) -> str:
    """The page of a cross-validation."""
    took = {"training, all folds (s)": sum(document["timing"]["train_seconds"] for document in documents)}
    memory = max(document["peak_memory_mb"] for document in documents)
    parts = [f"# {name}: {len(documents)} folds", tables.markdown(*folds_table(found)), _NOTES]
    return "\n\n".join([*parts, *costs(took, memory, documents[0]["environment"])]) + "\n"
