"""Where a training step's time goes, against what the machine's arithmetic allows; what XLA and bfloat16 change.

python benchmarks/speed/step.py [--data movielens_1m] [--set model.dim=64] [--steps 60] [--out runs/profile]

Of each pipeline: its padding; the seconds of its batches alone, of a step, and of waiting for a batch between two
steps; the arithmetic of a step's matrix products at the speed of NumPy's own, which is the floor; and the share of each
kind of operation in the time that TensorFlow's threads are busy, from its profiler, whose trace TensorBoard shows:
tensorboard --logdir runs/profile.
"""

from __future__ import annotations

import functools
import json
import math
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import keras
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from tensorflow.tsl.profiler.protobuf import xplane_pb2

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import results  # noqa: E402
from stepping import compiled, played, step  # noqa: E402

from tfrec import build, config  # noqa: E402
from tfrec.data import Dataset, EpochPlan  # noqa: E402
from tfrec.features import HISTORY, TARGET  # noqa: E402
from tfrec.report import describe  # noqa: E402
from tfrec.report.environment import matmul_gflops  # noqa: E402

RECORD, PAGE = results.RESULTS / "profile.json", results.ROOT / "docs" / "speed.md"
WARM = 5  # Steps before any that count.
SHOWN = 8  # Kinds of operations.
OPERATION = re.compile(r"[^:]+:(_?[A-Z]\w+)")  # The profiler's `name:Kind`; oneDNN's kinds begin with `_Mkl`.
WAYS = {"float32": {}, "bfloat16": {"training.mixed_precision": "true"}, "XLA": {"training.jit": "true"}}


@click.command()
@click.option("--data", "names", multiple=True, default=("amazon_beauty", "movielens_1m"), show_default=True)
@click.option("--set", "changes", multiple=True, help="A setting of the pipelines: model.dim=64.")
@click.option("--steps", default=60, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=results.ROOT / "runs" / "profile")
@click.option("--page", is_flag=True, help="Write record and page, and not the screen alone.")
def main(names: Sequence[str], changes: Sequence[str], steps: int, out: Path, *, page: bool) -> None:
    """Measure pipelines, and show where their time goes."""
    found = {name: profiled(name, changes, steps, out / name) for name in names}
    speed = max(one["matmul_gflops"] for one in found.values())  # The best that this machine was seen to do.
    for one in found.values():
        one |= {"floor_seconds": one["gflop"] / speed, "matmul_gflops": speed}
    told = {"commit": results.commit(), "environment": describe(), "changes": list(changes), "data": found}
    for name, one in found.items():
        Console(width=100).print(shown(name, one))
    if page:
        RECORD.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        results.fill(PAGE, "profile", markdown(found))


def profiled(name: str, changes: Sequence[str], steps: int, folder: Path) -> dict[str, Any]:
    """All that is measured of a pipeline."""
    pipeline = results.ROOT / "pipelines" / f"{name}.yaml"
    settings = config.load(pipeline, list(changes))
    data = build.dataset(settings.data, folder / "dataset")
    model, plan = compiled(settings, data)
    told: dict[str, Any] = {"padding": plan.padding(), "steps": len(plan)}
    told |= batches_alone(plan)
    told |= stepped(model, plan, steps)
    told |= floor(model, plan)
    told["operations"] = operations(model, plan, folder / "trace")
    told["ways"] = ways(pipeline, changes, data, steps)
    return told


def batches_alone(plan: EpochPlan) -> dict[str, float]:
    """Seconds of making a batch, nothing else going on."""
    began = time.perf_counter()
    count = sum(1 for _ in plan.dataset())
    return {"batch_seconds": (time.perf_counter() - began) / count}


def stepped(model: keras.Model, plan: EpochPlan, steps: int) -> dict[str, float]:
    """Mean seconds of a step of `fit`, and the share of the time in which a step waits for its batch."""
    one = step(model)
    waited, worked = [], []
    batches = played(plan, WARM + steps)
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        middle = time.perf_counter()
        one(batch)
        waited.append(middle - began)
        worked.append(time.perf_counter() - middle)
    waited, worked = waited[WARM:], worked[WARM:]
    return {"step_seconds": statistics.mean(worked), "stall": sum(waited) / (sum(waited) + sum(worked))}


