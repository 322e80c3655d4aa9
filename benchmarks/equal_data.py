"""Recall alone on the events that a second stage learns from, too: how much of what two stages gain is the data's.

python benchmarks/equal_data.py RUN [RUN ...]    finished runs of a pipeline with two stages, a seed each

A second stage learns from validation events (`ranking.learning.events: held_out`) that its retrieval model has not
seen. Here the retrieval model of each run is trained again with these events among its own, from the same seed, by the
same schedule and as many epochs as the run's validation chose; nothing is chosen here. Test figures of it, of the run's
own retrieval model and of its two stages are paired over users, the seeds averaged -> results/equal_data.json.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import results
from compare import by_user

import tfrec
from tfrec import build, config
from tfrec.data import Dataset
from tfrec.data.sequences import training_events, training_windows
from tfrec.evaluation import compare
from tfrec.features import MODEL_ROW, PER_USER
from tfrec.training.seeding import EpochSeeds

RECORD = results.RESULTS / "equal_data.json"
FIGURES = ["hr@10", "ndcg@10", "mrr@10"]
RECALL_ALONE = "recall_alone"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(runs: tuple[Path, ...]) -> None:
    """Train, measure and compare."""
    tables = [pd.read_parquet(run / PER_USER) for run in runs]
    found = {
        "two stages": [by_user(table, MODEL_ROW) for table in tables],
        "recall alone": [by_user(table, RECALL_ALONE) for table in tables],
        "recall alone with the events": [trained(run) for run in runs],
    }
    means = {
        name: {each: [float(one[each].mean()) for one in side] for each in FIGURES} for name, side in found.items()
    }
    control, gaps = found.pop("recall alone with the events"), {}
    for name, side in found.items():
        told = compare(side, control, metrics=FIGURES)
        told_of = ("ours", "theirs", "difference", "low", "high", "verdict")
        gaps[name] = {each: {key: getattr(gap, key) for key in told_of} for each, gap in told.items()}
        for each, gap in told.items():
            ends = f"{gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}): {gap.verdict}"
            print(f"{name} against recall alone with the events, {each}: {gap.ours:.4f} - {gap.theirs:.4f} = {ends}")
    document = {"commit": results.commit(), "runs": len(runs), "means": means, "against_the_control": gaps}
    RECORD.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def trained(run: Path) -> pd.DataFrame:
    """The test figures by user of a run's retrieval model, trained with the events of the second stage."""
    pipeline, data = config.load(run / "config.yaml"), Dataset.open(run / "dataset")
    members = build.positions(data, pipeline.ranking, pipeline.seed)
    learning = members.train.histories.user_ids[members.members]
    added = add(data, learning)
    settings = build.decided_training(data, pipeline.training)
    plan = data.train_plan(settings.tokens_per_batch, pipeline.seed)
    model = build.two_tower(data, pipeline.model, training=settings, seed=pipeline.seed)
    model.compile(build.optimizer(settings, len(plan), model=model, text=pipeline.model.text))
    epochs = json.loads((run / "stages.json").read_text(encoding="utf-8"))["train"]["best_epoch"]
    print(f"{run}: {added} events more, {epochs} epochs of {settings.epochs}", flush=True)
    model.fit(plan.dataset(), epochs=epochs, callbacks=[EpochSeeds(plan, pipeline.seed)], verbose=2)
    return tfrec.evaluate(model, data, cutoffs=[10]).per_user


def add(data: Dataset, user_ids: Any) -> int:
    """Let the validation events of some users train; how many targets training has more."""
    sequences = data.sequences
    before = int(data.items["count"].sum())
    chosen = np.isin(sequences.user_ids.astype(str), np.asarray(user_ids).astype(str))
    data.sequences = dataclasses.replace(
        sequences, train_end=np.where(chosen, sequences.test_start, sequences.train_end)
    )
    held_out, size = data.held_out > 0, len(data.items)
    events = training_events(data.sequences, held_out)[0]
    windows = training_windows(data.sequences, held_out, data.max_length, drawn=data.draws_windows)
    targets = events[data.sequences.is_target[events]]
    data.items["count"] = np.bincount(data.sequences.rows[targets], minlength=size)
    data.items["trained"] = np.bincount(windows.possible_rows(), minlength=size) > 0
    return int(data.items["count"].sum()) - before


if __name__ == "__main__":
    main()
