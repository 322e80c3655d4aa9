"""How fast and how steady `tfrec serve` is: a load through gRPC, and what hostile clients do to it.

python benchmarks/serving.py load MODEL       latency on one core, throughput on two, then swaps under load
python benchmarks/serving.py fuzz MODEL       malformed, huge, deep and hostile requests to both ports

MODEL is what `tfrec serve` takes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click
import grpc
import numpy as np
import pandas as pd
import tensorflow as tf
from hostile import grpc_requests, rest_requests
from rich.console import Console
from rich.table import Table
from tensorflow_serving.apis import predict_pb2

from tfrec.serving import manifest, server_config
from tfrec.serving.server import wanted

NAME = "model"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
EVENTS = 50
GROWTH = 1.1  # times as much memory as after any part before, after the last one
PARTS = 5  # of hostile requests, after each of which the memory is looked at
CORES = sorted(os.sched_getaffinity(0))


class Served:
    """A running `tfrec serve`."""

    def __init__(self, process: subprocess.Popen[str], rest: int, grpc_port: int) -> None:
        """Hold the process and its ports."""
        self.process, self.rest, self.grpc = process, rest, grpc_port

    @property
    def memory(self) -> float:
        """Resident memory, MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def loads(self) -> int:
        """Versions that it has loaded so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/monitoring/prometheus/metrics") as page:
            text = page.read().decode()
        return round(sum(map(float, re.findall(r'^tfrec_loads_total{.*result="loaded"} (.+)$', text, re.MULTILINE))))


@contextmanager
def serving(model: Path, cores: Sequence[int], *words: str) -> Iterator[Served]:
    """A server on some cores, until the end of the block."""
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    command = [*pinned, sys.executable, "-m", "tfrec.cli", "serve", str(model), "--rest-port", "0", "--grpc-port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"REST: port (\d+) +gRPC: port (\d+)", line)
            if found is None:
                log.seek(0)
                raise click.ClickException(log.read()[-500:])
            yield Served(process, int(found[1]), int(found[2]))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        log.seek(0)
        failures = [line for line in log if "ERROR" in line]
        if failures:
            click.echo(f"the log has {len(failures)} errors; the first: {failures[0].strip()}", err=True)


def requests(folder: Path, count: int) -> list[bytes]:
    """Messages for `serving_default` with histories of `EVENTS` items, seed 0."""
    ids = pd.read_parquet(folder / manifest.ITEMS)["item_id"].to_numpy(object)
    drawn = np.random.default_rng(0).choice(ids, (count, 1, EVENTS))
    messages = []
    for history in drawn:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = NAME
        request.inputs["history"].CopyFrom(tf.make_tensor_proto(history))
        messages.append(request.SerializeToString())
    return messages


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable]:
    """`Predict` with messages as bytes."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(PREDICT)


async def ask(
    port: int, messages: Sequence[bytes], count: int, at_a_time: int, seconds: list[float] | None = None
) -> tuple[np.ndarray, Counter[str], float]:
    """Seconds of each request, the codes, and the seconds of all; `at_a_time` clients ask without a pause.

    Into `seconds` goes what each took as soon as it is answered.
    """
    seconds = [] if seconds is None else seconds
    codes: Counter[str] = Counter()
    waiting = iter(itertools.islice(itertools.cycle(messages), count))

    async def one(predict: grpc.aio.UnaryUnaryMultiCallable) -> None:
        for message in waiting:
            start = time.perf_counter()
            try:
                await predict(message, timeout=30)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
            seconds.append(time.perf_counter() - start)

    async with connection(port) as predict:
        start = time.perf_counter()
        await asyncio.gather(*(one(predict) for _ in range(at_a_time)))
    return np.array(seconds), codes, time.perf_counter() - start


def versions_of(model: Path, root: Path) -> Path:
    """Two versions of the model under `root`, of which the first is stable; the version's folder."""
    folder = next(iter(next(iter(wanted.look(model).values())).versions.values()))
    for number in (1, 2):
        shutil.copytree(folder, root / NAME / str(number))
    server_config.write(root, {NAME: {server_config.STABLE: 1}})
    return root / NAME / "1"


