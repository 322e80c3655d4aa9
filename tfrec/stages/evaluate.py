"""Stage 3: the trained model is measured beside the baselines; figures, report and recommendations are written."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrec import build, evaluation
from tfrec.data import Dataset
from tfrec.evaluation import Evaluation
from tfrec.features import (
    EVENTS_SCORED,
    HISTORY,
    ITEM_ID,
    MODEL_ROW,
    PER_USER,
    RECOMMENDATIONS_TEST,
    RELEVANT,
    SEEN,
    SLICES_TEST,
    USER_ID,
    USER_TEXT,
)
from tfrec.ranking import TwoStage
from tfrec.report import Results, describe, peak_memory_mb, write_metrics, write_plots, write_report
from tfrec.report.results import HISTORY_ALONE
from tfrec.report.summaries import write_test
from tfrec.report.tables import main_cutoff
from tfrec.report.two_stage_section import diversity_plot
from tfrec.retrieval import TwoTower, members, recommend
from tfrec.stages.baselines import baselines, warn_of_better
from tfrec.stages.evaluate_ranker import METRICS, PLOTS, REPORT, evaluate_ranker, timing_of
from tfrec.stages.fit import TENSORBOARD
from tfrec.stages.ledger import CONFIG, DATASET, Run, replaced
from tfrec.stages.rank import open_two_stage
from tfrec.stages.stage import Stage
from tfrec.stages.train import open_batches, open_model
from tfrec.stages.two_stages import RECALL_ALONE, two_stages

DISTURBED = "histories disturbed"
BARE = (HISTORY, SEEN, RELEVANT, USER_ID)


def evaluate(
    model: TwoTower | TwoStage,
    data: Dataset,
    split: str = "test",
    *,
    cutoffs: Any = evaluation.CUTOFFS,
    depth: int = 50,
    users: Any = None,
) -> Evaluation:
    """Measure a model on a split of its data set, full ranking.

    Args:
        model: trained.
        data: the data set that it was built for.
        split: `test` or `validation`.
        cutoffs: the k of each figure.
        depth: items ranked a user.
        users: ids of those who count; all where None.

    Returns:
        Figures with half-widths, slices, and a table by user.

    Raises:
        ValueError: `data` is no data set: batches alone do not say what is measured. Or the model reads the users'
            texts, and the batches lack their vectors.
    """
    if not isinstance(data, Dataset):
        raise ValueError(
            "`data` must be the data set, as tfrec.data.prepare returns, not batches of it; received "
            f"{type(data).__name__}. Call tfrec.evaluate(model, dataset), with split='validation' for the other split."
        )
    if USER_TEXT in model.input_spec_dict and not data.has_text_vectors:
        raise ValueError(
            "`data` was opened anew, and its batches lack the vectors of the users' texts, which the model reads: call "
            "tfrec.build.read_user_texts(data, settings) first, with the settings of the model."
        )
    asked = data.evaluation_users(split)
    members = None if users is None else np.flatnonzero(np.isin(asked.histories.user_ids, users))
    batches = asked.dataset(256, members)
    table = recommend(model, batches, data.items[ITEM_ID], k=depth)
    return _measure(table, data, split, cutoffs=cutoffs, vectors=model.item_vectors().numpy(), users=users)


def _measure(
    table: pd.DataFrame, data: Dataset, split: str, *, cutoffs: Any, vectors: np.ndarray, users: Any = None
) -> Evaluation:
    """Measure recommendations; where items were held out of training, these and no others are the cold ones."""
    truth = data.truth(split)
    items = data.items.assign(candidate=data.candidates(split))
    held_out = items.loc[items["held_out"] > 0, ITEM_ID]
    return evaluation.evaluate(
        table,
        truth if users is None else truth[truth[USER_ID].isin(users)],
        items,
        history=data.history(split),
        cutoffs=cutoffs,
        keep_seen=data.seen == "keep",
        item_vectors=vectors,
        cold=set(held_out) if len(held_out) else None,
    )


def _perform(run: Run, key: str) -> None:
    if run.pipeline.ranking is not None and not run.pipeline.two_stages:
        evaluate_ranker(run, key)
        return
    started, data = time.perf_counter(), open_batches(run)
    model = open_two_stage(run, data) if run.pipeline.two_stages else open_model(run)
    table = recommend(model, data.test(), data.items[ITEM_ID], k=_depth(run))
    results = _results(run, data, model, table)
    results = dataclasses.replace(
        results,
        timing={**timing_of(run), "evaluate_seconds": time.perf_counter() - started},
        peak_memory_mb=max(peak_memory_mb(), *(run.figures(stage)["peak_memory_mb"] for stage in _before(run))),
        environment=describe(),
    )
    warn_of_better(results)
    run.begin("evaluate")
    run.finish("evaluate", key, _write(run, results, table))


def _before(run: Run) -> tuple[str, ...]:
    """The stages that the figures come from."""
    return ("prepare", "train", "rank") if run.pipeline.two_stages else ("prepare", "train")


def _depth(run: Run) -> int:
    """Items ranked a user: no more than are recalled."""
    ranking, depth = run.pipeline.ranking, run.pipeline.evaluation.depth
    return depth if ranking is None or ranking.recall is None else min(depth, ranking.recall)


def _results(run: Run, data: Dataset, model: TwoTower | TwoStage, table: pd.DataFrame) -> Results:
    """The figures of the recommendations `table`, of the baselines, and of the model asked with the history alone."""
    measured, depth = run.pipeline.evaluation, _depth(run)
    shared = {"cutoffs": measured.cutoffs, "vectors": model.item_vectors().numpy()}
    variants, disturbed = {}, {}
    if len(model.input_spec_dict) > 1:
        variants[HISTORY_ALONE] = recommend(model, data.test().map(_bare), data.items[ITEM_ID], k=depth)
    two = isinstance(model, TwoStage)  # Of which the first is the ensemble.
    for place, member in enumerate(members(model.retrieval if two else model)):
        seed = run.pipeline.seed + place
        found = recommend(member, data.test(), data.items[ITEM_ID], k=depth)
        variants[f"recall alone, seed {seed}" if two else f"seed {seed} alone"] = found
    if measured.disturbed is not None:
        for split, users in (("validation", _judges(run, data)), ("test", None)):
            noisy = data.disturbed(split, **measured.disturbed.model_dump())
            found = recommend(model, noisy, data.items[ITEM_ID], k=depth)
            disturbed[split] = _measure(found, data, split, users=users, **shared)
    test = _measure(table, data, "test", **shared)
    results = Results(
        name=run.pipeline.name,
        validation=_validation(run, model, data),
        test=test,
        baselines={name: _measure(found, data, "test", **shared) for name, found in baselines(run, data).items()},
        variants={
            **{name: _measure(found, data, "test", **shared) for name, found in variants.items()},
            **({DISTURBED: disturbed["test"]} if disturbed else {}),
        },
        validation_variants={DISTURBED: disturbed["validation"]} if disturbed else {},
    )
    return _beside_recall(run, data, model, results) if isinstance(model, TwoStage) else results


def _validation(run: Run, model: TwoTower | TwoStage, data: Dataset) -> Evaluation:
    """The figures of the validation split."""
    cutoffs = run.pipeline.evaluation.cutoffs
    return evaluate(model, data, "validation", cutoffs=cutoffs, depth=_depth(run), users=_judges(run, data))


def _judges(run: Run, data: Dataset) -> np.ndarray | None:
    """The users whose validation events count: of two stages those who chose the epoch, else all, which is None."""
    ranking = run.pipeline.ranking
    if not run.pipeline.two_stages or ranking is None:
        return None
    return build.positions(data, ranking, run.pipeline.seed).held_back_ids


def _beside_recall(run: Run, data: Dataset, model: TwoStage, results: Results) -> Results:
    """The results with recall alone as the first baseline, and what is to be said of two stages."""
    cutoffs, vectors = run.pipeline.evaluation.cutoffs, model.item_vectors().numpy()
    recalled = recommend(model.retrieval, data.test(), data.items[ITEM_ID], k=_depth(run))
    alone = _measure(recalled, data, "test", cutoffs=cutoffs, vectors=vectors)
    pairs = {
        "validation": (results.validation, _validation(run, model.retrieval, data)),
        "test": (results.test, alone),
    }
    users = results.validation.per_user.index

    def measure(table: pd.DataFrame, split: str) -> Evaluation:
        return _measure(table, data, split, cutoffs=cutoffs, vectors=vectors, users=users)

    return dataclasses.replace(
        results,
        baselines={RECALL_ALONE: alone, **results.baselines},
        two_stages=two_stages(run, data, model, pairs, measure),
    )


@tf.autograph.experimental.do_not_convert  # There is nothing to convert, and what autograph says of it is noise.
def _bare(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: batch[name] for name in BARE}


def _write(run: Run, results: Results, table: pd.DataFrame) -> list[Path]:
    """Write what people and programs read; the files."""
    _write_parquet(table, run, RECOMMENDATIONS_TEST)
    _write_parquet(_per_user(results), run, PER_USER)
    groups = pd.DataFrame(results.test.groups, index=results.test.per_user.index)
    _write_parquet(groups.reset_index(), run, SLICES_TEST)
    with replaced(run.path(EVENTS_SCORED)) as temporary:
        shutil.copyfile(run.path(DATASET, EVENTS_SCORED), temporary)
    write_metrics(run.path(METRICS), results.document())
    history = run.figures(_before(run)[-1])["history"]
    curves = {name: [epoch[name] for epoch in history] for name in history[0]}
    plots = write_plots(run.path(PLOTS), results, curves)
    if results.two_stages is not None and results.two_stages.curve:
        path = os.path.join(run.path(PLOTS), "diversity.png")
        diversity_plot(path, results.two_stages, main_cutoff(results.test.metrics))
        plots["Quality against diversity and coverage, by the trade-off, on the validation split"] = path
    settings, command = run.pipeline.model_dump(mode="json"), f"tfrec run {run.path(CONFIG)} --out {run.out}"
    write_report(run.path(REPORT), results, plots=plots, settings=settings, command=command)
    write_test(run.path(TENSORBOARD), results.test.metrics)
    tables = (RECOMMENDATIONS_TEST, PER_USER, SLICES_TEST, EVENTS_SCORED)
    return [run.path(name) for name in (*tables, METRICS, REPORT, PLOTS)]


def _per_user(results: Results) -> pd.DataFrame:
    """One row a user and model: `model` (`MODEL_ROW` is the trained one), `user_id`, every figure."""
    variants = {f"{MODEL_ROW}, {name}": each for name, each in results.variants.items()}
    found = {MODEL_ROW: results.test, **variants, **results.baselines}
    tables = [each.per_user.reset_index().assign(model=name) for name, each in found.items()]
    return pd.concat(tables, ignore_index=True)


def _write_parquet(table: pd.DataFrame, run: Run, name: str) -> None:
    with replaced(run.path(name)) as temporary:
        table.to_parquet(temporary, index=False)


evaluate_stage = Stage(_perform, reads="train")
