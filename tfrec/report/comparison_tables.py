"""The tables of a comparison, for the console, and `comparison.json` and `comparison.md`, which hold them all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping

from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report import tables
from tfrec.report.comparison import Comparison, Contender
from tfrec.report.results import plain, write_text

_DASH = "–"
_VERDICTS = """\
Paired bootstrap over users of the mean over seeds. "Better" means that the 95 % interval of the difference lies above
0, "worse" below it, "not better" that it holds 0. It covers the choice of users, not that of the seeds; of 20 intervals
one misses by chance."""


def quality_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """One row a variant: its seeds, and its figures with half-widths on each part that has users."""
    columns = comparison.columns
    headings = ["variant", "seeds", *(comparison.heading(part, name) for part, name in columns)]
    rows = []
    for each in comparison.contenders:
        found = comparison.figures.get(each.name, {})
        rows.append([each.name, _seeds(each), *(_cell(found.get(part, {}), name) for part, name in columns)])
    return headings, rows


def cost_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """One row a variant: what it is made of, and what training it took."""
    ranks = any(each.ranking for each in comparison.contenders)
    headings = ["variant", "text model", "tuning", "encoder", *(["ranking"] if ranks else []), "trained weights",
                "training (s)", "an epoch (s)", "peak memory (MiB)"]  # fmt: skip
    rows = []
    for each in comparison.contenders:
        cells = [_DASH] * 4
        if each.trained:
            costs = each.costs()
            cells = [f"{costs['parameters']:,.0f}", _seconds(costs["train_seconds"]), _seconds(costs["epoch_seconds"]),
                     f"{costs['peak_memory_mb']:,.0f}"]  # fmt: skip
        made = [each.text, each.tuning, each.encoder, *([each.ranking or _DASH] if ranks else [])]
        rows.append([each.name, *made, *cells])
    return headings, rows


def difference_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """One row a variant, part and figure: the difference from the reference, its interval, the word for it."""
    headings = ["variant", "users", "figure", "variant's", "reference's", "difference", "95 % interval", "verdict"]
    rows = [
        [name, part, comparison.heading("all", metric), f"{abs(gap.ours):.4f}", f"{abs(gap.theirs):.4f}",
         f"{gap.difference:+.4f}",
         f"{gap.low:+.4f} to {gap.high:+.4f}", gap.verdict]
        for name, parts in comparison.differences.items()
        for part, gaps in parts.items()
        for metric, gap in gaps.items()
    ]  # fmt: skip
    return headings, rows


def write_comparison(folder: str | os.PathLike[str], comparison: Comparison, plot: str) -> None:
    """Write `comparison.json` and `comparison.md`; `plot` is the picture's name beside them."""
    document = json.dumps(plain(comparison.document()), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(os.path.join(folder, "comparison.json"), document + "\n")
    quality, cost = quality_table(comparison), cost_table(comparison)
    parts = len(cost[0]) - 4  # What a variant is made of comes before what it reaches, what it costs after.
    headings = [*cost[0][:parts], *quality[0][1:], *cost[0][parts:]]
    rows = [[*made[:parts], *reached[1:], *made[parts:]] for made, reached in zip(cost[1], quality[1], strict=True)]
    page = [
        f"# {comparison.name}: variants compared",
        tables.markdown(headings, rows),
        comparison.notes,
        _users(comparison),
        _machine(comparison),
        *_against_reference(comparison),
        *_failures(comparison),
        f"## Quality against cost\n\n![{comparison.heading(*comparison.main)} by training seconds]({plot})",
        "## Variants\n\n" + tables.markdown(["variant", "changes"], _changes(comparison), text=True),
    ]
    write_text(os.path.join(folder, "comparison.md"), "\n\n".join(part for part in page if part) + "\n")


def _against_reference(comparison: Comparison) -> list[str]:
    heading, others = f"## Against {comparison.reference}", [each.name for each in comparison.measured]
    if comparison.reference not in others:
        return [heading, f"{comparison.reference} was not trained: nothing can be compared with it."]
    left_out = [name for name in others if name not in (comparison.reference, *comparison.differences)]
    told = f"Not compared, because their test users or labels are others: {', '.join(left_out)}."
    lines = [told] if left_out else []
    if comparison.differences:
        lines = [tables.markdown(*difference_table(comparison)), _VERDICTS, *lines]
    return [heading, *lines] if lines else []


def _failures(comparison: Comparison) -> list[str]:
    if not comparison.failures:
        return []
    rows = [[name, str(seed), reason] for name, seed, reason in comparison.failures]
    return ["## Not trained", tables.markdown(["variant", "seed", "reason"], rows, text=True)]


def _changes(comparison: Comparison) -> list[list[str]]:
    def told(each: Contender) -> str:
        return ", ".join(f"`{key}={value}`" for key, value in each.changes.items()) or "none"

    return [[each.name, told(each)] for each in comparison.contenders]


def _users(comparison: Comparison) -> str:
    """How many test users each part has; variants of other data may have others."""
    counts: dict[str, set[int]] = {}
    for parts in comparison.figures.values():
        for part, found in ((part, parts[part]) for part in comparison.parts if part in parts):
            counts.setdefault(part, set()).add(int(found["users"]))
    told = (f"{part} {' or '.join(f'{one:,}' for one in sorted(numbers))}" for part, numbers in counts.items())
    return f"Test users: {', '.join(told)}."


def _machine(comparison: Comparison) -> str:
    """What the seconds were taken on; the speeds tell whether other work shared the machine."""
    facts = [model.metrics["environment"] for each in comparison.measured for model in each.models]
    speeds = [one["matmul_gflops"] for one in facts]
    machines = sorted({f"{one['processor']}, {one['cores']} cores" for one in facts})
    return (
        f"Taken on {'; '.join(machines)}; float32 matmul {min(speeds):.0f} to {max(speeds):.0f} GFLOP/s between runs."
    )


def _seeds(each: Contender) -> str:
    text = ", ".join(map(str, each.trained)) or _DASH
    return f"{text} ({', '.join(map(str, each.failed))} failed)" if each.failed else text


def _cell(figures: Mapping[str, float], name: str) -> str:
    if figures.get(name) is None or math.isnan(figures[name]):
        return _DASH
    return f"{figures[name]:.4f} ± {figures[name + HALF_WIDTH]:.4f}"


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