async def swapped(served: Served, root: Path, messages: Sequence[bytes], count: int, swaps: int) -> list[float]:
    """Ask, and swap versions after like parts of the requests; memory, MB, before each swap and after all."""
    done: list[float] = []
    asking = asyncio.create_task(ask(served.grpc, messages, count, 8, done))
    memory = []
    for turn in range(1, swaps + 1):
        while len(done) < turn * count / (swaps + 1):
            await asyncio.sleep(0.05)
        memory.append(served.memory)
        server_config.write(root, {NAME: {server_config.STABLE: 1 + turn % 2}})
    seconds, codes, whole = await asking
    if set(codes) != {"OK"}:
        raise click.ClickException(f"requests failed while versions were swapped: {dict(codes)}")
    if served.loads != 1 + swaps:
        raise click.ClickException(f"{served.loads} versions were loaded, not {1 + swaps}: give it more requests")
    table = Table("requests", "codes", "requests/s", "p50 ms", "p99 ms", "max ms", title=f"{swaps} swaps under load")
    table.add_row(
        f"{count:,}", str(dict(codes)), f"{count / whole:.0f}", *(f"{ms:.1f}" for ms in milliseconds(seconds))
    )
    Console().print(table)
    return [*memory, served.memory]


def milliseconds(seconds: np.ndarray) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum."""
    low, high = np.percentile(seconds, [50, 99])
    return 1e3 * low, 1e3 * high, 1e3 * seconds.max()


@click.group()
def main() -> None:
    """Measure the built-in server."""


@main.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--requests", "count", default=100_000, show_default=True, help="Requests of the last part.")
@click.option("--swaps", default=20, show_default=True)
def load(model: Path, count: int, swaps: int) -> None:
    """Latency on one core, throughput on two, and swaps under load."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        messages = requests(versions_of(model, root), 2000)
        table = Table(
            "cores", "clients", "requests/s", "p50 ms", "p99 ms", "max ms", "MB", title=f"histories of {EVENTS}"
        )
        for cores, clients, asked in ((CORES[:1], 1, 4000), (CORES[:2], 64, 20_000)):
            with serving(root / NAME, cores) as served:
                asyncio.run(ask(served.grpc, messages, 500, clients))
                seconds, codes, whole = asyncio.run(ask(served.grpc, messages, asked, clients))
                if set(codes) != {"OK"}:
                    raise click.ClickException(f"not all were answered: {dict(codes)}")
                figures = (len(cores), clients, f"{asked / whole:.0f}", *(f"{ms:.1f}" for ms in milliseconds(seconds)))
                table.add_row(*map(str, figures), f"{served.memory:.0f}")
        Console().print(table)
        with serving(root / NAME, CORES[:2], "--poll", "0.5") as served:
            asyncio.run(ask(served.grpc, messages, 2000, 8))
            memory = asyncio.run(swapped(served, root, messages, count, swaps))
        click.echo("memory before each swap and at the end, MB: " + " ".join(f"{size:.0f}" for size in memory))


@main.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--requests", "count", default=20_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def fuzz(model: Path, count: int, seed: int) -> None:
    """Hostile requests; status 1 where one crashes, hangs or confuses the server."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        good = requests(versions_of(model, root), 1)[0]
        with serving(root / NAME, CORES[:2], "--timeout", "2") as served:
            found: Counter[tuple[str, str, str]] = Counter()
            asyncio.run(ask(served.grpc, [good], 100, 1))
            memory = [round(served.memory)]
            for part in range(PARTS):
                found += rest_requests.run(served.rest, NAME, count // PARTS // 2, seed + part)
                found += asyncio.run(grpc_requests.run(served.grpc, good, count // PARTS // 2, seed + part))
                memory.append(round(served.memory))
            alive = served.process.poll() is None
            answered = asyncio.run(ask(served.grpc, [good], 100, 1))[1]
    table = Table("port", "kind", "answer", "requests")
    for (port, kind, answer), times in sorted(found.items()):
        table.add_row(port, kind, answer, str(times))
    Console().print(table)
    click.echo(json.dumps({"alive": alive, "good_after": dict(answered), "mb_before_and_after_each_fifth": memory}))
    bad = [key for key in found if key[2] in ("500", "INTERNAL", "UNKNOWN", "hang", "no answer")]
    if bad or not alive or answered != Counter(OK=100):
        raise click.ClickException(f"not as it should be: {bad}")
    if memory[-1] > GROWTH * max(memory[1:-1]):
        raise click.ClickException(f"memory grows: {memory} MB")


if __name__ == "__main__":
    main()
