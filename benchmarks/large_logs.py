"""How `prepare` grows with the log: seconds, memory and bytes for synthetic logs of several sizes, and a plot.

python benchmarks/large_logs.py measure EVENTS [EVENTS ...] [--memory 2] [--kind parquet] [--scratch DIR]
python benchmarks/large_logs.py plot

Each size is prepared in a process of its own. `measure` adds to benchmarks/results/large_logs.json, `plot` draws
docs/large_logs.png from it and writes the table of docs/large_logs.md. A process's own time (user and system) is what
its wall clock shows where no other work shares the cores; of both, the share that the process got of its cores is told
beside them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import results

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "large_logs.json"
PLOT, PAGE = ROOT / "docs" / "large_logs.png", ROOT / "docs" / "large_logs.md"


@click.group()
def command() -> None:
    """Measure `prepare` on logs of several sizes, and draw what was measured."""


@command.command()
@click.argument("sizes", type=int, nargs=-1, required=True)
@click.option("--memory", type=float, default=2.0, help="GB that prepare is told to take.")
@click.option("--kind", type=click.Choice(["parquet", "csv", "csv.gz"]), default="parquet")
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where logs and data sets go.")
def measure(sizes: Iterable[int], memory: float, kind: str, scratch: Path | None) -> None:
    """Prepare logs of these numbers of events, and record what each took."""
    from tfrec.data.synthetic_log import write_log

    for events in sizes:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            log = write_log(Path(folder) / f"log.{kind}", events=events)
            words = ["one", str(log), str(Path(folder) / "dataset"), str(memory)]
            said = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(said.stdout.splitlines()[-1])
            found |= {"events": events, "kind": kind, "memory": memory, "log_bytes": log.stat().st_size}
        click.echo(json.dumps(found))
        record(found)


@command.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("memory", type=float)
def one(log: Path, folder: Path, memory: float) -> None:
    """Prepare one log, and print what it took; `measure` calls it."""
    import tensorflow  # noqa: F401 - what is measured is the work, not the imports

    from tfrec.data import EventColumns, PrepareOptions, prepare
    from tfrec.report.environment import cores, describe, peak_memory_mb

    columns = EventColumns(timestamp="timestamp")
    before = peak_memory_mb()
    start, started = time.perf_counter(), _processor_seconds()
    dataset = prepare(log, options=PrepareOptions(events=columns, shards=16), folder=folder, memory=memory)
    seconds, processor = time.perf_counter() - start, _processor_seconds() - started
    figures: dict[str, Any] = {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "peak_memory_mb": peak_memory_mb(),
        "memory_before_mb": before,
        "cores": cores(),
        "load": os.getloadavg()[0],
        "users": dataset.manifest["counts"]["users"],
        "items": dataset.manifest["counts"]["items"],
        "dataset_bytes": sum(dataset.manifest["files"].values()),
    }
    click.echo(json.dumps({**figures, "environment": describe()}))


@command.command()
def plot() -> None:
    """Draw the seconds and the memory by the number of events, and write them into the page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = sorted(json.loads(RESULTS.read_text()), key=lambda each: each["events"])
    figure = Figure(figsize=(9, 3.8), dpi=110, layout="constrained")
    canvas, (left, right) = FigureCanvasAgg(figure), figure.subplots(1, 2)
    for kind in dict.fromkeys(each["kind"] for each in found):
        mine = [each for each in found if each["kind"] == kind]
        events = [each["events"] / 1e6 for each in mine]
        left.plot(events, [each["processor_seconds"] for each in mine], marker="o", label=f".{kind}")
        right.plot(events, [each["peak_memory_mb"] / 1024 for each in mine], marker="o", label=f".{kind}")
    for panel, title in ((left, "seconds of one processor"), (right, "peak memory of the process, GiB")):
        panel.set(xlabel="million events", ylabel=title, ylim=(0, None), xlim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend()
    canvas.draw()
    figure.savefig(PLOT, format="png", facecolor="white")
    results.fill(PAGE, "large logs", table(found))


def table(found: Iterable[dict[str, Any]]) -> str:
    """The page's table of what was measured."""
    heading = [
        "events", "file", "users", "items", "seconds", "processor's seconds", "µs an event", "peak memory", "data set",
    ]  # fmt: skip
    rows = [
        [
            f"{each['events'] / 1e6:g} M", f".{each['kind']}", f"{each['users']:,}", f"{each['items']:,}",
            f"{each['seconds']:.1f}", f"{each['processor_seconds']:.1f}",
            f"{1e6 * each['processor_seconds'] / each['events']:.1f}", f"{each['peak_memory_mb'] / 1024:.2f} GiB",
            f"{each['dataset_bytes'] / 1e6:,.0f} MB",
        ]
        for each in found
    ]  # fmt: skip
    return results.markdown(heading, rows, words=["file"])


def record(found: dict[str, Any]) -> None:
    """Put what was measured, and of which code, in place of what was measured before of the same log and memory."""
    found = {**found, "commit": results.commit()}
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    same = ("events", "kind", "memory")
    held = [each for each in held if any(each[name] != found[name] for name in same)] + [found]
    RESULTS.parent.mkdir(exist_ok=True)
    lines = [json.dumps(each) for each in sorted(held, key=lambda each: (each["kind"], each["memory"], each["events"]))]
    RESULTS.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    command()
