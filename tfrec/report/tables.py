"""The tables of a report, as Markdown and for the console: results with half-widths, differences, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfrec.evaluation import Difference, Evaluation
from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.evaluation.slices import FEW_EVENTS, HISTORY_PREFIX, MOST_FEW_EVENTS, POPULARITY_PREFIX

if TYPE_CHECKING:
    from rich.table import Table

# Figure -> (heading, unit, decimals, factor); in the order of the columns.
_COLUMNS: dict[str, tuple[str, str, int, float]] = {
    "hr": ("HR", "0-1", 4, 1),
    "ndcg": ("NDCG", "0-1", 4, 1),
    "mrr": ("MRR", "0-1", 4, 1),
    "recall": ("recall", "0-1", 4, 1),
    "coverage": ("coverage", "%", 1, 100),
    "novelty": ("novelty", "bits", 2, 1),
    "diversity": ("diversity", "0-2", 3, 1),
    "long_tail": ("long tail", "%", 1, 100),
    "cold_share": ("cold items", "%", 1, 100),
}
_DASH = "–"


def main_cutoff(metrics: Mapping[str, float], wanted: int = 10) -> int:
    """The cut-off that tables and headlines show: the wanted one, else the deepest below it, else the shallowest.

    Raises:
        ValueError: the figures hold no `hr@k`.
    """
    cutoffs = sorted(int(name[3:]) for name in metrics if name.startswith("hr@") and name[3:].isdigit())
    if not cutoffs:
        raise ValueError(f"metrics must hold hr@k for some k, got {list(metrics)}")
    return max([k for k in cutoffs if k <= wanted], default=cutoffs[0])


def results_table(evaluations: Mapping[str, Evaluation], cutoff: int = 10) -> tuple[list[str], list[list[str]]]:
    """One row a model, one column a figure.

    Args:
        evaluations: name of the row -> its evaluation; the first is the model.
        cutoff: the k shown, where the lists reach it.

    Returns:
        Headings with units, and rows of text such as `0.3058 ± 0.0116`. Recall is left out where it equals HR
        throughout (one relevant item a user), the share of cold items where it is 0 throughout, and so is any figure
        that no row has.
    """
    k = main_cutoff(next(iter(evaluations.values())).metrics, cutoff)
    shown = [name for name in _COLUMNS if any(f"{name}@{k}" in each.metrics for each in evaluations.values())]
    if all(each.metrics.get(f"recall@{k}") == each.metrics.get(f"hr@{k}") for each in evaluations.values()):
        shown = [name for name in shown if name != "recall"]
    if not any(each.metrics.get(f"cold_share@{k}", 0) > 0 for each in evaluations.values()):
        shown = [name for name in shown if name != "cold_share"]
    headings = ["model", *(f"{_COLUMNS[name][0]}@{k} ({_COLUMNS[name][1]})" for name in shown)]
    return headings, [[row, *(_cell(each.metrics, name, k) for name in shown)] for row, each in evaluations.items()]


def difference_table(differences: Mapping[str, Mapping[str, Difference]]) -> tuple[list[str], list[list[str]]]:
    """One row a baseline and figure: the difference, its 95 % interval, and the word for it.

    Args:
        differences: name of the baseline -> figure -> difference.

    Returns:
        Headings and rows.
    """
    headings = ["against", "figure", "ours", "theirs", "difference", "95 % interval", "verdict"]
    rows = [
        [name, metric, f"{gap.ours:.4f}", f"{gap.theirs:.4f}", f"{gap.difference:+.4f}",
         f"{gap.low:+.4f} to {gap.high:+.4f}", gap.verdict]
        for name, gaps in differences.items() for metric, gap in gaps.items()
    ]  # fmt: skip
    return headings, rows


def slice_table(evaluations: Mapping[str, Evaluation], cutoff: int = 10) -> tuple[list[str], list[list[str]]]:
    """One row a slice with its users; HR and NDCG of the first model with half-widths, HR of the others.

    Args:
        evaluations: name of the row of the results table -> its evaluation; all of the same users.
        cutoff: the k shown, where the lists reach it.

    Returns:
        Headings and rows.
    """
    first = next(iter(evaluations.values()))
    k = main_cutoff(first.metrics, cutoff)
    others = list(evaluations)[1:]
    headings = ["slice", "users", f"HR@{k} (0-1)", f"NDCG@{k} (0-1)", *(f"HR@{k} of {name}" for name in others)]
    rows = []
    for name, figures in first.slices.items():
        cells = [_cell(figures, "hr", k), _cell(figures, "ndcg", k)]
        cells += [_cell(evaluations[other].slices.get(name, {}), "hr", k).split(" ")[0] for other in others]
        rows.append([slice_label(name), f"{figures['users']:,.0f}", *cells])
    return headings, rows


def slice_label(name: str) -> str:
    """A slice's name in words."""
    if name.startswith(HISTORY_PREFIX):
        return f"history of {name.removeprefix(HISTORY_PREFIX)} events"
    if name.startswith(POPULARITY_PREFIX):
        part = name.removeprefix(POPULARITY_PREFIX)
        return "target never trained on" if part == "untrained" else f"target by popularity: {part}"
    if name == FEW_EVENTS:
        return f"target with 1 to {MOST_FEW_EVENTS} training events"
    return name.replace("_", " ")


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> str:
    """A Markdown table; the first column to the left, the others to the right unless they hold text."""
    lines = [headings, ["---", *("---" if text else "---:" for _ in headings[1:])], *rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def console(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """The same table for `rich.console.Console.print`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None)
    for position, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if position else "left", no_wrap=position > 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _cell(metrics: Mapping[str, float], name: str, k: int) -> str:
    key = f"{name}@{k}"
    value = metrics.get(key)
    if value is None or value != value:
        return _DASH
    _, _, decimals, factor = _COLUMNS[name]
    half_width = metrics.get(key + HALF_WIDTH)
    text = f"{value * factor:.{decimals}f}"
    return text if half_width is None else f"{text} ± {half_width * factor:.{decimals}f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
