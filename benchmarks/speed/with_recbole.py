"""RecBole's SASRec on the work of a file, timed; runs in the environment that RecTools has, started by run.py.

python with_recbole.py WORK.json RESULT.json

It imports nothing of tfrec. Feed-forward, optimizer and rate are those that RecBole has unless told otherwise.

RecBole makes a training sample of every target: the events before it, padded to the full length. It is given each
user's newest `max_length` + 1 events, so that an epoch has the targets that the others' epoch has, each after the same
events. A step has as many targets as theirs on average, that is, an epoch has as many steps, but no more than
`MOST_PLACES` allow: a sample of 200 events takes 8 MB until its gradient is there, so that 512 of them need 6.6 GB, and
the others' 13,000 targets a step would need 100 GB. Its speed hardly depends on that: with 256 an epoch takes as long.

Where the work names steps, that many are timed after `WARM_UP` others, and an epoch is said to take its steps times
their mean. Every sample is padded to the full length, so that one step costs what another does.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import get_dataloader
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

CUTOFF = 10
MOST_PLACES = 512 * 200  # Samples of a step by the length that they are padded to.
WARM_UP = 5  # Steps before those that are timed.
AT_ONCE = 256  # Users to recommend to.


def main(work_file: str, result_file: str) -> None:
    """Train and recommend where RecBole may leave its logs, and write the result."""
    work, result = json.loads(Path(work_file).read_text()), Path(result_file).resolve()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(work["threads"])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        result.write_text(json.dumps(measured(work)))


def measured(work: dict[str, Any]) -> dict[str, Any]:
    """Train by whole epochs or by some steps of one, then recommend."""
    began = time.perf_counter()
    training, truth = tables(work["table"])
    given = training.groupby("user_id").tail(work["max_length"] + 1)
    config = configured(work, batch_size(given, work))
    write_events(given, Path(config["data_path"]))
    init_seed(config["seed"], config["reproducibility"])
    (data,) = create_dataset(config).build()
    loader = get_dataloader(config, "train")(config, data, None, shuffle=True)
    model = SASRec(config, data)
    trainer = Trainer(config, model)
    told: dict[str, Any] = {"prepare_seconds": time.perf_counter() - began}
    if work["steps"]:
        told |= some_steps(trainer, loader, work["steps"])
    else:
        told |= whole_epochs(trainer, loader, work["epochs"])
    told["peak_memory_mb"] = peak_memory_mb()  # Of training and of making its samples.
    told |= recommended(model, data.field2token_id["item_id"], training, truth)
    told["peak_memory_with_recommending_mb"] = peak_memory_mb()
    told["target"], told["steps"], told["samples"] = work["target"], len(loader), len(data)
    told["batch"] = config["train_batch_size"]
    told["versions"] = {"recbole": recbole.__version__, "torch": torch.__version__}
    return told


def tables(path: str) -> tuple[pd.DataFrame, pd.Series]:
    """The training events in their order, and each validation user's next item."""
    events = pd.read_csv(path, dtype={"user_id": str, "item_id": str})
    training = events[~events["validates"]].sort_values("place")
    last = events[events["validates"]].set_index("user_id")["item_id"]
    return training, last[last.index.isin(training["user_id"])]


def batch_size(given: pd.DataFrame, work: dict[str, Any]) -> int:
    """Samples of a step with which an epoch has as many steps as the others', and no more than memory allows."""
    samples = len(given) - given["user_id"].nunique()  # The first event of a user is no target.
    return min(math.ceil(samples / math.ceil(work["users"] / work["sequences"])), MOST_PLACES // work["max_length"])


def configured(work: dict[str, Any], batch: int) -> Config:
    """RecBole's settings of the work: all events are for training, by a softmax over all items."""
    changes = {
        "data_path": str(Path.cwd()),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1.0]}, "group_by": "none", "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "n_layers": work["blocks"],
        "n_heads": work["heads"],
        "hidden_size": work["dim"],
        "hidden_dropout_prob": work["dropout"],
        "attn_dropout_prob": work["dropout"],
        "MAX_ITEM_LIST_LENGTH": work["max_length"],
        "train_batch_size": batch,
        "seed": work["seed"],
        "use_gpu": False,
    }
    return Config(model=SASRec, dataset="events", config_dict=changes)