def floor(model: keras.Model, plan: EpochPlan) -> dict[str, float]:
    """The arithmetic of an epoch's mean step, and the speed of a matrix product just now, the best of three."""
    count = statistics.mean(map(functools.partial(arithmetic, model), plan.dataset())) / 1e9
    return {"gflop": count, "matmul_gflops": max(matmul_gflops() for _ in range(3))}


def arithmetic(model: keras.Model, batch: Mapping[str, tf.Tensor]) -> float:
    """The floating-point operations of the matrix products of a step under the full softmax, padding included.

    A product of [N, A] and [A, C] is 2 N A C of them, and the backward pass has two such for each of the forward one.
    Counted are the kernels of the behaviour tower, attention, the projection of the texts, and the logits.
    """
    rows, length = batch[HISTORY].shape
    targets = int(tf.math.count_nonzero(batch[TARGET]))
    towers, dim, items = model.behavior_tower, model.item_tower.dim, model.item_tower.items
    kernels = [math.prod(weight.shape) for weight in towers.trainable_weights if weight.path.endswith("kernel")]
    blocks = sum(len(getattr(encoder, "blocks", ())) for encoder in towers.encoders if encoder.name == "attention")
    products = sum(kernels) * rows * length + 2 * blocks * dim * rows * length**2
    products += dim * items * (targets + model.item_tower.text_width)
    return 3 * 2 * products


def operations(model: keras.Model, plan: EpochPlan, folder: Path) -> dict[str, float]:
    """Share of each kind of operation in the time that TensorFlow's threads are busy, largest first."""
    one, batches = step(model), list(played(plan, 3 * WARM))
    for batch in batches[:WARM]:
        one(batch)
    tf.profiler.experimental.start(str(folder))
    for batch in batches[WARM:]:
        one(batch)
    tf.profiler.experimental.stop()
    space = xplane_pb2.XSpace()
    space.ParseFromString(max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime).read_bytes())
    spent: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                kind = OPERATION.fullmatch(plane.event_metadata[event.metadata_id].name)
                if kind:
                    spent[kind[1].removeprefix("_Mkl").removeprefix("_Fused")] += event.duration_ps
    total = sum(spent.values())
    return {kind: time_spent / total for kind, time_spent in spent.most_common(SHOWN)}


def ways(pipeline: Path, changes: Sequence[str], data: Dataset, steps: int) -> dict[str, float]:
    """Median seconds of a step on one batch, over and over, by float32, by bfloat16 and compiled by XLA.

    One batch, because XLA compiles anew for each shape, which takes it many times as long as the step.
    """
    told = {}
    for way, settings in WAYS.items():
        chosen = config.load(pipeline, [*changes, *(f"{name}={value}" for name, value in settings.items())])
        model, plan = compiled(chosen, data)
        one, batch, spent = step(model), next(played(plan, 1)), []
        for _ in range(WARM + steps):
            began = time.perf_counter()
            one(batch)
            spent.append(time.perf_counter() - began)
        told[way] = statistics.median(spent[WARM:])
    return told


def rows(one: dict[str, Any]) -> list[tuple[str, str]]:
    """What is told of a pipeline, line by line."""
    took, alone = one["step_seconds"], one["batch_seconds"]
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in one["operations"].items())
    floor_told = f"{1000 * one['floor_seconds']:.0f} ms ({one['matmul_gflops']:.0f} GFLOP/s)"
    return [
        ("padding of an epoch's tokens", f"{one['padding']:.1%}"),
        ("a step", f"{1000 * took:.0f} ms"),
        ("a batch made alone", f"{1000 * alone:.1f} ms, {took / alone:.0f} times as fast"),
        ("of the time, waiting for batches", f"{one['stall']:.1%}"),
        ("operations of a step", f"{one['gflop']:.1f} GFLOP"),
        ("floor at the matrix product's speed", floor_told),
        ("kinds of operations", kinds),
        *((f"a step on one batch by {way}", f"{1000 * value:.0f} ms") for way, value in one["ways"].items()),
    ]


def shown(name: str, one: dict[str, Any]) -> Table:
    """A pipeline's figures for the screen."""
    table = Table("", "", title=name)
    for row in rows(one):
        table.add_row(*row)
    return table


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """All figures as a table of the page, a column a pipeline."""
    columns = [dict(rows(one)) for one in found.values()]
    lines = ["| | " + " | ".join(found) + " |", "| --- |" + " ---: |" * len(found)]
    lines += [f"| {what} | " + " | ".join(column[what] for column in columns) + " |" for what in columns[0]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
