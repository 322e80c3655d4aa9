"""The stage between training and figures of a pipeline with two stages: the ranker learns what to do with recall."""

from __future__ import annotations

import logging
import math
import statistics
import time
from pathlib import Path
from typing import Any

from tfrec import build, config
from tfrec.data import CandidatePlan, Dataset
from tfrec.ranking import TwoStage, load_two_stage, recalled_lists
from tfrec.report import peak_memory_mb
from tfrec.stages.fit import TENSORBOARD, clear_unless_mine, summaries, watched
from tfrec.stages.ledger import Run, replaced
from tfrec.stages.stage import Stage
from tfrec.stages.train import open_batches, open_model
from tfrec.training import TrainingCheckpoint

RANKING, MODEL = "ranking", "model.keras"
SAMPLE = 20  # Batches by which the inputs are standardised.

logger = logging.getLogger(__name__)


def open_two_stage(run: Run, data: Dataset) -> TwoStage:
    """The trained two stages of a run; how an answer is chosen is what the settings say now.

    Raises:
        ValueError: the file is damaged.
    """
    path, ranking = run.path(RANKING, MODEL), run.pipeline.ranking
    assert ranking is not None
    try:
        model = load_two_stage(path)
    except ValueError as error:
        raise ValueError(f"{error}. Remove it: it is made again from the checkpoint.") from error
    model.rank, model.diversity = ranking.rank, build.diversity(data, ranking)
    return model


def _perform(run: Run, key: str) -> None:
    ranking, data, started = run.pipeline.ranking, open_batches(run), time.perf_counter()
    assert ranking is not None and ranking.recall is not None
    learning, retrieval = ranking.learning, open_model(run)
    found = build.positions(data, ranking, run.pipeline.seed)
    recalled = recalled_lists(retrieval, found.train, ranking.recall)
    plan = build.candidate_plan(data, found, recalled, ranking, run.pipeline.seed)
    mined = time.perf_counter() - started
    logger.info("rank: %d positions of %d were recalled", plan.positions, len(found.members))
    model = _compiled(run, retrieval, data, plan)
    run.begin("rank")
    folder, board = run.path(RANKING), run.path(TENSORBOARD, RANKING)
    checkpoint = TrainingCheckpoint(
        folder, monitor=run.pipeline.training.monitor, patience=learning.patience,
        cure="Lower ranking.learning.learning_rate",
    )  # fmt: skip
    clear_unless_mine((folder, board), key, checkpoint, learning.epochs, "rank")
    history = watched(
        model,
        (plan, found.validation.dataset(256, found.held_back)),
        checkpoint,
        epochs=learning.epochs,
        seed=run.pipeline.seed,
        callbacks=summaries(board, plan.positions),
    )
    run.finish(
        "rank",
        key,
        [_save(run, model)],
        seconds=sum(epoch["epoch_seconds"] for epoch in history) + mined,
        mining_seconds=mined,
        epochs=len(history),
        best_epoch=checkpoint.best_epoch + 1,
        epoch_seconds=statistics.median(epoch["epoch_seconds"] for epoch in history),
        positions=plan.positions,
        parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        peak_memory_mb=peak_memory_mb(),
        history=history,
    )


def _compiled(run: Run, retrieval: Any, data: Dataset, plan: CandidatePlan) -> TwoStage:
    """The model as its training begins."""
    ranking = run.pipeline.ranking
    assert ranking is not None
    plain = ranking.model_copy(update={"diversity": None})  # It is chosen anew whenever the model is opened.
    model = build.two_stage(retrieval, data, plain, seed=run.pipeline.seed)
    model.adapt(plan.dataset().take(SAMPLE))
    plan.epoch = 0
    model.compile(optimizer=build.optimizer(config.Training(**ranking.learning.training), len(plan), model=model))
    return model


def _save(run: Run, model: TwoStage) -> Path:
    path = run.path(RANKING, MODEL)
    with replaced(path) as temporary:
        model.save(temporary)
    return path


rank_stage = Stage(_perform, reads="train")
