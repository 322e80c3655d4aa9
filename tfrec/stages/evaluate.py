"""Stage 3: the trained model is measured beside the baselines; figures, report and recommendations are written."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pandas as pd

from tfrec import build, evaluation
from tfrec.data import Dataset
from tfrec.evaluation import Catalogue, Evaluation, Histories
from tfrec.features import EVENTS_SCORED, HISTORY, ITEM_ID, RECOMMENDATIONS_TEST, RELEVANT, SEEN, TEXT, USER_ID
from tfrec.report import Results, describe, peak_memory_mb, write_metrics, write_plots, write_report
from tfrec.report.summaries import write_test
from tfrec.retrieval import TwoTower, recommend
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import DATASET, open_dataset, open_oracle
from tfrec.stages.stage import Stage
from tfrec.stages.train import TENSORBOARD, open_model

METRICS, REPORT = "metrics.json", "report.md"
HISTORY_ALONE = "history alone"
BARE = (HISTORY, SEEN, RELEVANT, USER_ID)


def evaluate(
    model: TwoTower, data: Dataset, split: str = "test", *, cutoffs: Any = evaluation.CUTOFFS, depth: int = 50
) -> Evaluation:
    """Measure a model on a split of its data set, full ranking.

    Args:
        model: trained.
        data: the data set that it was built for.
        split: `test` or `validation`.
        cutoffs: the k of each figure.
        depth: items ranked a user.

    Returns:
        Figures with half-widths, slices, and a table by user.
    """
    batches = data.test() if split == "test" else data.validation()
    table = recommend(model, batches, data.items[ITEM_ID], k=depth)
    return _measure(table, data, split, cutoffs=cutoffs, vectors=model.item_vectors().numpy())


def _measure(table: pd.DataFrame, data: Dataset, split: str, *, cutoffs: Any, vectors: np.ndarray) -> Evaluation:
    return evaluation.evaluate(
        table,
        data.truth(split),
        data.items,
        history=data.history(split),
        cutoffs=cutoffs,
        keep_seen=data.seen == "keep",
        item_vectors=vectors,
    )


def _baselines(run: Run, data: Dataset) -> dict[str, pd.DataFrame]:
    """Name -> recommendations for the test users."""
    catalogue = Catalogue.from_items(data.items)
    ids, depth, keep = catalogue.item_ids, run.pipeline.evaluation.depth, data.seen == "keep"
    histories = Histories.from_frame(data.history("test"), data.truth("test")[USER_ID].unique(), ids)
    past = data.training_sequences()
    training = Histories(past.user_ids, past.rows, past.offsets)
    found = {
        "popularity": evaluation.popularity(catalogue, histories, k=depth, keep_seen=keep),
        "cooccurrence": evaluation.cooccurrence(catalogue, histories, training, k=depth, keep_seen=keep),
    }
    vectors = build.text_vectors(data.items[TEXT], run.pipeline.model.text.source)
    if vectors is not None:
        found["text_neighbours"] = evaluation.text_neighbours(catalogue, histories, vectors, k=depth, keep_seen=keep)
    oracle = open_oracle(run)
    if oracle is not None:
        found["oracle"] = oracle[oracle["rank"] <= depth]
    return found


def _key(run: Run, before: str) -> str:
    return run.key("evaluate", before)


def _complete(run: Run) -> bool:
    return all(run.path(name).exists() for name in (METRICS, REPORT, RECOMMENDATIONS_TEST, EVENTS_SCORED))


def _perform(run: Run, key: str) -> dict[str, Any]:
    data, model, measured = open_dataset(run), open_model(run), run.pipeline.evaluation
    vectors = model.item_vectors().numpy()
    shared = {"cutoffs": measured.cutoffs, "vectors": vectors}
    table = recommend(model, data.test(), data.items[ITEM_ID], k=measured.depth)
    _write_parquet(table, run, RECOMMENDATIONS_TEST)
    baselines = _baselines(run, data)
    variants = {}
    if len(model.input_spec_dict) > 1:
        bare = data.test().map(lambda batch: {name: batch[name] for name in BARE})
        variants[HISTORY_ALONE] = recommend(model, bare, data.items[ITEM_ID], k=measured.depth)
    results = Results(
        name=run.pipeline.name,
        validation=evaluate(model, data, "validation", cutoffs=measured.cutoffs, depth=measured.depth).metrics,
        test=_measure(table, data, "test", **shared),
        baselines={name: _measure(found, data, "test", **shared) for name, found in baselines.items()},
        variants={name: _measure(found, data, "test", **shared) for name, found in variants.items()},
        timing=_timing(run),
        peak_memory_mb=max(run.figures("train")["peak_memory_mb"], peak_memory_mb()),
        environment=describe(),
    )
    shutil.copyfile(run.path(DATASET, EVENTS_SCORED), run.path(EVENTS_SCORED))
    write_metrics(run.path(METRICS), results.document())
    history = run.figures("train")["history"]
    curves = {name: [epoch[name] for epoch in history] for name in history[0]}
    plots = write_plots(run.path("plots"), results, curves)
    settings, command = run.pipeline.model_dump(mode="json"), f"tfrec run pipelines/{run.pipeline.name}.yaml"
    write_report(run.path(REPORT), results, plots=plots, settings=settings, command=command)
    write_test(run.path(TENSORBOARD), results.test.metrics)
    return {"metrics": {name: results.test.metrics.get(name) for name in ("hr@10", "ndcg@10", "mrr@10")}}


def _timing(run: Run) -> dict[str, float]:
    trained = run.figures("train")
    names = ("epochs", "best_epoch", "epoch_seconds", "events_per_second", "parameters")
    return {
        "prepare_seconds": run.figures("prepare")["seconds"],
        "train_seconds": trained["seconds"],
        **{name: trained[name] for name in names},
    }


def _write_parquet(table: pd.DataFrame, run: Run, name: str) -> None:
    temporary = run.path("." + name)
    table.to_parquet(temporary, index=False)
    os.replace(temporary, run.path(name))


evaluate_stage = Stage(_key, _complete, _perform)
