"""Whether a model answers alike in every way that it can be asked.

python benchmarks/ways.py MODEL

MODEL is an exported version. Drawn histories are asked in Python, in a session, through REST and gRPC of `tfrec serve`,
and, where a C compiler is there, in a process without Python.
"""

from __future__ import annotations

import sys
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
from tfrec.serving import c_runner, manifest
from tfrec.serving.session import open_session

HISTORIES, SEED = 64, 0
Inputs = dict[str, np.ndarray]
Answers = tuple[list[list[str]], np.ndarray]
"""Ids, and scores [N, k]."""


def asked(version: Path) -> dict[str, Inputs]:
    """Signature -> its inputs: drawn items of the catalogue, some unknown, some missing, as a table and as lines."""
    ids = pd.read_parquet(version / manifest.ITEMS)["item_id"].to_numpy(object)
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(ids, (HISTORIES, 50))
    drawn[rng.random(drawn.shape) < 0.1] = ""
    drawn[rng.random(drawn.shape) < 0.1] = "no such item"
    drawn[0], drawn[1] = "", "no such item"
    lines = np.array(["\n".join(row) for row in drawn], object)
    return {"serving_default": {"history": drawn}, "recommend_delimited": {"history": lines}}


def in_python(version: Path, signature: str, inputs: Inputs) -> Answers:
    """By `tf.saved_model.load`."""
    tensors = {name: tf.constant(values) for name, values in inputs.items()}
    found = tf.saved_model.load(str(version)).signatures[signature](**tensors)
    return decoded(found["item_ids"].numpy()), found["scores"].numpy()


def in_session(version: Path, signature: str, inputs: Inputs) -> Answers:
    """By the loader that servers have."""
    with open_session(version) as bundle:
        found = bundle.run(signature, inputs)
    return decoded(found["item_ids"]), found["scores"]


def in_c(version: Path, signature: str, inputs: Inputs) -> Answers:
    """By a process without Python, through TensorFlow's C API."""
    with c_runner.open_runner(version) as model:
        found = model.run(signature, inputs)
    return decoded(found["item_ids"]), found["scores"]


def through(scheme: str) -> Callable[[Path, str, Inputs], Answers]:
    """By the client, of the built-in server."""

    def ask(version: Path, signature: str, inputs: Inputs) -> Answers:
        with serving(version, CORES, "--name", NAME) as served:
            port = served.rest if scheme == "http" else served.grpc
            with tfrec.Client(f"{scheme}://127.0.0.1:{port}", NAME, seconds=60) as client:
                found = client.predict(signature, inputs)
        return decoded(found["item_ids"]), found["scores"]

    return ask


def decoded(ids: np.ndarray) -> list[list[str]]:
    """Strings of the bytes [N, k]."""
    return [[item.decode() for item in row] for row in ids]


def compared(found: Answers, expected: Answers) -> tuple[float, float]:
    """The share of rows with the same ids, and the largest difference of a score.

    A score is compared with that of its item, and with that of its place: where ids swap, the scores tell how far.
    """
    worst, same = float(np.abs(found[1] - expected[1]).max()), []
    for ids, scores, theirs, theirs_scores in zip(*found, *expected, strict=True):
        known = dict(zip(theirs, theirs_scores.tolist(), strict=True))
        last = min(score for item, score in known.items() if item)
        of_items = [abs(score - known.get(item, last)) for item, score in zip(ids, scores, strict=True) if item]
        worst = max(worst, *of_items)
        same.append(list(ids) == list(theirs))
    return float(np.mean(same)), worst


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
def main(model: Path) -> None:
    """Ask in every way; status 1 where scores, or those of items that swap, differ by more than 1e-5 of the largest."""
    table = Table("signature", "way", "items of a row", "rows with the same ids", "largest difference of a score")
    good = True
    for signature, inputs in asked(model).items():
        expected = in_python(model, signature, inputs)
        scale = max(1.0, float(np.abs(expected[1]).max()))
        for name, ask in {"session": in_session, "C": in_c, "REST": through("http"), "gRPC": through("grpc")}.items():
            try:
                same, difference = compared(ask(model, signature, inputs), expected)
            except c_runner.NotBuilt as reason:
                table.add_row(signature, name, "-", "-", str(reason))
                continue
            good &= difference <= 1e-5 * scale
            shown = f"{100 * same:.1f} %", f"{difference:.2g} of {scale:.3g}"
            table.add_row(signature, name, str(len(expected[0][0])), *shown)
    Console().print(f"{model}: {HISTORIES} histories, against tf.saved_model.load in Python")
    Console().print(table)
    sys.exit(int(not good))


if __name__ == "__main__":
    main()
