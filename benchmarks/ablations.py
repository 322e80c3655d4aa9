"""Keeps what taking a piece away costs, and writes the tables of docs/ablations.md from it.

python benchmarks/ablations.py record NAME FOLDER --commit C     a finished comparison -> ablations/NAME.json, page
python benchmarks/ablations.py time NAME                         what a step of each variant takes, beside the base
python benchmarks/ablations.py table                             ablations/*.json -> docs/ablations.md

The comparison is `tfrec compare pipelines/NAME.yaml --grid benchmarks/grids/NAME_ablations.yaml --out FOLDER`, with any
`--set`: a base, the pipeline with those settings, beside itself with one piece less, or another one in its place.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import experiments
import numpy as np
import results
from compare import SEEDS_OF_A_CLAIM
from inputs import flat, without_idle
from pydantic import BaseModel
from rich.progress import track
from stepping import compiled, played, step

from tfrec import build, config
from tfrec.config.grid import Variant, load_plan
from tfrec.data import Dataset

RECORDS = results.ROOT / "benchmarks" / "ablations"
PAGE = results.ROOT / "docs" / "ablations.md"
MARK = "ablations"
HEAD = "| change | validation NDCG@10 | NDCG@10 | difference, 95 % | HR@10 | difference, 95 % | weights | time |"
FIGURES = ("ndcg@10", "hr@10")
ROUNDS, STEPS = 5, 6  # Of timing.
PLACE = "data.root"  # Where the tables lie is no setting of a model.


@click.group()
def main() -> None:
    """Ablations and their figures."""


@main.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--commit", required=True, help="The code that the runs were made with.")
@click.option("--other", "others", multiple=True, help="VARIANT=COMMIT: a variant that other code made.")
def record(name: str, folder: Path, commit: str, others: tuple[str, ...]) -> None:
    """Keep the figures of a finished comparison."""
    try:
        found = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{folder} holds no finished comparison: run tfrec compare first") from error
    if found["failures"]:
        raise click.ClickException(f"of {folder} some variants were not trained; the first: {found['failures'][0]}")
    kept = {"commit": results.commit(commit), "base": overrides(name, folder, found), **summarized(found, folder)}
    for variant, _, revision in (each.partition("=") for each in others):
        if variant not in kept["variants"]:
            raise click.ClickException(
                f"--other names the variant {variant!r}; there are {', '.join(kept['variants'])}"
            )
        kept["variants"][variant]["commit"] = results.commit(revision)
    RECORDS.mkdir(exist_ok=True)
    _keep_times(kept["variants"], RECORDS / f"{name}.json")
    (RECORDS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    results.fill(PAGE, MARK, as_markdown())


def _keep_times(variants: dict[str, Any], path: Path) -> None:
    """Give variants the times that the record here has of the same changes."""
    known = json.loads(path.read_text(encoding="utf-8"))["variants"] if path.exists() else {}
    for variant, entry in known.items():
        if "time" in entry and variants.get(variant, {}).get("changes") == entry["changes"]:
            variants[variant]["time"] = entry["time"]


@main.command("time")
@click.argument("name")
def time_variants(name: str) -> None:
    """Measure what a step of each variant takes beside the base's, and keep it in the record."""
    path = RECORDS / f"{name}.json"
    if not path.exists():
        there = ", ".join(sorted(each.stem for each in RECORDS.glob("*.json")))
        raise click.ClickException(f"there are no ablations of {name!r} in {RECORDS}; there are those of {there}")
    known = json.loads(path.read_text(encoding="utf-8"))
    grid = results.ROOT / "benchmarks" / "grids" / f"{name}_ablations.yaml"
    try:
        plan = load_plan(grid, experiments.PIPELINES / f"{name}.yaml", known["base"])
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    recorded = [variant for variant in plan.variants if variant.name in known["variants"]]
    for variant, times in _timed(recorded, plan.reference).items():
        known["variants"][variant]["time"] = times
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    results.fill(PAGE, MARK, as_markdown())


@main.command()
def table() -> None:
    """Write the page anew."""
    results.fill(PAGE, MARK, as_markdown())


def overrides(name: str, folder: Path, found: dict[str, Any]) -> list[str]:
    """`key.path=value` of what was set for all variants: what they say otherwise than the pipeline with their changes.

    A setting that no variant reads is left out.
    """
    given: set[str] = set()
    for variant, entry in found["variants"].items():
        own = [f"{key}={json.dumps(value)}" for key, value in entry["changes"].items()]
        try:
            pipeline = config.load(experiments.PIPELINES / f"{name}.yaml", own)
            compared = config.load(folder / "variants" / f"{variant}.yaml")
        except (OSError, ValueError) as error:
            raise click.ClickException(f"what {folder} compares cannot be told: {error}") from error
        given.update(experiments.changes(_settings(pipeline), _settings(compared)))
    return sorted(given)


