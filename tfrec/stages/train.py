"""Stage 2: the data set becomes a trained model; an interrupted training goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tfrec import build, config
from tfrec.build import starting
from tfrec.data import Dataset, EpochPlan, ExamplePlan
from tfrec.features import ITEM_ID, TITLE
from tfrec.ranking import Ranker, load_ranker
from tfrec.report import peak_memory_mb
from tfrec.report.summaries import ProjectorWriter, ThroughputSummary
from tfrec.retrieval import TextTunedTwoTower, TwoTower, load_model
from tfrec.stages.ledger import CONFIG, LEDGER, Run, write_text
from tfrec.stages.prepare import open_dataset
from tfrec.stages.stage import Stage
from tfrec.towers import text_weights
from tfrec.towers.text import TextEncoder
from tfrec.training import TrainingCheckpoint, train

CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
MODEL, OWNER, TEXT_WEIGHTS = "model.keras", "key", "text"

Model = TypeVar("Model", TwoTower, Ranker)

logger = logging.getLogger(__name__)


def open_model(run: Run) -> TwoTower:
    """The trained two-tower model of a run, its best epoch.

    Raises:
        ValueError: the file is damaged.
    """
    return _opened(run, load_model)


def open_ranker(run: Run) -> Ranker:
    """The trained ranker of a run, its best epoch.

    Raises:
        ValueError: the file is damaged.
    """
    return _opened(run, load_ranker)


def _opened(run: Run, load: Callable[[Path], Model]) -> Model:
    try:
        return load(run.path(CHECKPOINTS, MODEL))
    except ValueError as error:
        raise ValueError(f"{error}. Remove it: it is made again from the checkpoint.") from error


def text_settings(run: Run, data: Dataset | None = None) -> config.Text:
    """The section `model.text` of a run, what it leaves to the data decided."""
    text = run.pipeline.model.text
    return build.decided_text(text, data or open_dataset(run)) if text.source == "auto" else text


def open_batches(run: Run) -> Dataset:
    """The prepared data set of a run; its batches carry the vectors of the users' texts, where the model reads them."""
    data = open_dataset(run)
    build.read_user_texts(data, run.pipeline.model)
    return data


def text_encoder(run: Run) -> TextEncoder | None:
    """What embeds texts as the trained model of a run read them; None where it reads none."""
    settings = text_settings(run)
    return build.text_encoder(settings, run.path(CHECKPOINTS, TEXT_WEIGHTS) if build.tuning(settings) else None)


def embed_texts(run: Run, texts: list[str]) -> np.ndarray | None:
    """float32 [N, W]: the vectors that the trained model's text tower makes of N texts; None where it reads none."""
    encoder = text_encoder(run)
    return None if encoder is None else encoder.embed(texts)


def _perform(run: Run, key: str) -> None:
    settings, data = run.pipeline.training, open_batches(run)
    epochs = build.epochs(data, settings)
    if run.pipeline.two_stages and run.pipeline.ranking is not None:
        build.positions(data, run.pipeline.ranking)  # What it cannot learn from is said before a long training.
    plan, validation = _batches(run, data)
    model = compiled(run, data, len(plan))
    run.begin("train")
    monitor, lower = build.monitor(run.pipeline)
    checkpoint = TrainingCheckpoint(
        run.path(CHECKPOINTS), monitor=monitor, patience=settings.patience, lower=lower
    )  # fmt: skip
    _clear_unless_mine(run, _mark(run, data, model), checkpoint, epochs)
    throughput = ThroughputSummary(run.path(TENSORBOARD), data.manifest["counts"]["train_targets"])
    with contextlib.redirect_stdout(sys.stderr):  # Keras shows its progress on standard output.
        history = train(
            model,
            plan,
            validation,
            checkpoint,
            epochs=epochs,
            seed=run.pipeline.seed,
            callbacks=[throughput, keras.callbacks.TensorBoard(str(run.path(TENSORBOARD)))],
            verbose=1 if sys.stderr.isatty() else 2,
        )
    files = _save(run, model)
    _write_projector(run, data, model)
    seconds = [epoch["epoch_seconds"] for epoch in history]
    run.finish(
        "train",
        key,
        files,
        start=_start(run),
        start_seconds=_start_seconds(run),
        seconds=sum(seconds),
        epochs=len(history),
        best_epoch=checkpoint.best_epoch + 1,
        epoch_seconds=statistics.median(seconds),
        events_per_second=statistics.median(epoch["events_per_second"] for epoch in history),
        parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        peak_memory_mb=peak_memory_mb(),
        history=history,
    )


def _batches(run: Run, data: Dataset) -> tuple[EpochPlan | ExamplePlan, tf.data.Dataset]:
    """The plan of the training batches, and those that validate: of next items, or of labelled events."""
    tokens, ranking = build.batch_tokens(data, run.pipeline.training), run.pipeline.ranking
    if ranking is None or run.pipeline.two_stages:
        return data.train_plan(tokens, run.pipeline.seed), data.validation()
    labelled = build.ranking_data(data, ranking)
    return labelled.train_plan(tokens, run.pipeline.seed), labelled.judged("validation", tokens)[0]


