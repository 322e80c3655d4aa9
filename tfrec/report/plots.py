"""The pictures of a report, as PNG files: quality by cut-off, the training curve, quality by slice.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; every line also has its own marker.
Matplotlib is imported on first use and draws without a display.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrec.evaluation import Evaluation
from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.evaluation.slices import COLD_USERS, HISTORY_PREFIX, POPULARITY_PREFIX
from tfrec.report.results import ORACLE, Results
from tfrec.report.tables import main_cutoff

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
_ORACLE_STYLE: dict[str, Any] = {"color": "#555555", "marker": "*", "linestyle": "--"}
_HEADINGS = {"hr": "Hit rate (HR)", "ndcg": "NDCG", "mrr": "MRR", "recall": "Recall"}
_DPI = 120


def write_plots(
    folder: str | os.PathLike[str], results: Results, training: Mapping[str, Sequence[float]] | None = None
) -> dict[str, str]:
    """Draw every picture for which there are figures.

    Args:
        folder: where the PNG files go; made when absent.
        results: the run.
        training: figure -> its value by epoch, as `keras.callbacks.History.history`; None leaves the curve out.

    Returns:
        Caption -> path of the file, in the order of the report.
    """
    os.makedirs(folder, exist_ok=True)
    written = {}
    path = os.path.join(folder, "cutoffs.png")
    cutoff_plot(path, results.evaluations)
    written["Quality by the number of recommendations, with 95 % intervals over users"] = path
    if training and training.get("loss"):
        path = os.path.join(folder, "training.png")
        training_plot(path, training)
        written["Loss and validation quality by epoch"] = path
    path = os.path.join(folder, "slices.png")
    if slice_plot(path, results.evaluations):
        written["Quality by popularity of the target and by length of the history"] = path
    return written


def cutoff_plot(
    path: str | os.PathLike[str], evaluations: Mapping[str, Evaluation], metrics: Sequence[str] = ("hr", "ndcg")
) -> None:
    """Draw each figure by cut-off, one panel a figure, one line a model, bands of the 95 % half-width.

    Args:
        path: the PNG file.
        evaluations: name of the line -> evaluation; the first is the model, `oracle` is drawn in grey.
        metrics: figures without their cut-off.
    """
    figure, panels = canvas(len(metrics))
    for panel, metric in zip(panels, metrics, strict=True):
        for style, (name, each) in zip(_styles(evaluations), evaluations.items(), strict=True):
            cutoffs = sorted(int(key.split("@")[1]) for key in each.metrics if _is_figure(key, metric))
            values = np.array([each.metrics[f"{metric}@{k}"] for k in cutoffs])
            spread = np.array([each.metrics[f"{metric}@{k}{HALF_WIDTH}"] for k in cutoffs])
            panel.plot(cutoffs, values, label=name, **style)
            panel.fill_between(cutoffs, values - spread, values + spread, color=style["color"], alpha=0.15, linewidth=0)
        panel.set_xscale("log")
        panel.set_xticks(cutoffs, [str(k) for k in cutoffs])
        panel.minorticks_off()
        finish(panel, _HEADINGS.get(metric, metric), "recommendations shown (k)", f"mean over users of {metric}@k")
    save(figure, path, panels[0])


def training_plot(
    path: str | os.PathLike[str],
    training: Mapping[str, Sequence[float]],
    metric: str = "",
    *,
    lower: bool = False,
    of: str = "users",
) -> None:
    """Draw the loss by epoch, and beside it a validation figure with its best epoch marked.

    Args:
        path: the PNG file.
        training: figure -> its value by epoch; `loss`, optional `val_loss`, optional validation figures.
        metric: the validation figure; by default the first that holds `ndcg`, else the first that is no loss.
        lower: whether less of it is better.
        of: what it is a mean over.

    Raises:
        ValueError: there is no loss, or not the figure asked for.
    """
    if not training.get("loss") or (metric and metric not in training):
        raise ValueError(f"training must hold loss and {metric or 'figures'} by epoch, got {list(training)}")
    metric = metric or _validation_figure(training)
    figure, panels = canvas(2 if metric else 1)
    for style, key, label in zip(_styles(("", "")), ("loss", "val_loss"), ("training", "validation"), strict=True):
        if training.get(key):
            panels[0].plot(np.arange(1, len(training[key]) + 1), training[key], label=label, **style)
    finish(panels[0], "Loss", "epoch", "mean loss", from_zero=False)
    if metric:
        values = np.asarray(training[metric], float)
        style = _styles(("",))[0] | {"color": COLOURS[2], "marker": MARKERS[2]}
        panels[1].plot(np.arange(1, len(values) + 1), values, **style)
        if np.isfinite(values).any():
            _mark_best(panels[1], values, lower=lower)
        finish(panels[1], f"Validation {metric.removeprefix('val_')}", "epoch", f"mean over {of}", from_zero=False)
    for panel in panels:
        _whole_ticks(panel, max(len(values) for values in training.values()))
    save(figure, path, panels[0])


def slice_plot(path: str | os.PathLike[str], evaluations: Mapping[str, Evaluation], metric: str = "ndcg") -> bool:
    """Draw a figure by popularity of the target and by history length: points, 95 % intervals, users under each bin.

    Args:
        path: the PNG file.
        evaluations: name -> evaluation; the first is the model.
        metric: the figure, without its cut-off.

    Returns:
        Whether there was anything to draw.
    """
    first = next(iter(evaluations.values()))
    key = f"{metric}@{main_cutoff(first.metrics)}"
    groups = {
        "by popularity of the target": [name for name in first.slices if name.startswith(POPULARITY_PREFIX)],
        "by events in the history": [name for name in first.slices if name.startswith((HISTORY_PREFIX, COLD_USERS))],
    }
    groups = {title: sorted(names, key=lambda name: name != COLD_USERS) for title, names in groups.items() if names}
    if not groups:
        return False
    figure, panels = canvas(len(groups))
    for panel, (title, names) in zip(panels, groups.items(), strict=True):
        _draw_slices(panel, evaluations, names, key)
        heading = _HEADINGS.get(metric, metric)
        finish(panel, f"{heading} {title}", "users in each bin below its name", f"mean over users of {key}")
        panel.set_ylim(bottom=-0.02 * panel.get_ylim()[1])
    save(figure, path, panels[0])
    return True


def _draw_slices(panel: Axes, evaluations: Mapping[str, Evaluation], names: Sequence[str], key: str) -> None:
    offsets = np.linspace(-0.24, 0.24, len(evaluations)) if len(evaluations) > 1 else np.zeros(1)
    for offset, style, (label, each) in zip(offsets, _styles(evaluations), evaluations.items(), strict=True):
        values = [each.slices.get(name, {}).get(key, np.nan) for name in names]
        spread = [each.slices.get(name, {}).get(key + HALF_WIDTH, np.nan) for name in names]
        style = style | {"linestyle": "none", "markersize": 6}
        panel.errorbar(np.arange(len(names)) + offset, values, yerr=spread, label=label, capsize=2.5, **style)
    users = [next(iter(evaluations.values())).slices[name]["users"] for name in names]
    labels = [f"{_short(name)}\n{number:,.0f}" for name, number in zip(names, users, strict=True)]
    panel.set_xticks(np.arange(len(names)), labels)
    for edge in np.arange(len(names) - 1) + 0.5:
        panel.axvline(edge, color="#EEEEEE", linewidth=1, zorder=0)


def _short(name: str) -> str:
    return "none" if name == COLD_USERS else name.split(":", 1)[1]


def _is_figure(key: str, metric: str) -> bool:
    name, _, cutoff = key.partition("@")
    return name == metric and cutoff.isdigit()


def _validation_figure(training: Mapping[str, Sequence[float]]) -> str:
    names = [name for name in training if name.startswith("val_") and name != "val_loss" and len(training[name])]
    return next((name for name in names if "ndcg" in name), names[0] if names else "")


def _mark_best(panel: Axes, values: np.ndarray, *, lower: bool) -> None:
    best = int((np.nanargmin if lower else np.nanargmax)(values))
    panel.axvline(best + 1, color="#999999", linestyle=":", linewidth=1.2, zorder=0)
    ring: dict[str, Any] = {
        "marker": "o",
        "markersize": 11,
        "fillstyle": "none",
        "color": "#222222",
        "linestyle": "none",
    }
    panel.plot([best + 1], [values[best]], **ring)
    left = best + 1 > len(values) / 2
    panel.annotate(
        f"best: {values[best]:.4f}, epoch {best + 1}", (best + 1, 0.92 if lower else 0.05),
        xycoords=("data", "axes fraction"),
        xytext=(-8 if left else 8, 0), textcoords="offset points", ha="right" if left else "left", fontsize=10,
    )  # fmt: skip


def _whole_ticks(panel: Axes, epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlim(0.5, epochs + 0.5)


def _styles(names: Sequence[str] | Mapping[str, Any]) -> list[dict[str, Any]]:
    """One style a line: the first bold, the oracle grey and dashed."""
    styles = []
    for position, name in enumerate(names):
        style = {
            "color": COLOURS[position % len(COLOURS)], "marker": MARKERS[position % len(MARKERS)],
            "linewidth": 1.5 if position else 2.4, "linestyle": "-", "markersize": 6,
        }  # fmt: skip
        styles.append(style | (_ORACLE_STYLE if name == ORACLE else {}))
    return styles


def canvas(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.8 * panels + 0.4, 4.6), dpi=_DPI, layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def finish(panel: Axes, title: str, across: str, up: str, *, from_zero: bool = True) -> None:
    """Title, names of the axes and grid of a panel."""
    panel.set_title(title, fontsize=12, loc="left", fontweight="bold")
    panel.set_xlabel(across, fontsize=10)
    panel.set_ylabel(up, fontsize=10)
    panel.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    if from_zero:
        panel.set_ylim(bottom=0)


def save(figure: Figure, path: str | os.PathLike[str], labelled: Axes) -> None:
    """Put one legend below the panels and write the file."""
    handles, labels = labelled.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False, fontsize=10
        )
    figure.savefig(path, format="png", facecolor="white")
