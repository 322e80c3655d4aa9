"""`report.md`: what a run reached, against what, how sure that is, what it took, and how to run it again."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report import tables
from tfrec.report.results import ORACLE, Results, write_text
from tfrec.report.two_stage_section import two_stage_parts

_TIMING = {
    "prepare_seconds": "preparing the data (s)",
    "train_seconds": "training, all epochs (s)",
    "rank_seconds": "training the second stage, its mining included (s)",
    "epochs": "epochs",
    "epoch_seconds": "an epoch, median (s)",
    "events_per_second": "training events a second, median epoch",
    "evaluate_seconds": "evaluating (s)",
}
_ENVIRONMENT = {"matmul_gflops": "matmul, float32 (GFLOP/s)", "memory_mb": "memory (MiB)"}
_NOTES = """\
Full ranking over the whole catalogue. ± is the 95 % half-width over users; coverage and the share of cold items are no
means over users and have none.
HR, NDCG, MRR and recall: 0 to 1, higher is better. Novelty: mean of -log2 of an item's share of the training events.
Diversity: 1 minus the mean cosine over the pairs of a list. Long tail: share of the list outside the most popular 20 %
of the catalogue. Cold items: share of the places that show an item which training never had as a target."""
_VERDICTS = """\
Paired bootstrap over users. "Better" means that the 95 % interval of the difference lies above 0, "worse" below it,
"not better" that it holds 0. The interval covers the choice of users, not that of the seed: {seeds}."""


def write_report(
    path: str | os.PathLike[str],
    results: Results,
    *,
    plots: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
    cutoff: int = 10,
) -> str:
    """Write the report.

    Args:
        path: the file, such as `runs/demo/report.md`; an older one is replaced.
        results: the run.
        plots: caption -> path of the PNG, as `plots.write_plots` returns; linked relative to the report.
        settings: what was set, nested as in the pipeline.
        command: the command that makes the run again.
        cutoff: the k of the tables.

    Returns:
        The text written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    cutoff = tables.main_cutoff(results.test.metrics, cutoff)
    parts = [
        f"# {results.name}",
        _headline(results, cutoff),
        "## Results on the test split",
        tables.markdown(*tables.results_table(results.evaluations, cutoff)),
        _NOTES,
        *(two_stage_parts(results.two_stages, cutoff) if results.two_stages else []),
        *_differences(results, cutoff),
        "## Slices",
        tables.markdown(*tables.slice_table(results.evaluations, cutoff)),
        *_validation(results, cutoff),
        *pictures(plots or {}, folder),
        *costs(results.timing, results.peak_memory_mb, results.environment),
        *rerun(settings, command),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_text(path, text)
    return text


def _headline(results: Results, cutoff: int) -> str:
    """One sentence a fact: the figures, the distance to the oracle, the validation figures."""
    metrics = results.test.metrics
    names = [f"{name}@{cutoff}" for name in ("hr", "ndcg")]
    facts = [f"{name.upper()} {metrics[name]:.4f} ± {metrics[name + HALF_WIDTH]:.4f}" for name in names]
    lines = [f"**{', '.join(facts)}** over {metrics['users']:,.0f} test users."]
    oracle = results.baselines.get(ORACLE)
    if oracle and oracle.metrics.get(names[1], 0) > 0:
        share = metrics[names[1]] / oracle.metrics[names[1]]
        lines.append(f"That is {share:.0%} of the NDCG@{cutoff} of the oracle, the best answer there is.")
    known = [name for name in names if name in results.validation.metrics]
    if known:
        validation = ", ".join(f"{name.upper()} {results.validation.metrics[name]:.4f}" for name in known)
        lines.append(f"Validation: {validation}.")
    return " ".join(lines)


def _differences(results: Results, cutoff: int) -> list[str]:
    differences = results.differences([f"hr@{cutoff}", f"ndcg@{cutoff}"])
    if not differences:
        return []
    seeds = max(gap.seeds for gaps in differences.values() for gap in gaps.values())
    trained = "one trained model stands behind these figures" if seeds == 1 else f"{seeds} seeds were averaged"
    table = tables.markdown(*tables.difference_table(differences))
    return ["## Against the baselines", table, _VERDICTS.format(seeds=trained)]


def _validation(results: Results, cutoff: int) -> list[str]:
    """The slices of the validation split, where there are any."""
    if not results.validation.slices:
        return []
    table = tables.markdown(*tables.slice_table({results.name: results.validation}, cutoff))
    return ["## Slices of the validation split, which settings are chosen by", table]


def pictures(plots: Mapping[str, str], folder: str) -> list[str]:
    """Links to the pictures, relative to the folder of the report."""
    if not plots:
        return []
    links = [
        f"![{caption}]({os.path.relpath(path, folder).replace(os.sep, '/').replace(' ', '%20')})\n\n*{caption}*"
        for caption, path in plots.items()
    ]
    return ["## Pictures", *links]


def costs(timing: Mapping[str, float], peak_memory_mb: float, environment: Mapping[str, Any]) -> list[str]:
    """What a run took and where, as parts of a report."""
    took = [[_TIMING.get(name, name.replace("_", " ")), _number(value)] for name, value in timing.items()]
    took.append(["peak memory (MiB)", _number(peak_memory_mb)])
    machine = [[_ENVIRONMENT.get(name, name), _number(value)] for name, value in environment.items()]
    parts = ["## What it took", tables.markdown(["", "value"], took)]
    return parts + (["## Environment", tables.markdown(["", "value"], machine, text=True)] if machine else [])


def rerun(settings: Mapping[str, Any] | None, command: str) -> list[str]:
    """The settings, and the command that makes the run again."""
    parts = ["## Settings", tables.markdown(["setting", "value"], _flat(settings), text=True)] if settings else []
    return parts + (["## Run it again", f"```sh\n{command}\n```"] if command else [])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Nested settings as dotted keys."""
    rows = []
    for name, value in settings.items():
        nested = isinstance(value, Mapping) and value
        rows += _flat(value, f"{prefix}{name}.") if nested else [[prefix + str(name), f"`{value}`"]]
    return rows


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "not measured"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