def compiled(run: Run, data: Dataset, steps_per_epoch: int) -> TwoTower | Ranker:
    """The model of a pipeline as its training begins: the seed's initial weights, or those of the run to start from."""
    pipeline, text = run.pipeline, run.pipeline.model.text
    settings = pipeline.training.model_copy(update={"epochs": build.epochs(data, pipeline.training)})
    shared: dict[str, Any] = {"training": settings, "seed": pipeline.seed}
    if pipeline.ranking is not None and not pipeline.two_stages:
        model = build.ranker(data, pipeline.model, pipeline.ranking, **shared)
    else:
        model = build.two_tower(data, pipeline.model, **shared)
    optimizer = build.optimizer(settings, steps_per_epoch, model=model, text=text)
    model.compile(optimizer=optimizer, jit_compile=settings.jit, adversarial=settings.adversarial)
    return model


def _mark(run: Run, data: Dataset, model: TwoTower | Ranker) -> str:
    """A hash of all that an epoch computes follows from.

    `epochs` and `patience` only say when to stop, so that a training goes on where they are raised. Where the
    schedule follows from `epochs`, the optimizer's own settings say so.
    """
    settings = config.stage_settings(run.pipeline, "train")
    training = {name: value for name, value in settings["training"].items() if name not in ("epochs", "patience")}
    text = _inputs(run)
    optimizer = {**model.optimizer.get_config(), "name": ""}  # Keras counts names from model to model of a process.
    parts = [{**settings, "training": training}, data.manifest["content_hash"], text, optimizer]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _clear_unless_mine(run: Run, mark: str, checkpoint: TrainingCheckpoint, epochs: int) -> None:
    """Keep checkpoints of this very training, so that it goes on; take away those of another, and say so."""
    owner = run.path(CHECKPOINTS, OWNER)
    if not owner.exists() or owner.read_text(encoding="utf-8") != mark:
        reason = "of a training with other settings, data or text model"
    elif checkpoint.overshoots(epochs):
        reason = "of a training longer than training.epochs and training.patience now allow"
    else:
        return
    there = [folder for folder in map(run.path, (CHECKPOINTS, TENSORBOARD)) if folder.exists()]
    if there:
        logger.warning("train: removing %s: %s", " and ".join(map(str, there)), reason)
    owner.unlink(missing_ok=True)  # First: half of a checkpoint is nobody's.
    for folder in there:
        shutil.rmtree(folder, ignore_errors=True)
    owner.parent.mkdir(parents=True)
    write_text(owner, mark)


def _write_projector(run: Run, data: Dataset, model: TwoTower | Ranker) -> None:
    ids, titles = data.items[ITEM_ID].tolist(), data.items[TITLE].tolist()
    vectors = np.asarray(model.item_vectors() if isinstance(model, TwoTower) else model.item_tower(), np.float32)
    ProjectorWriter(run.path(TENSORBOARD)).write(vectors, ids, titles)


def _save(run: Run, model: TwoTower | Ranker) -> list[Path]:
    """Write the towers, and the tuned text weights beside them, under temporary names first; what was written."""
    written = []
    if isinstance(model, TextTunedTwoTower):
        model.refresh()
        chosen = build.tuning(run.pipeline.model.text)
        assert chosen is not None
        written.append(text_weights.save(model.text, chosen, run.path(CHECKPOINTS, TEXT_WEIGHTS)))
        model = model.without_text
    if isinstance(model, TwoTower):
        model.lend_ids()  # The weights are those of the best epoch now, not of the last one.
    path = run.path(CHECKPOINTS, MODEL)
    temporary = path.with_name("writing-" + path.name)
    model.save(temporary)
    os.replace(temporary, path)
    settings = run.path(CHECKPOINTS, CONFIG)  # Those of this model, whatever the run is told later.
    write_text(settings, config.dump(run.pipeline))
    return [path, settings, *written]


def _inputs(run: Run) -> list[str] | None:
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
    marks = [build.text_mark(text), _start(run)]
    return [mark for mark in marks if mark] or None


def _start(run: Run) -> str | None:
    """A hash of the model to start from; once a training has, the run that it came from may go."""
    start = run.pipeline.model.text.start
    if start is not None and not Path(start).exists() and run.figures("train").get("start"):
        return run.figures("train")["start"]
    return None if start is None else starting.mark(start)


def _start_seconds(run: Run) -> float | None:
    """What the training of the run to start from took, and that of its own start."""
    start = run.pipeline.model.text.start
    if start is None:
        return None
    try:
        before = json.loads((Path(start) / LEDGER).read_text(encoding="utf-8"))["train"]
        return before["seconds"] + (before.get("start_seconds") or 0.0)
    except (OSError, ValueError, KeyError):
        return None


train_stage = Stage(_perform, reads="prepare", inputs=_inputs)
