"""Preparing, training and evaluating over a catalogue of a million items: seconds and memory of each stage.

python benchmarks/whole_run.py [--items 1000000] [--users 10000] [--events 2000000] [--out FOLDER]
python benchmarks/whole_run.py --page      writes the table of docs/large_catalogues.md from the record alone

A synthetic log, and a table of all items: those that occur, and others that nobody has had yet. One epoch, 64 wide, two
blocks of attention, ids alone; what is decided by itself stays so (a sampled objective, updated by row). Each stage is
the command of that name, in a process of its own. What it learns in an epoch of so little is of no interest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import results

RECORD, PAGE = results.RESULTS / "whole_run.json", results.ROOT / "docs" / "large_catalogues.md"
STAGES = ("prepare", "train", "evaluate")
PIPELINE = """\
name: whole
seed: 1
data:
  root: {folder}
  events: {{path: log.parquet, columns: {{timestamp: timestamp}}}}
  items: {{path: items.parquet}}
  candidates: items
  max_length: 50
model: {{dim: 64, text: none, behavior: [attention], attention: {{blocks: 2, heads: 2}}}}
training: {{epochs: 1, patience: null}}
"""


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--users", default=10_000, show_default=True)
@click.option("--events", default=2_000_000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where the run goes; a temporary folder.")
@click.option("--page", is_flag=True, help="Write the page from the record, and measure nothing.")
def main(items: int, users: int, events: int, out: Path | None, *, page: bool) -> None:
    """Run all stages, and write record and table."""
    if page:
        results.fill(PAGE, "whole run", table(json.loads(RECORD.read_text(encoding="utf-8"))))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = out or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        told: dict[str, Any] = {"items": items, "users": users, "events": events, "commit": results.commit()}
        code = f"import whole_run; whole_run.write_tables({str(root)!r}, {events}, {users}, {items})"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)  # Whose peak is its own.
        (root / "whole.yaml").write_text(PIPELINE.format(folder=root), encoding="utf-8")
        told["stages"] = {stage: performed(stage, root) for stage in STAGES}
    from tfrec.report import describe

    told["environment"] = describe()
    RECORD.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    results.fill(PAGE, "whole run", table(told))


def write_tables(folder: str, events: int, users: int, items: int) -> None:
    """The log, and a table of all items: those of the log first."""
    import pandas as pd

    from tfrec.data.synthetic_log import write_log

    log = write_log(Path(folder) / "log.parquet", events=events, users=users, items=items)
    known = pd.read_parquet(log, columns=["item_id"])["item_id"].unique()
    new = [f"new {place}" for place in range(items - len(known))]
    pd.DataFrame({"item_id": [*known, *new]}).to_parquet(Path(folder) / "items.parquet")


def performed(stage: str, root: Path) -> dict[str, float]:
    """Run a stage; its wall clock, its processor's seconds and its peak."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "tfrec.cli", stage, str(root / "whole.yaml"), "--out", str(root / "run")]
    process = subprocess.Popen(words, cwd=results.ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{stage} ended with status {os.waitstatus_to_exitcode(status)}")
    seconds = {"seconds": time.perf_counter() - began, "processor_seconds": used.ru_utime + used.ru_stime}
    return {**seconds, "peak_memory_mb": used.ru_maxrss / 1024}


def table(told: Mapping[str, Any]) -> str:
    """The page's table of a record."""
    what = f"{told['items']:,} items, {told['users']:,} users, {told['events']:,} events"
    rows = [
        [f"`{stage}`", f"{found['processor_seconds']:.0f}", f"{found['peak_memory_mb'] / 1024:.1f}"]
        for stage, found in told["stages"].items()
    ]
    return results.markdown([what, "processor's seconds", "peak, GiB"], rows)


if __name__ == "__main__":
    main()
