"""The pictures of a ranker's report: how often what was predicted happened, and the training curve."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tfrec.report.plots import COLOURS, canvas, finish, save, training_plot


def write_prediction_plots(
    folder: str | os.PathLike[str],
    reliability: Mapping[str, pd.DataFrame],
    training: Mapping[str, Sequence[float]],
    metric: str,
    *,
    lower: bool,
) -> dict[str, str]:
    """Draw every picture for which there are figures.

    Args:
        folder: where the PNG files go; made when absent.
        reliability: label -> `evaluation.reliability` of its test predictions.
        training: figure -> its value by epoch.
        metric: the validation figure that chose the epoch.
        lower: whether less of it is better.

    Returns:
        Caption -> path of the file.
    """
    os.makedirs(folder, exist_ok=True)
    written = {}
    for label, table in reliability.items():
        path = os.path.join(folder, f"reliability_{label}.png")
        reliability_plot(path, table, label)
        written[f"{label}: how often it happened, by the predicted probability, with 95 % intervals over events"] = path
    path = os.path.join(folder, "training.png")
    training_plot(path, training, metric, lower=lower, of="candidates")
    written["Loss and the validation figure that chose the epoch"] = path
    return written


def reliability_plot(path: str | os.PathLike[str], table: pd.DataFrame, label: str) -> None:
    """Draw the observed share of each bin over the predicted one, beside the line on which they are equal."""
    figure, (panel,) = canvas(1)
    predicted, observed = table["predicted"].to_numpy(), table["observed"].to_numpy()
    spread = 1.96 * np.sqrt(observed * (1 - observed) / table["events"].to_numpy())
    top = float(max((observed + spread).max(), predicted.max())) * 1.05
    panel.plot([0, top], [0, top], color="#999999", linestyle="--", linewidth=1, label="as predicted")
    panel.errorbar(predicted, observed, yerr=spread, color=COLOURS[0], marker="o", linewidth=1, label="observed")
    panel.set_xlim(0, top)
    panel.set_ylim(0, top)
    finish(panel, f"Reliability: {label}", "predicted probability", "observed share of yes")
    save(figure, path, panel)
