"""tfrec's SASRec on the work of a file, timed; started by run.py.

python with_tfrec.py WORK.json RESULT.json

The attention block is SASRec's, the loss a softmax over all items; what is left to tfrec is how batches are made up
(by length, so many tokens that an epoch has as many steps as the other library's), its scores (cosine) and its rate.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrec import build, config
from tfrec.data import Dataset, EpochPlan
from tfrec.features import ITEM_ID, RANK, USER_ID
from tfrec.report import peak_memory_mb
from tfrec.retrieval import recommend
from tfrec.training.seeding import EpochSeeds

CUTOFF = 10


class Clock(keras.callbacks.Callback):
    """Notes the seconds of each epoch without its validation, and stops where the target is reached."""

    def __init__(self, target: float | None) -> None:
        """Take the validation NDCG@10 to reach; None for no end but the last epoch."""
        super().__init__()
        self.target, self.seconds = target, []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Look at the clock."""
        self._start, self._spent = time.perf_counter(), 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        """Look at the clock."""
        self._validation = time.perf_counter()

    def on_test_end(self, logs: Any = None) -> None:
        """Take the validation off."""
        self._spent += time.perf_counter() - self._validation

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch."""
        self.seconds.append(time.perf_counter() - self._start - self._spent)
        if self.target is not None:
            reached = logs[f"val_ndcg@{CUTOFF}"]
            print(f"tfrec: epoch {epoch + 1}, {sum(self.seconds):.0f} s, NDCG@10 {reached:.4f}", flush=True)
            self.model.stop_training = reached >= self.target


def main(work_file: str, result_file: str) -> None:
    """Train, validate after each epoch where that is asked for, and write the result."""
    work = json.loads(Path(work_file).read_text())
    settings = config.load(Path(work["pipeline"]), work["changes"])
    keras.utils.set_random_seed(work["seed"])
    began = time.perf_counter()
    data = Dataset.open(work["dataset"])
    plan = planned(data, work)
    training = build.decided_training(data, settings.training)
    model = build.two_tower(data, settings.model, training=training, seed=work["seed"])
    model.compile(build.optimizer(training, len(plan), model=model))
    told: dict[str, Any] = {"prepare_seconds": time.perf_counter() - began}
    clock = Clock(work["target"])
    logs = model.fit(
        plan.dataset(),
        validation_data=data.validation() if work["target"] is not None else None,
        epochs=work["epochs"],
        callbacks=[EpochSeeds(plan, work["seed"]), clock],
        verbose=0,
    ).history
    told["peak_memory_mb"] = peak_memory_mb()  # Of training, the validations in between included.
    told["padding"], told["steps"] = plan.padding(), len(plan)
    told["target"] = work["target"]
    told["epoch_seconds"] = clock.seconds
    told["ndcg"], told["hr"] = (logs.get(f"val_{name}@{CUTOFF}", []) for name in ("ndcg", "hr"))
    recommended(told, model, data)
    told["peak_memory_with_recommending_mb"] = peak_memory_mb()
    Path(result_file).write_text(json.dumps(told))


def planned(data: Dataset, work: dict[str, Any]) -> EpochPlan:
    """The batches of an epoch: as many as so many sequences a batch give, by the search for their tokens."""
    steps = math.ceil(work["users"] / work["sequences"])
    low, high = 1, 1 << 24
    while low < high:  # The least tokens that give no more steps than that.
        middle = (low + high) // 2
        low, high = (low, middle) if len(data.train_plan(middle, work["seed"])) <= steps else (middle + 1, high)
    return data.train_plan(low, work["seed"])


def recommended(told: dict[str, Any], model: Any, data: Dataset) -> None:
    """The seconds of recommending to all validation users, and the figures where no epoch has any."""
    truth = data.truth("validation").set_index(USER_ID)[ITEM_ID]
    began = time.perf_counter()
    found = recommend(model, data.validation(), data.items[ITEM_ID].to_numpy(), k=CUTOFF)
    told["recommend_seconds"] = time.perf_counter() - began
    told["users"] = len(truth)
    if not told["ndcg"]:
        hit = found[found[ITEM_ID].to_numpy() == truth.loc[found[USER_ID]].to_numpy()]
        told["ndcg"] = [float((1 / np.log2(hit[RANK] + 1)).sum() / len(truth))]
        told["hr"] = [len(hit) / len(truth)]


if __name__ == "__main__":
    main(*sys.argv[1:])
