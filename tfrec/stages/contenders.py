"""What the runs of a comparison reached, read from their folders: a contender a variant, of either kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tfrec import build, config
from tfrec.evaluation import Predictions
from tfrec.features import MODEL_ROW, PER_USER, SLICES_TEST, USER_ID
from tfrec.report.comparison import Contender, Trained
from tfrec.report.prediction_comparison import TrainedRanker
from tfrec.stages.evaluate import METRICS
from tfrec.stages.evaluate_ranker import PREDICTIONS
from tfrec.stages.ledger import Run
from tfrec.stages.train import text_settings


def contender(variant: config.Variant, done: Mapping[int, Run], failed: Mapping[int, str]) -> Contender:
    """A variant of a comparison.

    Args:
        variant: the variant.
        done: seed -> its finished run.
        failed: seed -> why there is none, one line.
    """
    runs = list(done.values())
    text = text_settings(runs[0]) if runs else variant.pipeline.model.text
    ranking = variant.pipeline.ranking
    return Contender(
        variant.name,
        text=build.text_provenance(text),
        tuning="–" if text.source == "none" else text.tuning,
        encoder=" + ".join(variant.pipeline.model.behavior),
        ranking="" if ranking is None else " + ".join(ranking.interactions),
        changes=variant.changes,
        trained={seed: _trained(run) for seed, run in done.items()},
        failed=failed,
    )


def _trained(run: Run) -> Trained | TrainedRanker:
    metrics = json.loads(run.path(METRICS).read_text(encoding="utf-8"))
    if run.pipeline.predicts_labels:
        return TrainedRanker(_predictions(run, metrics), metrics, **_costs(run))
    per_user = pd.read_parquet(run.path(PER_USER))
    return Trained(
        per_user[per_user["model"] == MODEL_ROW].drop(columns="model").set_index(USER_ID),
        pd.read_parquet(run.path(SLICES_TEST)).set_index(USER_ID),
        metrics,
        **_costs(run),
    )


def _costs(run: Run) -> dict[str, Any]:
    """What training took, of both stages where there are two."""
    figures = run.figures("train")
    parts = [figures, *([run.figures("rank")] if run.pipeline.two_stages else [])]
    return {
        "parameters": sum(part["parameters"] for part in parts),
        "train_seconds": sum(part["seconds"] for part in parts) + (figures.get("start_seconds") or 0.0),
        "epoch_seconds": figures["epoch_seconds"],
        "peak_memory_mb": max(part["peak_memory_mb"] for part in parts),
    }


def _predictions(run: Run, metrics: Mapping[str, Any]) -> dict[str, Predictions]:
    """Label -> what was predicted of the events of the test split whose label is known."""
    table, found = pd.read_parquet(run.path(PREDICTIONS)), {}
    for label in metrics["labels"]:
        known = table[table[label].notna()]
        users, labels, values = (known[name].to_numpy() for name in (USER_ID, label, f"predicted_{label}"))
        found[label] = Predictions(users, labels, values, label in metrics["thresholds"])
    return found
