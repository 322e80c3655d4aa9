"""Whether a model answers alike in every way that it can be asked.

python benchmarks/ways.py MODEL [--c-runner FILE.c]

MODEL is an exported version. Drawn histories are asked in Python, in a session, through REST and gRPC of `tfrec serve`,
and, where a compiler is there, of the C program of `--c-runner`, which prints the first cells of each output.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pandas as pd
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from serving import CORES, NAME, serving

import tfrec
from tfrec.serving import manifest
from tfrec.serving.session import open_session

HISTORIES, SEED = 64, 0
Answers = tuple[list[list[str]], np.ndarray]
"""Ids, and scores [N, k]."""


def histories(version: Path) -> np.ndarray:
    """Object [N, T]: drawn items of the catalogue, some unknown, some missing."""
    ids = pd.read_parquet(version / manifest.ITEMS)["item_id"].to_numpy(object)
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(ids, (HISTORIES, 50))
    drawn[rng.random(drawn.shape) < 0.1] = ""
    drawn[rng.random(drawn.shape) < 0.1] = "no such item"
    drawn[0], drawn[1] = "", "no such item"
    return drawn


def in_python(version: Path, history: np.ndarray) -> Answers:
    """By `tf.saved_model.load`."""
    found = tf.saved_model.load(str(version)).signatures["serving_default"](history=tf.constant(history))
    return decoded(found["item_ids"].numpy()), found["scores"].numpy()


def in_session(version: Path, history: np.ndarray) -> Answers:
    """By the loader that servers have."""
    with open_session(version) as bundle:
        found = bundle.run("serving_default", {"history": history})
    return decoded(found["item_ids"]), found["scores"]


def through(scheme: str) -> Callable[[Path, np.ndarray], Answers]:
    """By the client, of the built-in server."""

    def ask(version: Path, history: np.ndarray) -> Answers:
        with serving(version, CORES, "--name", NAME) as served:
            port = served.rest if scheme == "http" else served.grpc
            with tfrec.Client(f"{scheme}://127.0.0.1:{port}", NAME, seconds=60) as client:
                found = client.predict("serving_default", {"history": history})
        return decoded(found["item_ids"]), found["scores"]

    return ask


def in_c(source: Path, program: Path) -> Callable[[Path, np.ndarray], Answers]:
    """By a program that knows TensorFlow's C library alone, built here."""
    place = Path(tf.__file__).parent
    libraries = [f"-L{place}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{place}"]
    command = ["gcc", "-O1", "-std=c11", "-D_GNU_SOURCE", "-o", program, source, f"-I{place / 'include'}"]
    subprocess.run([*command, *libraries], check=True)

    def ask(version: Path, history: np.ndarray) -> Answers:
        ids, scores = [], []
        for row in history:
            words = [program, version, "serving_default", f"history={','.join(row)}"]
            run = subprocess.run(words, env={**os.environ, "TFLIBS": ""}, check=True, capture_output=True, text=True)
            lines = {line.partition(" ")[0]: line.partition("] ")[2] for line in run.stdout.splitlines()}
            ids.append(lines["item_ids"].split(" "))
            scores.append([float(score) for score in lines["scores"].split(" ")])
        return ids, np.array(scores)

    return ask


def decoded(ids: np.ndarray) -> list[list[str]]:
    """Strings of the bytes [N, k]."""
    return [[item.decode() for item in row] for row in ids]


def compared(found: Answers, expected: Answers) -> tuple[int, float, float]:
    """Items of a row that were shown, the share of rows with the same ids, and the largest difference of a score.

    A score is compared with that of its item, and with that of its place: where ids swap, the scores tell how far.
    """
    shown, worst, same = len(found[0][0]), 0.0, []
    for ids, scores, theirs, theirs_scores in zip(*found, *expected, strict=True):
        known = dict(zip(theirs, theirs_scores.tolist(), strict=True))
        last = min(score for item, score in known.items() if item)
        of_items = [abs(score - known.get(item, last)) for item, score in zip(ids, scores, strict=True) if item]
        worst = max(worst, *of_items, float(np.abs(scores - theirs_scores[:shown]).max()))
        same.append(list(ids) == list(theirs[:shown]))
    return shown, float(np.mean(same)), worst


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--c-runner", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(model: Path, c_runner: Path | None) -> None:
    """Ask in every way; status 1 where scores, or those of items that swap, differ by more than 1e-5 of the largest."""
    history = histories(model)
    expected = in_python(model, history)
    scale = max(1.0, float(np.abs(expected[1]).max()))
    table = Table("way", "items of a row", "rows with the same ids", "largest difference of a score")
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        ways = {"session": in_session, "REST": through("http"), "gRPC": through("grpc")}
        if c_runner is not None:
            ways["C"] = in_c(c_runner.resolve(), Path(temporary) / "runner")
        for name, ask in ways.items():
            shown, same, difference = compared(ask(model, history), expected)
            worst = max(worst, difference)
            table.add_row(name, str(shown), f"{100 * same:.1f} %", f"{difference:.2g}")
    Console().print(f"{model}: {HISTORIES} histories, against tf.saved_model.load in Python; scores up to {scale:.3g}")
    Console().print(table)
    sys.exit(int(worst > 1e-5 * scale))


if __name__ == "__main__":
    main()