def _settings(pipeline: config.Pipeline) -> dict[str, Any]:
    told = flat({name: part for name, part in pipeline if isinstance(part, BaseModel)})
    return {key: value for key, value in without_idle(told).items() if key != PLACE}


def summarized(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is kept of a comparison in a folder."""
    variants = {}
    for name, entry in found["variants"].items():
        gaps = found["differences"].get(name, {}).get("all", {})
        kept = {key: entry[key] for key in ("changes", "seeds", "parameters")}
        splits = {split: {figure: entry[split][figure] for figure in FIGURES} for split in ("validation", "test")}
        variants[name] = {**kept, **splits, "differences": {figure: gaps[figure] for figure in FIGURES if gaps}}
    reference = found["reference"]
    return {"reference": reference, "environment": found["variants"][reference]["environment"], "variants": variants}


def _timed(variants: Sequence[Variant], reference: str) -> dict[str, float]:
    """Variant -> seconds of an epoch in those of the reference: medians over rounds in which each takes some steps.

    All stand side by side in one process, so that what else the machine does strikes all alike.
    """
    with tempfile.TemporaryDirectory() as scratch:
        sets = {
            variant.name: build.dataset(variant.pipeline.data, Path(scratch) / variant.name) for variant in variants
        }
        takers = {variant.name: _taker(variant.pipeline, sets[variant.name]) for variant in variants}
        seconds: dict[str, list[float]] = {name: [] for name in takers}
        for number in track(range(ROUNDS + 1), "rounds"):
            for name, take in takers.items():
                spent = take()
                seconds[name] += [spent] if number else []  # The first round traces.
        base = seconds[reference]
        return {name: float(np.median(np.divide(spent, base))) for name, spent in seconds.items()}


def _taker(pipeline: config.Pipeline, data: Dataset) -> Callable[[], float]:
    """What takes some steps of a training, and tells the seconds that an epoch of such steps lasts."""
    model, plan = compiled(pipeline, data)
    one, batches = step(model), list(played(plan, STEPS))

    def take() -> float:
        began = time.perf_counter()
        for batch in batches:
            one(batch)
        return (time.perf_counter() - began) / len(batches) * len(plan)

    return take


def as_markdown() -> str:
    """A table for each pipeline: the base, then what validates worst first; the test split orders nothing."""
    parts = []
    for path in sorted(RECORDS.glob("*.json")):
        known = json.loads(path.read_text(encoding="utf-8"))
        whole = known["variants"].pop(known["reference"])
        others = sorted(known["variants"].values(), key=lambda entry: entry["validation"]["ndcg@10"])
        rows = [HEAD, "|" + " --- |" * 8, *(_row(entry, whole["seeds"]) for entry in (whole, *others))]
        told = ", ".join(f"`{change}`" for change in known["base"])
        base = f"Base: the pipeline with {told}." if told else "Base: the pipeline as it is."
        seeds = ", ".join(map(str, whole["seeds"]))
        facts = f"{base} Seeds: {seeds}; {known['environment']['cores']} core(s)."
        parts.append("\n".join([f"## {path.stem}", "", facts, "", _command(path.stem, known["base"]), "", *rows]))
    return "\n\n".join(parts)


def _command(name: str, base: Sequence[str]) -> str:
    """What was run, as a block of code."""
    given = "".join(f" --set {shlex.quote(change)}" for change in base)
    return (
        f"    tfrec compare pipelines/{name}.yaml --grid benchmarks/grids/{name}_ablations.yaml \\\n"
        f"        --out runs/{name}_ablations{given}"
    )


def _row(entry: dict[str, Any], seeds: Sequence[int]) -> str:
    """A line of a table; `seeds` are those of the base. The word for a difference takes three seeds on either side."""
    changes = {**entry["changes"], **_implied(entry["changes"])}
    cells = ["<br>".join(f"`{results.setting(name, value)}`" for name, value in changes.items()) or "**base**"]
    cells.append(f"{entry['validation']['ndcg@10']:.4f}")
    claimed = min(len(entry["seeds"]), len(seeds)) >= SEEDS_OF_A_CLAIM
    for figure in FIGURES:
        gap = entry["differences"].get(figure)
        told = f"{gap['difference']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})" if gap else ""
        cells += [f"{entry['test'][figure]:.4f}", f"{told}, {gap['verdict']}" if gap and claimed else told]
    costs = [f"{entry['parameters']:,.0f}", f"{entry['time']:.2f}" if "time" in entry else ""]
    return "| " + " | ".join(cells + costs) + " |"


def _implied(changes: dict[str, Any]) -> dict[str, Any]:
    """What comes with the changes: the objective `retrieval` lets what a user has had compete, whatever is set."""
    return {experiments.UNSEEN: False} if changes.get("training.objective.name") == "retrieval" else {}


if __name__ == "__main__":
    main()
