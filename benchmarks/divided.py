"""What the workers of a training have in memory of a data set that they divide, by how many they are.

python benchmarks/divided.py measure [--events 10000000] [--workers 1 --workers 2 ...] [--scratch DIR]
python benchmarks/divided.py page      writes the table of docs/several_machines.md from the record alone

A synthetic log of so many events is prepared once, in 16 shards. The first worker of each number of them then reads it
in a process of its own, and makes all batches of an epoch. Nothing is trained: a model takes the same whatever data.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import results

RECORD, PAGE = results.RESULTS / "divided.json", results.ROOT / "docs" / "several_machines.md"


@click.group()
def command() -> None:
    """Measure what a worker of several has in memory."""


@command.command()
@click.option("--events", default=10_000_000, show_default=True, help="Of the log.")
@click.option("--workers", "numbers", type=int, multiple=True, default=(1, 2, 4, 8), show_default=True)
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where the log and data set go.")
def measure(events: int, numbers: Iterable[int], scratch: Path | None) -> None:
    """Prepare a log, read it as one of several workers, and record what each took."""
    from tfrec.report.environment import describe

    told: dict[str, Any] = {"events": events, "workers": {}}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        here = [sys.executable, __file__]  # Processes of their own: a child begins with the peak of its parent.
        subprocess.run([*here, "prepared", folder, str(events)], check=True)
        for number in numbers:
            words = [*here, "one", str(Path(folder) / "dataset"), str(number)]
            said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            told["workers"][str(number)] = json.loads(said.stdout.splitlines()[-1])
            click.echo(f"{number}: {told['workers'][str(number)]}")
    told |= {"commit": results.commit(), "environment": describe()}
    RECORD.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    results.fill(PAGE, "divided", table(told))


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("events", type=int)
def prepared(folder: Path, events: int) -> None:
    """Write a log and its data set to a folder; `measure` calls it."""
    from tfrec.data import EventColumns, PrepareOptions, prepare
    from tfrec.data.synthetic_log import write_log

    log = write_log(folder / "log.parquet", events=events)
    options = PrepareOptions(events=EventColumns(timestamp="timestamp"), shards=16)
    prepare(log, options=options, folder=folder / "dataset", memory=1.0)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("workers", type=int)
def one(folder: Path, workers: int) -> None:
    """Read a data set as the first of so many workers, and print what it took; `measure` calls it."""
    import tensorflow  # noqa: F401 - what is measured is the work, not the imports

    from tfrec.data import Dataset, DividedDataset
    from tfrec.features import TARGET
    from tfrec.report.environment import peak_memory_mb

    data, before = Dataset.open(folder), peak_memory_mb()
    start = time.perf_counter()
    divided = DividedDataset(data, 0, workers) if workers > 1 else data
    if isinstance(divided, DividedDataset):
        divided.mark()  # By which workers compare what they are about to train on.
    plan, validation = divided.train_plan(), divided.validation()
    read = time.perf_counter() - start
    targets = sum(int((batch[TARGET] > 0).numpy().sum()) for batch in plan.dataset())
    sum(1 for _ in validation)
    events = len(getattr(divided, "own", data).sequences.rows)
    figures = {"read_seconds": read, "targets": targets, "events": events}
    click.echo(json.dumps({**figures, "peak_memory_mb": peak_memory_mb(), "memory_before_mb": before}))


@command.command()
def page() -> None:
    """Write the table of the page from the record."""
    results.fill(PAGE, "divided", table(json.loads(RECORD.read_text(encoding="utf-8"))))


def table(told: Mapping[str, Any]) -> str:
    """The page's table of a record."""
    heading = [
        "workers", "events that one holds", "targets of an epoch that it plays", "memory for the data, MiB", "read, s"
    ]  # fmt: skip
    rows = []
    for number, found in told["workers"].items():
        memory = f"{found['peak_memory_mb'] - found['memory_before_mb']:,.0f}"
        rows.append([number, f"{found['events']:,}", f"{found['targets']:,}", memory, f"{found['read_seconds']:.1f}"])
    return results.markdown(heading, rows)


if __name__ == "__main__":
    command()
