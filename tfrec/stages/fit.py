"""One training of stage 2: from a seed's initial weights, or from where it was interrupted, to its best epoch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrec import build, config
from tfrec.build import starting
from tfrec.data import Dataset, DividedDataset
from tfrec.ranking import Ranker
from tfrec.report.summaries import ThroughputSummary
from tfrec.retrieval import TwoTower
from tfrec.stages.ledger import Run, write_text
from tfrec.training import OneModel, Replicas, TrainingCheckpoint, train

CHECKPOINTS, TENSORBOARD, OWNER = "checkpoints", "tensorboard", "key"
VALIDATION_BATCH = 256  # Users at a time, of all replicas together.
FREE = ("epochs", "patience", "ensemble")  # Settings of training that no epoch depends on.

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A model at its best epoch, and how it came there."""

    model: TwoTower | Ranker
    seed: int
    history: list[dict[str, float]]
    best_epoch: int

    @property
    def seconds(self) -> float:
        """What its epochs took."""
        return sum(epoch["epoch_seconds"] for epoch in self.history)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(math.prod(weight.shape) for weight in self.model.trainable_weights)


def fitted(
    run: Run, data: Dataset, parts: Sequence[str], divided: tuple[Replicas, DividedDataset] | None = None
) -> Trained:
    """One training, from the seed's initial weights, or from where it was interrupted, to its best epoch.

    Args:
        run: the run.
        data: its data set.
        parts: where the training's own checkpoints and summaries lie below those of the run.
        divided: the replicas that share the training, and what this process holds of the data; None where it is alone.
            Of several processes one writes; the others do the same work and write nothing.
    """
    settings, seed = run.pipeline.training, run.pipeline.seed
    replicas = divided[0] if divided else None
    epochs, writes = build.epochs(data, settings), replicas is None or replicas.writes
    plan, validation = _batches(run, data, divided)
    with contextlib.nullcontext() if replicas is None else replicas.strategy.scope():
        model = compiled(run, data, len(plan))
    run.begin("train")
    monitor, lower = build.monitor(run.pipeline)
    folder, board = run.path(CHECKPOINTS, *parts), run.path(TENSORBOARD, *parts)
    checkpoint = TrainingCheckpoint(folder, monitor=monitor, patience=settings.patience, lower=lower, writes=writes)
    clear_unless_mine((folder, board), _mark(run, data, model), checkpoint, epochs)
    if parts:
        logger.info("train: seed %d", seed)
    callbacks = summaries(board, data.manifest["counts"]["train_targets"]) if writes else []
    if replicas is not None:
        replicas.adapt(model)
        callbacks = [OneModel(replicas), *callbacks]
    history = watched(model, (plan, validation), checkpoint, epochs=epochs, seed=seed, callbacks=callbacks)
    return Trained(model, seed, history, checkpoint.best_epoch + 1)


def summaries(board: Path, events: int) -> list[keras.callbacks.Callback]:
    """What writes the figures of each epoch for TensorBoard, in whose folder `board`; `events` are trained in one."""
    return [ThroughputSummary(board, events), keras.callbacks.TensorBoard(str(board))]


