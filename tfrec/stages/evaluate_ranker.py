"""Stage 3 of a ranker: its predictions of the test split are measured beside predictions without a model."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrec import build
from tfrec.data import Label, RankingData
from tfrec.data.sequences import training_events
from tfrec.evaluation import Predictions, best_threshold, compare_predictions, measured, reliability
from tfrec.evaluation.label_baselines import LabelledEvents, label_baselines
from tfrec.features import AFTER, CANDIDATES, HISTORY, TIMESTAMP, USER_ID, context_feature
from tfrec.ranking import Ranker, RankerEnsemble, predict
from tfrec.report import describe, peak_memory_mb, write_metrics
from tfrec.report.prediction_plots import write_prediction_plots
from tfrec.report.prediction_results import LabelResults, PredictionResults, write_prediction_report
from tfrec.report.results import AS_SERVED, HISTORY_ALONE, ORACLE
from tfrec.report.summaries import write_test
from tfrec.stages.fit import TENSORBOARD
from tfrec.stages.ledger import CONFIG, Run, replaced
from tfrec.stages.prepare import open_oracle
from tfrec.stages.train import open_batches, open_ranker

METRICS, REPORT, PLOTS = "metrics.json", "report.md", "plots"
PREDICTIONS = "predictions_test.parquet"
NEW_USERS, KNOWN_USERS = "new_users", "known_users"
NEW_ITEMS, KNOWN_ITEMS = "new_items", "known_items"
BARE = (HISTORY, CANDIDATES, AFTER)  # What a request holds that says no more than it must.

logger = logging.getLogger(__name__)


def evaluate_ranker(run: Run, key: str) -> None:
    """Measure a trained ranker and write its figures, report, pictures and test predictions."""
    started, data, model = time.perf_counter(), open_batches(run), open_ranker(run)
    labelled = build.ranking_data(data, run.pipeline.ranking)
    tokens = build.batch_tokens(data, run.pipeline.training)
    oracle = open_oracle(run)

    def table_of(each: Ranker | RankerEnsemble, split: str, left_out: Collection[str] = ()) -> pd.DataFrame:
        table = predicted(each, labelled, split, tokens, left_out=left_out)
        return table if oracle is None else _beside_truth(table, labelled, oracle)

    tables = {split: table_of(model, split) for split in ("validation", "test")}
    _tell_of_new_items(labelled.new_items(tables["test"]["event"].to_numpy()))
    found = {head.name: label_results(labelled, head.name, tables) for head in model.heads}
    for variant, table in _variants(model, run.pipeline.seed, table_of).items():
        for name, each in found.items():
            own = _predictions(table, name, labelled.data.labels[name], f"predicted_{name}")
            found[name] = each.beside({variant: measured(own)})
    results = PredictionResults(
        run.pipeline.name,
        found,
        timing={**timing_of(run), "evaluate_seconds": time.perf_counter() - started},
        peak_memory_mb=max(peak_memory_mb(), *(run.figures(stage)["peak_memory_mb"] for stage in ("prepare", "train"))),
        environment=describe(),
    )
    run.begin("evaluate")
    run.finish("evaluate", key, _write(run, results, tables["test"]))


def _variants(
    model: Ranker | RankerEnsemble, seed: int, table_of: Callable[..., pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Predictions of the test split by the model that is told less, and by each model of an ensemble."""
    found = {}
    if model.context is not None and model.context.neutral:
        found[AS_SERVED] = table_of(model, "test", list(map(context_feature, model.context.neutral)))
    if more := set(model.input_spec_dict) - set(BARE):
        found[HISTORY_ALONE] = table_of(model, "test", more)
    for place, member in enumerate(model.members if isinstance(model, RankerEnsemble) else []):
        found[f"seed {seed + place} alone"] = table_of(member, "test")
    return found


def predicted(
    model: Ranker | RankerEnsemble,
    labelled: RankingData,
    split: str,
    tokens: int = 4096,
    *,
    left_out: Collection[str] = (),
) -> pd.DataFrame:
    """The candidates of a split and what the model says of them.

    Args:
        model: trained.
        labelled: the labelled events.
        split: `validation` or `test`.
        tokens: most events of a batch.
        left_out: inputs that the model is not told, and takes for missing.

    Returns:
        `event` (its place in the data set), `user_id`, `item_id`, each label, and `predicted_...` of each.
    """
    batches, events = labelled.judged(split, tokens)
    found = predict(model, batches.map(_without(left_out)) if left_out else batches)
    table = labelled.truth(events).assign(**{f"predicted_{name}": values for name, values in found.items()})
    table.insert(0, "event", events)
    return table.sort_values("event", ignore_index=True)