def write_events(given: pd.DataFrame, folder: Path) -> None:
    """The events as RecBole reads them; the place in the order stands for the time."""
    folder.mkdir()
    columns = {"user_id": "user_id:token", "item_id": "item_id:token", "place": "timestamp:float"}
    given[list(columns)].rename(columns=columns).to_csv(folder / "events.inter", sep="\t", index=False)


def whole_epochs(trainer: Trainer, loader: Any, epochs: int) -> dict[str, Any]:
    """The seconds of each epoch."""
    seconds = []
    for epoch in range(epochs):
        began = time.perf_counter()
        trainer._train_epoch(loader, epoch)
        seconds.append(time.perf_counter() - began)
    return {"epoch_seconds": seconds}


def some_steps(trainer: Trainer, loader: Any, steps: int) -> dict[str, Any]:
    """The seconds of an epoch by those of some of its steps."""
    if WARM_UP + steps > len(loader):
        raise ValueError(f"an epoch has {len(loader)} steps: {WARM_UP} and {steps} more cannot be timed")
    starts: list[float] = []
    trainer._train_epoch(noted(itertools.islice(loader, WARM_UP + steps), starts), 0)
    mean = (starts[-1] - starts[WARM_UP]) / steps
    return {"epoch_seconds": [mean * len(loader)], "extrapolated_from_steps": steps}


def noted(batches: Iterable[Any], starts: list[float]) -> Iterator[Any]:
    """The batches, with the clock noted before each one is made, and after the last one's step."""
    batches = iter(batches)
    while True:
        starts.append(time.perf_counter())
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


def recommended(model: SASRec, ids: dict[str, int], training: pd.DataFrame, truth: pd.Series) -> dict[str, Any]:
    """NDCG@10 and HR@10 of the validation users, and the seconds of recommending to all of them what they had not."""
    began = time.perf_counter()
    rows = training["item_id"].map(ids).fillna(0).astype(int)  # 0 is padding: items of events that were not given.
    histories = {user: part.to_numpy() for user, part in rows.groupby(training["user_id"])}
    model.eval()
    best = [
        best_items(model, [histories[user] for user in truth.index[start : start + AT_ONCE]])
        for start in range(0, len(truth), AT_ONCE)
    ]
    seconds = time.perf_counter() - began
    wanted = torch.from_numpy(truth.map(ids).fillna(-1).to_numpy(dtype=int))
    hit = torch.cat(best) == wanted[:, None]
    gains = hit / torch.log2(torch.arange(CUTOFF) + 2.0)
    told = {"ndcg": [float(gains.sum() / len(truth))], "hr": [float(hit.sum() / len(truth))]}
    return {**told, "recommend_seconds": seconds, "users": len(truth)}


@torch.no_grad()
def best_items(model: SASRec, histories: list[Any]) -> torch.Tensor:
    """The best items (histories, CUTOFF) that are not in the history, best first."""
    length = model.max_seq_length
    sequences = torch.zeros(len(histories), length, dtype=torch.long)
    for row, history in enumerate(histories):
        newest = history[-length:]
        sequences[row, : len(newest)] = torch.from_numpy(newest)
    lengths = torch.tensor([min(len(history), length) for history in histories])
    scores = model.full_sort_predict(Interaction({model.ITEM_SEQ: sequences, model.ITEM_SEQ_LEN: lengths}))
    for row, history in enumerate(histories):
        scores[row, history] = -torch.inf
    scores[:, 0] = -torch.inf
    return scores.topk(CUTOFF).indices


def peak_memory_mb() -> float:
    """Most memory that the process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
