"""The picture of a comparison: what each variant reaches against the seconds that its training takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report.comparison import Comparison, Contender
from tfrec.report.plots import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Above this ratio of the longest training to the shortest the axis is logarithmic.
_WIDE = 8
# Where a label may stand beside its point, in points of type: right, left, above, below, and further away.
_PLACES = [(9, 0), (-9, 0), (9, 11), (9, -11), (-9, 11), (-9, -11), (0, 14), (0, -14)] + [
    (side * 9, step * 13) for step in (2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8) for side in (1, -1)
]


def write_cost_plot(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Draw the main figure with its 95 % half-width by training seconds, a labelled point a trained variant.

    The colour is the text model's, the marker the encoder's; the reference is ringed.

    Args:
        path: the PNG file; it is written under a temporary name, then renamed.
        comparison: what to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 5.6), dpi=120, layout="constrained")
    canvas, panel = FigureCanvasAgg(figure), figure.subplots()
    drawn = [each for each in comparison.measured if comparison.main[0] in comparison.figures[each.name]]
    points = [_draw(panel, comparison, each, drawn) for each in drawn]
    _finish(panel, comparison, [across for across, _ in points])
    _legend(figure, drawn)
    canvas.draw()  # Labels can be placed once the sizes are known.
    _label(panel, [each.name for each in drawn], points)
    temporary = f"{os.fspath(path)}.tmp"
    figure.savefig(temporary, format="png", facecolor="white")
    os.replace(temporary, path)


def _draw(panel: Axes, comparison: Comparison, each: Contender, drawn: Sequence[Contender]) -> tuple[float, float]:
    part, metric = comparison.main
    found = comparison.figures[each.name][part]
    across, up, spread = each.costs()["train_seconds"], found[metric], found[metric + HALF_WIDTH]
    style: dict[str, Any] = {
        "color": _style(drawn, "text", each, COLOURS),
        "elinewidth": 1,
        "capsize": 3,
    }
    marker = _style(drawn, "encoder", each, MARKERS)
    panel.errorbar(across, up, yerr=spread, marker=marker, markersize=8, linestyle="none", **style)
    if each.name == comparison.reference:
        panel.plot(across, up, marker="o", markersize=16, fillstyle="none", color="#222222", linestyle="none")
    return across, up


def _style(contenders: Sequence[Contender], attribute: str, each: Contender, styles: Sequence[str]) -> str:
    """One style a value of the attribute, in the order in which the variants bring them."""
    values = list(dict.fromkeys(getattr(one, attribute) for one in contenders))
    return styles[values.index(getattr(each, attribute)) % len(styles)]


def _legend(figure: Figure, contenders: Sequence[Contender]) -> None:
    """One legend below the panel: a square a text model, a grey mark an encoder."""
    from matplotlib.lines import Line2D

    handles = []
    for kind in ("text", "encoder"):
        for value, each in {getattr(one, kind): one for one in contenders}.items():
            colour = _style(contenders, kind, each, COLOURS) if kind == "text" else "#555555"
            marker = _style(contenders, kind, each, MARKERS) if kind == "encoder" else "s"
            label = f"text: {value}" if kind == "text" else value
            handles.append(Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=8, label=label))
    columns = min(len(handles), 4)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _finish(panel: Axes, comparison: Comparison, seconds: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    panel.set_xlabel("training, all epochs, mean over seeds (s)", fontsize=10)
    panel.set_ylabel(f"{comparison.axis}, ± 95 % half-width", fontsize=10)
    panel.grid(color="#E3E3E3", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    title = f"{comparison.name}: quality against cost (ringed: {comparison.reference})"
    panel.set_title(title, fontsize=12, loc="left", fontweight="bold")
    if min(seconds) > 0 and max(seconds) / min(seconds) > _WIDE:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.18, y=0.12)


def _label(panel: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Write each name beside its point, at the place in the panel where it covers the fewest points and names."""
    room = panel.get_window_extent()
    taken = [_around(*map(float, panel.transData.transform(point))) for point in points]
    for name, point in zip(names, points, strict=True):
        covered = {}
        for place in _PLACES:
            note, box = _note(panel, name, point, place)
            note.remove()
            outside = box.x0 < room.x0 or box.x1 > room.x1
            covered[place] = sum(box.overlaps(other) for other in taken) + len(names) * outside
            if not covered[place]:
                break
        best = min(covered, key=lambda place: covered[place])
        taken.append(_note(panel, name, point, best)[1])


def _note(panel: Axes, name: str, point: tuple[float, float], place: tuple[float, float]) -> tuple[Annotation, Bbox]:
    """A label `place` points of type right of and above a point, tied to it where it is further away; its box."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    right, above = place
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.7, "relpos": (0 if right > 0 else 1, 0.5)}
    note = panel.annotate(
        name, point, xytext=place, textcoords="offset points", fontsize=9, va="center",
        ha="left" if right > 0 else "right" if right < 0 else "center",
        arrowprops=line if abs(above) > 14 else None, path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip
    note.set_in_layout(False)
    note.get_window_extent()  # Moves the text to its place; what it returns holds the line, too.
    return note, Text.get_window_extent(note)


def _around(across: float, up: float, radius: float = 9) -> Bbox:
    """The space of a point's mark, in pixels."""
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(across - radius, up - radius, across + radius, up + radius)