def watched(
    model: keras.Model,
    batches: tuple[Any, tf.data.Dataset],
    checkpoint: TrainingCheckpoint,
    *,
    epochs: int,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> list[dict[str, float]]:
    """Train a compiled model, from where its checkpoint is, with its progress on standard error.

    Args:
        model: the model; at its best epoch afterwards.
        batches: the plan of those that train, and those that validate.
        checkpoint: what is kept of each epoch.
        epochs: at most so many.
        seed: of the order of batches and of dropout.
        callbacks: see `train`.

    Returns:
        The figures of each epoch.
    """
    with contextlib.redirect_stdout(sys.stderr):  # Keras shows its progress on standard output.
        return train(
            model,
            *batches,
            checkpoint,
            epochs=epochs,
            seed=seed,
            callbacks=callbacks,
            verbose=(1 if sys.stderr.isatty() else 2) if checkpoint.writes else 0,
        )


def _batches(run: Run, data: Dataset, divided: tuple[Replicas, DividedDataset] | None) -> tuple[Any, Any]:
    """The plan of the training batches, and those that validate: of next items, or of labelled events."""
    tokens, ranking = build.batch_tokens(data, run.pipeline.training), run.pipeline.ranking
    if ranking is None or run.pipeline.two_stages:
        noise = run.pipeline.training.disturbed
        shares = noise.model_dump() if noise is not None else {}
        if divided is None:
            _refuse_without_targets(data, data.target_users)
            return data.train_plan(tokens, run.pipeline.seed, **shares), data.validation()
        replicas, held = divided
        _refuse_without_targets(data, held.users)
        validation = replicas.dataset(lambda share: held.validation(VALIDATION_BATCH, share))
        return replicas.plan(held.train_plan(tokens, run.pipeline.seed, **shares)), validation
    labelled = build.ranking_data(data, ranking)
    return labelled.train_plan(tokens, run.pipeline.seed), labelled.judged("validation", tokens)[0]


def _refuse_without_targets(data: Dataset, users: Callable[[str], int]) -> None:
    """Refuse data that hold no next item to ask for, by how many users a split has.

    Where there are labels, `prepare` counts those alone.
    """
    for split in ("validation", "test"):
        if not users(split):
            raise ValueError(
                f"The split {data.manifest['split']['kind']!r} leaves no next item for {split}: with labels, a pipeline"
                " predicts them with the section ranking; for next items move the cuts."
            )


def compiled(run: Run, data: Dataset, steps_per_epoch: int) -> TwoTower | Ranker:
    """The model of a pipeline as its training begins: the seed's initial weights, or those of the run to start from."""
    pipeline, text = run.pipeline, run.pipeline.model.text
    settings = build.decided_training(data, pipeline.training)
    shared: dict[str, Any] = {"training": settings, "seed": pipeline.seed}
    if pipeline.ranking is not None and not pipeline.two_stages:
        model = build.ranker(data, pipeline.model, pipeline.ranking, **shared)
    else:
        model = build.two_tower(data, pipeline.model, **shared)
    optimizer = build.optimizer(settings, steps_per_epoch, model=model, text=text)
    model.compile(
        optimizer=optimizer,
        jit_compile=settings.jit,
        adversarial=settings.adversarial,
        attack=settings.attack,
    )
    return model


def _mark(run: Run, data: Dataset, model: TwoTower | Ranker) -> str:
    """A hash of all that an epoch computes follows from.

    `epochs` and `patience` only say when to stop, so that a training goes on where they are raised, and `ensemble` how
    many others there are. Where the schedule follows from `epochs`, the optimizer's own settings say so.
    """
    settings = config.stage_settings(run.pipeline, "train")
    training = {name: value for name, value in settings["training"].items() if name not in FREE}
    text = inputs(run)
    optimizer = {**model.optimizer.get_config(), "name": ""}  # Keras counts names from model to model of a process.
    parts = [{**settings, "training": training}, data.manifest["content_hash"], text, optimizer]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def clear_unless_mine(
    folders: Sequence[Path], mark: str, checkpoint: TrainingCheckpoint, epochs: int, stage: str = "train"
) -> None:
    """Keep checkpoints of this very training, so that it goes on; take away those of another, and say so.

    Args:
        folders: those of the checkpoints and of TensorBoard.
        mark: of this training.
        checkpoint: what would go on.
        epochs: at most so many.
        stage: whose it is.
    """
    owner = folders[0] / OWNER
    if not owner.exists() or owner.read_text(encoding="utf-8") != mark:
        reason = "of a training with other settings, data or text model"
    elif checkpoint.overshoots(epochs):
        reason = "of a training longer than epochs and patience now allow"
    else:
        return
    there = [folder for folder in folders if folder.exists()]
    if there:
        logger.warning("%s: removing %s: %s", stage, " and ".join(map(str, there)), reason)
    owner.unlink(missing_ok=True)  # First: half of a checkpoint is nobody's.
    for folder in there:
        shutil.rmtree(folder, ignore_errors=True)
    owner.parent.mkdir(parents=True)
    write_text(owner, mark)


def inputs(run: Run) -> list[str] | None:
    """What the training reads besides the data set, by content: the text model, and the run that it starts from.

    Raises:
        ValueError: a folder is missing, or is the run's own, which the training would overwrite.
    """
    text = run.pipeline.model.text
    for name in ("start", "tuned"):
        folder = getattr(text, name)
        if folder is not None and Path(folder).resolve().is_relative_to(run.out.resolve()):
            raise ValueError(
                f"model.text.{name} is {folder!r}, which this training would overwrite: give it another --out, and "
                "another name."
            )
    marks = [build.text_mark(text), start_mark(run)]
    return [mark for mark in marks if mark] or None


def start_mark(run: Run) -> str | None:
    """A hash of the model to start from; once a training has, the run that it came from may go."""
    start = run.pipeline.model.text.start
    if start is not None and not Path(start).exists() and run.figures("train").get("start"):
        return run.figures("train")["start"]
    return None if start is None else starting.mark(start)
