"""Keeps what taking a piece away costs, and writes the tables of docs/ablations.md from it.

python benchmarks/ablations.py record NAME FOLDER     a finished comparison -> ablations/NAME.json, and the page anew
python benchmarks/ablations.py table                  ablations/*.json -> docs/ablations.md

The comparison is `tfrec compare pipelines/NAME.yaml --grid benchmarks/grids/NAME_ablations.yaml --out FOLDER`:
a pipeline beside itself with one piece less, or another one in its place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import results

RECORDS = results.ROOT / "benchmarks" / "ablations"
PAGE = results.ROOT / "docs" / "ablations.md"
MARK = "ablations"
HEAD = "| change | NDCG@10 | difference, 95 % | HR@10 | difference, 95 % | validation NDCG@10 | weights | an epoch |"
FIGURES = ("ndcg@10", "hr@10")


@click.group()
def main() -> None:
    """Ablations and their figures."""


@main.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--commit", default="HEAD", show_default=True, help="The code that the runs were made with.")
def record(name: str, folder: Path, commit: str) -> None:
    """Keep the figures of a finished comparison."""
    try:
        found = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{folder} holds no finished comparison: run tfrec compare first") from error
    if found["failures"]:
        raise click.ClickException(f"of {folder} some variants were not trained; the first: {found['failures'][0]}")
    RECORDS.mkdir(exist_ok=True)
    kept = {"commit": results.commit(commit), **summarized(found)}
    (RECORDS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    results.fill(PAGE, MARK, as_markdown())


@main.command()
def table() -> None:
    """Write the page anew."""
    results.fill(PAGE, MARK, as_markdown())


def summarized(found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a comparison."""
    variants = {}
    for name, entry in found["variants"].items():
        gaps = found["differences"].get(name, {}).get("all", {})
        kept = {key: entry[key] for key in ("changes", "seeds", "parameters", "epoch_seconds")}
        splits = {split: {figure: entry[split][figure] for figure in FIGURES} for split in ("validation", "test")}
        variants[name] = {**kept, **splits, "differences": {figure: gaps[figure] for figure in FIGURES if gaps}}
    reference = found["reference"]
    return {"reference": reference, "environment": found["variants"][reference]["environment"], "variants": variants}


def as_markdown() -> str:
    """A table for each pipeline: as it is, then what costs most first."""
    parts = []
    for path in sorted(RECORDS.glob("*.json")):
        known = json.loads(path.read_text(encoding="utf-8"))
        whole = known["variants"].pop(known["reference"])
        others = sorted(known["variants"].values(), key=lambda entry: entry["test"]["ndcg@10"])
        rows = [HEAD, "|" + " --- |" * 8, *(_row(entry) for entry in (whole, *others))]
        machine = f"{known['environment']['cores']} core(s)"
        seeds = ", ".join(map(str, whole["seeds"]))
        parts.append("\n".join([f"## {path.stem}", "", f"Seeds: {seeds}; {machine}.", "", *rows]))
    return "\n\n".join(parts)


def _row(entry: dict[str, Any]) -> str:
    cells = [
        "<br>".join(f"`{results.setting(name, value)}`" for name, value in entry["changes"].items()) or "**as it is**"
    ]
    for figure in FIGURES:
        gap = entry["differences"].get(figure)
        told = f"{gap['difference']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}), {gap['verdict']}" if gap else ""
        cells += [f"{entry['test'][figure]:.4f}", told]
    costs = [f"{entry['validation']['ndcg@10']:.4f}", f"{entry['parameters']:,.0f}", f"{entry['epoch_seconds']:.0f} s"]
    return "| " + " | ".join(cells + costs) + " |"


if __name__ == "__main__":
    main()
