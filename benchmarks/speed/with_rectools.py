"""RecTools' SASRec on the work of a file, timed; runs in an environment of its own, started by run.py.

python with_rectools.py WORK.json RESULT.json

It imports nothing of tfrec. Attention, loss and optimizer are those that RecTools' class has unless told otherwise.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet

CUTOFF = 10
SECONDS: list[
    float
] = []  # Of each epoch: RecTools copies its trainer, and a callback of the copy has no other way out.


class Clock(Callback):
    """Notes the seconds of each epoch of training."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Look at the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Note the epoch."""
        SECONDS.append(time.perf_counter() - self._start)


def trainer() -> Trainer:
    """RecTools' own trainer with the clock."""
    return Trainer(
        max_epochs=1,
        min_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        devices=1,
        accelerator="cpu",
        callbacks=[Clock()],
    )


def main(work_file: str, result_file: str) -> None:
    """Train, validate after each epoch where that is asked for, and write the result."""
    work = json.loads(Path(work_file).read_text())
    warnings.filterwarnings("ignore")
    torch.set_num_threads(work["threads"])
    seed_everything(work["seed"], verbose=False)
    began = time.perf_counter()
    training, truth = tables(work["table"])
    data = Dataset.construct(training)
    model = SASRecModel(
        n_blocks=work["blocks"],
        n_heads=work["heads"],
        n_factors=work["dim"],
        session_max_len=work["max_length"],
        batch_size=work["sequences"],
        dropout_rate=work["dropout"],
        lr=work["rates"]["rectools"],
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
    )
    told: dict[str, Any] = {"prepare_seconds": time.perf_counter() - began, "ndcg": [], "hr": []}
    for _ in range(work["epochs"]):
        model.fit_partial(data, min_epochs=1, max_epochs=1)
        if work["target"] is None:
            continue
        measure(told, model, data, truth)
        print(f"rectools: epoch {len(SECONDS)}, {sum(SECONDS):.0f} s, NDCG@10 {told['ndcg'][-1]:.4f}", flush=True)
        partial = Path(result_file).with_suffix(".partial.json")  # For who stops here: how far it came.
        partial.write_text(json.dumps({"ndcg": told["ndcg"], "target": work["target"]}))
        if told["ndcg"][-1] >= work["target"]:
            break
    told["peak_memory_mb"] = peak_memory_mb()  # Of training, the validations in between included.
    if work["target"] is None:
        measure(told, model, data, truth)
    told["peak_memory_with_recommending_mb"] = peak_memory_mb()
    told["target"] = work["target"]
    told["epoch_seconds"] = SECONDS
    told["versions"] = {"torch": torch.__version__}
    Path(result_file).write_text(json.dumps(told))


def tables(path: str) -> tuple[pd.DataFrame, pd.Series]:
    """The training events as RecTools reads them, and each validation user's next item."""
    events = pd.read_csv(path, dtype={"user_id": str, "item_id": str})
    training = events[~events["validates"]]
    frame = pd.DataFrame(
        {
            Columns.User: training["user_id"],
            Columns.Item: training["item_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(training["place"], unit="s"),
        }
    )
    last = events[events["validates"]].set_index("user_id")["item_id"]
    return frame, last[last.index.isin(training["user_id"])]


def measure(told: dict[str, Any], model: SASRecModel, data: Dataset, truth: pd.Series) -> None:
    """NDCG@10 and HR@10 of the validation users, and the seconds of recommending to all of them."""
    began = time.perf_counter()
    found = model.recommend(users=truth.index.to_numpy(), dataset=data, k=CUTOFF, filter_viewed=True)
    told["recommend_seconds"] = time.perf_counter() - began
    hit = found[found[Columns.Item].to_numpy() == truth.loc[found[Columns.User]].to_numpy()]
    told["ndcg"].append(float((1 / np.log2(hit[Columns.Rank] + 1)).sum() / len(truth)))
    told["hr"].append(len(hit) / len(truth))
    told["users"] = len(truth)


def peak_memory_mb() -> float:
    """Most memory that the process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
