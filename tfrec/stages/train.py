"""Stage 2: the data set becomes a trained model; an interrupted training goes on where it was."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import keras

from tfrec import build
from tfrec.data import Dataset
from tfrec.features import ITEM_ID, TITLE
from tfrec.report import peak_memory_mb
from tfrec.report.summaries import ProjectorWriter, ThroughputSummary
from tfrec.retrieval import TwoTower
from tfrec.stages.ledger import Run, write_text
from tfrec.stages.prepare import open_dataset
from tfrec.stages.stage import Stage
from tfrec.training import TrainingCheckpoint, train

CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
MODEL, OWNER = "model.keras", "key"


def open_model(run: Run) -> TwoTower:
    """The trained model of a run, its best epoch."""
    return keras.saving.load_model(run.path(CHECKPOINTS, MODEL), compile=False)


def _key(run: Run, before: str) -> str:
    return run.key("train", before)


def _complete(run: Run) -> bool:
    return run.path(CHECKPOINTS, MODEL).exists()


def _perform(run: Run, key: str) -> dict[str, Any]:
    settings, data = run.pipeline.training, open_dataset(run)
    _clear_unless_mine(run, key)
    started = time.perf_counter()
    model = compiled(run, data)
    checkpoint = TrainingCheckpoint(run.path(CHECKPOINTS), monitor=settings.monitor, patience=settings.patience)
    plan = data.train_plan(settings.tokens_per_batch, run.pipeline.seed)
    throughput = ThroughputSummary(run.path(TENSORBOARD), data.manifest["counts"]["train_targets"])
    with contextlib.redirect_stdout(sys.stderr):  # Keras shows its progress on standard output.
        history = train(
            model,
            plan,
            data.validation(),
            checkpoint,
            epochs=settings.epochs,
            seed=run.pipeline.seed,
            callbacks=[throughput, keras.callbacks.TensorBoard(str(run.path(TENSORBOARD)))],
            verbose=1 if sys.stderr.isatty() else 2,
        )
    if not history:
        raise ValueError(f"training.epochs is {settings.epochs}: nothing was trained.")
    _write_projector(run, data, model)
    _save(model, run.path(CHECKPOINTS, MODEL))
    seconds = [epoch["epoch_seconds"] for epoch in history]
    return {
        "seconds": sum(seconds),
        "wall_seconds": time.perf_counter() - started,
        "epochs": len(history),
        "best_epoch": checkpoint.best_epoch + 1,
        "epoch_seconds": statistics.median(seconds),
        "events_per_second": statistics.median(epoch["events_per_second"] for epoch in history),
        "parameters": sum(math.prod(weight.shape) for weight in model.trainable_weights),
        "peak_memory_mb": peak_memory_mb(),
        "history": history,
    }


def compiled(run: Run, data: Dataset) -> TwoTower:
    """The model of a pipeline at its seed's initial weights."""
    keras.utils.set_random_seed(run.pipeline.seed)
    settings = run.pipeline.training
    model = build.two_tower(data, run.pipeline.model, training=settings)
    model.compile(optimizer=build.optimizer(settings), jit_compile=settings.jit)
    return model


def _clear_unless_mine(run: Run, key: str) -> None:
    """Keep checkpoints of this very training, so that it goes on; take away those of another."""
    owner = run.path(CHECKPOINTS, OWNER)
    if not owner.exists() or owner.read_text(encoding="utf-8") != key:
        for folder in (CHECKPOINTS, TENSORBOARD):
            shutil.rmtree(run.path(folder), ignore_errors=True)
        owner.parent.mkdir(parents=True)
        write_text(owner, key)


def _write_projector(run: Run, data: Dataset, model: TwoTower) -> None:
    ids, titles = data.items[ITEM_ID].tolist(), data.items[TITLE].tolist()
    ProjectorWriter(run.path(TENSORBOARD)).write(model.item_vectors().numpy(), ids, titles)


def _save(model: TwoTower, path: Path) -> None:
    """Write the model under a temporary name, then rename it."""
    temporary = path.with_name("writing-" + path.name)
    model.save(temporary)
    os.replace(temporary, path)


train_stage = Stage(_key, _complete, _perform)
