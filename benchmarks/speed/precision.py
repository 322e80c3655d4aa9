"""bfloat16 beside float32 at the work of the speed benchmark: seconds an epoch, and what is learnt.

python benchmarks/speed/precision.py [--data movielens_1m] [--epochs 12] [--out runs/speed]

It writes benchmarks/results/precision.json and the table of docs/speed.md. One training each, seed 1.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import results  # noqa: E402
from run import PAGE, measure, prepared  # noqa: E402

from tfrec.report import describe  # noqa: E402

RECORD = results.RESULTS / "precision.json"
WAYS = {"float32": "false", "bfloat16": "true"}
NEVER = 1.0  # A validation NDCG@10 that ends no training.


@click.command()
@click.option("--data", "name", default="movielens_1m", show_default=True)
@click.option("--epochs", default=12, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=results.ROOT / "runs" / "speed")
def main(name: str, epochs: int, out: Path) -> None:
    """Train twice, and write record and table."""
    work = prepared(name, out / name)
    told: dict[str, Any] = {"data": name, "commit": results.commit(), "environment": describe(), "ways": {}}
    for way, mixed in WAYS.items():
        changes = [*work["changes"], f"training.mixed_precision={mixed}"]
        path = out / name / f"tfrec_{way}"
        measure("tfrec", sys.executable, {**work, "changes": changes, "target": NEVER, "epochs": epochs}, path)
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        told["ways"][way] = {field: found[field] for field in ("epoch_seconds", "ndcg", "peak_memory_mb")}
    RECORD.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    results.fill(PAGE, "precision", table(told))


def table(told: Mapping[str, Any]) -> str:
    """The page's table of a record; the first epoch of a process has what happens once in it, and is left out."""
    rows = []
    for way, found in told["ways"].items():
        seconds, ndcg = found["epoch_seconds"][1:], found["ndcg"]
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        rows.append([way, spread, f"{ndcg[3]:.4f}, {ndcg[7]:.4f}, {ndcg[-1]:.4f}"])
    last = len(told["ways"]["float32"]["ndcg"])
    heading = [told["data"], "an epoch, s", f"validation NDCG@10 after 4, 8, {last} epochs"]
    return results.markdown(heading, rows)


if __name__ == "__main__":
    main()
