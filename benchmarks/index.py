"""Measures what an export gains and loses by storing item vectors in fewer bits and by an index over them.

python benchmarks/index.py synthetic ITEMS TOPICS [QUANTIZATION [INDEX]]   clustered vectors: time, recall, size
python benchmarks/index.py run RUN [QUANTIZATION [INDEX]]                  the same of a run's model and its test users
python benchmarks/index.py quality RUN                                     HR@10 of float16 and int8 beside float32

`taskset -c 0` before a command holds it to one core.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

import tfrec
from tfrec.data import Dataset
from tfrec.evaluation import compare, user_metrics
from tfrec.features import HISTORY
from tfrec.retrieval import recommend
from tfrec.serving import ExportOptions
from tfrec.serving.index.recall import share
from tfrec.serving.index.vectors import QUANTIZATIONS, VectorTable
from tfrec.serving.session import open_session
from tfrec.serving.version_writer import real_histories

DIM, NOISE, USERS, EVENTS, RECENT = 64, 0.6, 2000, 50, 5
ASKED, WARM = 500, 20


@dataclass
class Shop:
    """A made-up data set: items of some topics, users of whom each has turned to one topic lately."""

    vectors: np.ndarray
    items: pd.DataFrame
    rows: np.ndarray
    vocabularies: Mapping[str, Any]
    seen: str = "remove"
    max_length: int = EVENTS

    @classmethod
    def of(cls, count: int, centres_of: int, seed: int = 0, users: int = USERS) -> Shop:
        """`count` items around so many centres of unlike weight, of lengths that differ by a fifth or so."""
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(centres_of, DIM))
        topics = rng.choice(centres_of, count, p=rng.dirichlet(np.ones(centres_of)))
        vectors = np.zeros((count + 1, DIM), np.float32)
        vectors[1:] = centres[topics] + NOISE * rng.normal(size=(count, DIM))
        vectors[1:] *= np.exp(rng.normal(0, 0.2, (count, 1)))
        order = np.argsort(topics, kind="stable")
        starts = np.searchsorted(topics[order], np.arange(centres_of + 1))
        rows = rng.integers(1, count + 1, (users, EVENTS))
        for user, topic in enumerate(topics[rng.integers(count, size=users)]):
            rows[user, -RECENT:] = 1 + order[rng.integers(starts[topic], starts[topic + 1], RECENT)]
        ids = ["", *(f"i{row:07d}" for row in range(1, count + 1))]
        return cls(vectors, pd.DataFrame({"item_id": ids, "title": ""}), rows, {})

    def histories(self, split: str) -> Any:
        """The first half of the users validates, the other one tests."""
        half = len(self.rows) // 2
        rows = self.rows[:half] if split == "validation" else self.rows[half:]
        return SimpleNamespace(
            user_ids=np.arange(len(rows)), rows=rows.ravel(), offsets=np.arange(len(rows) + 1) * EVENTS
        )


class RecentMean:
    """A model without weights: a user seeks the mean of the newest few items."""

    weights: tuple[()] = ()
    objective, similarity, temperature = None, "dot", SimpleNamespace(value=1.0)

    def __init__(self, vectors: np.ndarray) -> None:
        """Take the vectors of all items."""
        self.vectors, self.candidates = vectors, np.arange(1, len(vectors))
        self.item_tower = SimpleNamespace(items=len(vectors), dim=vectors.shape[1], weights=())
        self.behavior_tower = SimpleNamespace(compute_dtype="float32", event_columns={}, user_columns={})
        self.input_spec_dict = {HISTORY: tf.TensorSpec([None, None], tf.int32)}

    def item_vectors(self) -> np.ndarray:
        """float32 [I, D]."""
        return self.vectors

    def query(self, vectors: Any, features: Mapping[str, Any]) -> Any:
        """float32 [B, D]."""
        return self.last_state(tf.gather(vectors, features[HISTORY]), features)

    def last_state(self, history_vectors: Any, features: Mapping[str, Any]) -> Any:
        """float32 [B, D]."""
        length = tf.reduce_sum(tf.cast(features[HISTORY] != 0, tf.int32), axis=1, keepdims=True)
        place = tf.range(tf.shape(features[HISTORY])[1])[None]
        weight = tf.cast((place < length) & (place >= length - RECENT), tf.float32)[:, :, None]
        return tf.math.divide_no_nan(tf.reduce_sum(history_vectors * weight, 1), tf.reduce_sum(weight, 1))


def measure(model: Any, data: Any, options: ExportOptions) -> dict[str, Any]:
    """Export a model and ask the version as a server would, one user at a time."""
    with tempfile.TemporaryDirectory() as place:
        before = time.perf_counter()
        folder = tfrec.export(model, data, Path(place) / "m", options=options)
        seconds = time.perf_counter() - before
        told = json.loads((folder / "assets.extra" / "manifest.json").read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in (folder / "variables").iterdir())
        histories = (real_histories(data) or [])[:ASKED]
        with open_session(folder) as bundle:
            requests = [{HISTORY: np.array([history], object)} for history in histories if history]
            taken, answers = _asked(bundle, requests)
    return {
        "options": {"quantization": options.quantization, "index": told["index"], "recall": options.recall},
        "export_seconds": round(seconds),
        "variables_bytes": size,
        "item_vectors": told["item_vectors"],
        "self_check": told["self_check"],
        "recall@10": round(_recall(model, data, options, requests, answers), 4),
        "milliseconds": {f"p{p}": round(float(np.percentile(taken, p)) * 1e3, 2) for p in (50, 90, 99)},
    }


def _asked(bundle: Any, requests: Sequence[dict[str, np.ndarray]]) -> tuple[list[float], list[np.ndarray]]:
    """Seconds of each request, after a few that warm up, and the scores of each answer."""
    for request in requests[:WARM]:
        bundle.run("serving_default", request)
    taken, answers = [], []
    for request in requests:
        start = time.perf_counter()
        answers.append(bundle.run("serving_default", request)["scores"][0])
        taken.append(time.perf_counter() - start)
    return taken, answers


def _recall(
    model: Any, data: Any, options: ExportOptions, requests: Sequence[dict[str, np.ndarray]], answers: list[np.ndarray]
) -> float:
    """The share of the best 10 items, found in NumPy among all candidates, that the answers hold."""
    vectors = VectorTable.of(np.asarray(model.item_vectors()), options.quantization, model.item_tower.dim).restored
    places = dict(zip(data.items["item_id"], range(len(vectors)), strict=True))
    barred = np.setdiff1d(np.arange(len(vectors)), model.candidates)
    shares = []
    for request, answer in zip(requests, answers, strict=True):
        rows = np.array([places[item] for item in request[HISTORY][0]], np.int32)
        newest = tf.constant(rows[None, -data.max_length :])
        scores = vectors @ np.asarray(model.query(tf.constant(vectors), {HISTORY: newest}))[0]
        hidden = np.union1d(barred, rows) if data.seen == "remove" else barred
        shares.append(share(np.delete(scores, hidden), answer, 10, 1e-5))
    return float(np.mean(shares))


def quality(run: Path) -> dict[str, Any]:
    """HR@10 and NDCG@10 of a run's model with its item vectors stored in fewer bits, paired over the test users."""
    model, data = _opened(run)
    plain, ids = np.asarray(model.item_vectors()), data.items["item_id"]
    truth, found = data.truth("test"), {}
    for kind in QUANTIZATIONS:
        table = VectorTable.of(plain, kind, model.item_tower.dim)
        model.item_vectors = lambda table=table: tf.constant(table.restored)
        found[kind] = user_metrics(recommend(model, data.test(), ids, k=10), truth, [10])
    result = {}
    for kind in QUANTIZATIONS[1:]:
        sizes = VectorTable.of(plain, kind, model.item_tower.dim).sizes
        differences = compare(found[kind], found["float32"], metrics=["hr@10", "ndcg@10"]).values()
        result[kind] = {"share_of_float32_bytes": round(sizes["bytes"] / sizes["float32_bytes"], 4)} | {
            each.metric: {
                "float32": round(each.theirs, 5),
                kind: round(each.ours, 5),
                "relative_interval": [round(end / each.theirs, 5) for end in (each.low, each.high)],
            }
            for each in differences
        }
    return result


def _opened(run: Path) -> tuple[Any, Dataset]:
    return tfrec.load_model(run / "checkpoints" / "model.keras"), Dataset.open(run / "dataset")


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    command, *rest = arguments or [""]
    if command == "quality" and len(rest) == 1:
        found = quality(Path(rest[0]))
    elif command == "synthetic" and 2 <= len(rest) <= 4:
        shop = Shop.of(int(rest[0]), int(rest[1]))
        found = measure(RecentMean(shop.vectors), shop, ExportOptions(*rest[2:]))
    elif command == "run" and 1 <= len(rest) <= 3:
        found = measure(*_opened(Path(rest[0])), ExportOptions(*rest[1:]))
    else:
        print(__doc__, file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
