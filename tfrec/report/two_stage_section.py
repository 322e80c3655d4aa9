"""The section of a report on two stages: what the second one adds to recall, and what diversity costs; a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report.plots import COLOURS, MARKERS, canvas, finish, save
from tfrec.report.tables import markdown
from tfrec.report.two_stages import TRADE_OFF, TwoStages

# Figures of the curve -> heading, factor, decimals.
_CURVE = {
    "ndcg": ("NDCG", 1, 4),
    "hr": ("HR", 1, 4),
    "diversity": ("diversity (0-2)", 1, 3),
    "coverage": ("coverage (%)", 100, 1),
    "long_tail": ("long tail (%)", 100, 1),
}
_NOTE = """\
The first stage recalls {recall:,} items, which hold {share:.1%} ± {spread:.1%} of what was relevant to a test user: no
order of them can find more. Differences are paired over users. Validation figures are of users whose validation events
the second stage has not learnt."""
_OF_CURVE = """\
Validation split, the first {cutoff} places. The trade-off goes from 0, the order of the scores, to 1; the pipeline's
is {chosen:g}. Test data chooses none."""


def two_stage_parts(results: TwoStages, cutoff: int) -> list[str]:
    """The section of the report."""
    rows = [
        [split, metric, f"{gap.theirs:.4f}", f"{gap.ours:.4f}", f"{gap.difference:+.4f}",
         f"{gap.low:+.4f} to {gap.high:+.4f}", gap.verdict]
        for split, gaps in results.differences.items() for metric, gap in gaps.items()
    ]  # fmt: skip
    headings = ["split", "figure", "recall alone", "both stages", "difference", "95 % interval", "verdict"]
    note = _NOTE.format(recall=results.recall, share=results.found, spread=results.found_half_width)
    parts = ["## Two stages", note, markdown(headings, rows)]
    if not results.curve:
        return parts
    shown = [name for name in _CURVE if f"{name}@{cutoff}" in results.curve[0]]
    headings = ["trade-off", *(f"{_CURVE[name][0]}@{cutoff}" for name in shown)]
    table = [[f"{point[TRADE_OFF]:g}", *(_cell(point, name, cutoff) for name in shown)] for point in results.curve]
    told = _OF_CURVE.format(cutoff=cutoff, chosen=results.trade_off)
    return [*parts, "## What diversity costs", told, markdown(headings, table)]


def diversity_plot(path: str | os.PathLike[str], results: TwoStages, cutoff: int) -> None:
    """Draw NDCG against diversity and against coverage, a labelled point a trade-off."""
    figure, panels = canvas(2)
    for place, (panel, name) in enumerate(zip(panels, ("diversity", "coverage"), strict=True)):
        points = [point for point in results.curve if f"{name}@{cutoff}" in point]
        across = [point[f"{name}@{cutoff}"] * _CURVE[name][1] for point in points]
        up = [point[f"ndcg@{cutoff}"] for point in points]
        spread = [point[f"ndcg@{cutoff}{HALF_WIDTH}"] for point in points]
        panel.errorbar(across, up, yerr=spread, color=COLOURS[place], marker=MARKERS[place], capsize=2.5, linewidth=1.5)
        for x, y, point in zip(across, up, points, strict=True):
            panel.annotate(f"{point[TRADE_OFF]:g}", (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9)
            if point[TRADE_OFF] == results.trade_off:
                panel.plot([x], [y], marker="o", markersize=13, fillstyle="none", color="#222222")
        heading = _CURVE[name][0]
        finish(panel, f"NDCG by {name}", f"{heading} of the first {cutoff}", f"mean over users of ndcg@{cutoff}")
    save(figure, path, panels[0])


def _cell(point: Mapping[str, float], name: str, cutoff: int) -> str:
    _, factor, decimals = _CURVE[name]
    key = f"{name}@{cutoff}"
    text = f"{point[key] * factor:.{decimals}f}"
    spread = point.get(key + HALF_WIDTH)
    return text if spread is None else f"{text} ± {spread * factor:.{decimals}f}"