def _without(left_out: Collection[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def kept(batch: dict[str, Any]) -> dict[str, Any]:
        return {name: values for name, values in batch.items() if name not in left_out}

    return tf.autograph.experimental.do_not_convert(kept)  # There is nothing to convert; autograph would say so.


def _beside_truth(table: pd.DataFrame, labelled: RankingData, oracle: pd.DataFrame) -> pd.DataFrame:
    """The table with `true_...`, the true probability of each label that the oracle knows, by user and time."""
    times = labelled.data.sequences.events[TIMESTAMP][table["event"]]
    keys = [USER_ID, TIMESTAMP]
    known = oracle.rename(columns={name: f"true_{name}" for name in oracle.columns.difference(keys)})
    return table.assign(**{TIMESTAMP: times}).merge(known, how="left", on=keys, validate="1:1").drop(columns=TIMESTAMP)


def label_results(labelled: RankingData, name: str, tables: Mapping[str, pd.DataFrame]) -> LabelResults:
    """What the predictions of the splits say of one label."""
    label = labelled.data.labels[name]
    found = {split: _predictions(table, name, label, f"predicted_{name}") for split, table in tables.items()}
    threshold = best_threshold(found["validation"]) if label.binary else None
    found = {split: dataclasses.replace(each, threshold=threshold) for split, each in found.items()}
    test = found["test"]
    _tell_of_what_cannot_be_measured(name, found)
    known = tables["test"][name].notna().to_numpy()
    events = tables["test"]["event"].to_numpy()[known]
    baselines = {
        each: dataclasses.replace(test, values=values, threshold=None)
        for each, values in _baselines(labelled, name, events).items()
    }
    if test.truth is not None:
        baselines[ORACLE] = dataclasses.replace(test, values=test.truth, threshold=None)
    users, items = labelled.new_users(events), labelled.new_items(events)
    parts = {NEW_USERS: users, KNOWN_USERS: ~users, **({NEW_ITEMS: items, KNOWN_ITEMS: ~items} if items.any() else {})}
    slices = {part: test.take(which) for part, which in parts.items() if which.any()}
    main = ("auc", "log_loss") if label.binary else ("rmse", "mae")
    differences = {each: compare_predictions(test, values) for each, values in baselines.items() if each != ORACLE}
    return LabelResults(
        validation=measured(found["validation"]),
        test=measured(test),
        baselines={each: measured(values) for each, values in baselines.items()},
        slices={part: measured(values) for part, values in slices.items()},
        differences={each: {figure: gaps[figure] for figure in main} for each, gaps in differences.items()},
        reliability=reliability(test) if label.binary else None,
        threshold=threshold,
    )


def _tell_of_new_items(new: np.ndarray) -> None:
    """Warn where candidates of the test, bool [C], are items that the model has not learnt."""
    if new.any():
        logger.warning(
            "%d of %d events of test are of items without a training event, judged by what else is known of them: the "
            "slice new_items has their figures",
            new.sum(), len(new),
        )  # fmt: skip


def _tell_of_what_cannot_be_measured(name: str, found: Mapping[str, Predictions]) -> None:
    """Warn where a label has one value, or no prediction passes the threshold: figures are missing then."""
    for split, each in found.items():
        if not each.binary:
            continue
        if len(np.unique(each.labels)) == 1:
            logger.warning(
                "%s: all %d events of %s have the label %d: there is no AUC, nor a threshold that tells anything",
                name, len(each.labels), split, each.labels[0],
            )  # fmt: skip
        elif each.threshold is not None and not (each.values >= each.threshold).any():
            logger.warning(
                "%s: no prediction of %s reaches the threshold %.4g, which was the best one of validation: there is no "
                "precision; the largest prediction is %.4g",
                name, split, each.threshold, each.values.max(),
            )  # fmt: skip


def _predictions(table: pd.DataFrame, name: str, label: Label, column: str) -> Predictions:
    table = table[table[name].notna()]
    if not len(table):
        raise ValueError(f"The label {name!r} is known of no event that is to be predicted: nothing can be measured.")
    users, labels, values = (table[part].to_numpy() for part in (USER_ID, name, column))
    truth = table[f"true_{name}"].to_numpy() if f"true_{name}" in table else None
    return Predictions(users, labels, values, label.binary, truth=truth)


def _baselines(labelled: RankingData, name: str, events: np.ndarray) -> dict[str, np.ndarray]:
    """Predictions without a model of some events, in their order."""
    data, examples = labelled.data, labelled.examples("test")
    counts = np.diff(examples.candidate_offsets)
    starts = np.repeat(examples.history_offsets[:-1], counts)
    place = np.argsort(examples.candidates)
    place = place[np.searchsorted(examples.candidates[place], events)]
    labels = data.sequences.labels[name]
    training, _ = training_events(data.sequences, data.held_out > 0)
    return label_baselines(
        LabelledEvents(data.sequences.rows, labels, len(data.items)),
        training,
        events,
        examples.history,
        starts[place],
        (starts + examples.after)[place],
    )


def timing_of(run: Run) -> dict[str, float]:
    """What the stages before took, of a run of any kind."""
    trained = run.figures("train")
    names = ("epochs", "best_epoch", "epoch_seconds", "events_per_second", "parameters")
    timing = {"prepare_seconds": run.figures("prepare")["seconds"], "train_seconds": trained["seconds"]}
    if run.pipeline.two_stages:
        timing["rank_seconds"] = run.figures("rank")["seconds"]
    return {**timing, **{name: trained[name] for name in names}}


def _write(run: Run, results: PredictionResults, table: pd.DataFrame) -> list[Path]:
    with replaced(run.path(PREDICTIONS)) as temporary:
        table.drop(columns="event").to_parquet(temporary, index=False)
    document = results.document()
    write_metrics(run.path(METRICS), document)
    history, (monitor, lower) = run.figures("train")["history"], build.monitor(run.pipeline)
    curves = {name: [epoch[name] for epoch in history] for name in history[0]}
    tables = {name: each.reliability for name, each in results.labels.items() if each.reliability is not None}
    plots = write_prediction_plots(run.path(PLOTS), tables, curves, monitor, lower=lower)
    settings, command = run.pipeline.model_dump(mode="json"), f"tfrec run {run.path(CONFIG)} --out {run.out}"
    write_prediction_report(run.path(REPORT), results, plots=plots, settings=settings, command=command)
    write_test(run.path(TENSORBOARD), document["test"])
    return [run.path(name) for name in (PREDICTIONS, METRICS, REPORT, PLOTS)]
