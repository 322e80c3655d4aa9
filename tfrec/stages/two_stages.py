"""What stage 3 measures of two stages besides their figures: what recall alone reaches, and what diversity costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from tfrec import build
from tfrec.data import Dataset
from tfrec.evaluation import Evaluation, compare, summary
from tfrec.features import ITEM_ID
from tfrec.ranking import TwoStage, recalled_lists
from tfrec.report.tables import main_cutoff
from tfrec.report.two_stages import TRADE_OFF, TwoStages
from tfrec.retrieval import recommend
from tfrec.stages.ledger import Run

RECALL_ALONE = "recall_alone"
FIGURES = ("hr", "ndcg", "mrr")

Measure = Callable[[pd.DataFrame, str], Evaluation]  # Recommendations and the split -> their figures.


def two_stages(
    run: Run, data: Dataset, model: TwoStage, pairs: Mapping[str, tuple[Evaluation, Evaluation]], measure: Measure
) -> TwoStages:
    """What a run with two stages has to show besides its figures.

    Args:
        run: the run.
        data: its data set.
        model: both stages.
        pairs: split -> figures of both stages, and of recall alone.
        measure: figures of recommendations for the users who choose the epoch.
    """
    cutoff = main_cutoff(pairs["test"][0].metrics)
    figures = [f"{name}@{cutoff}" for name in FIGURES]
    ranking = run.pipeline.ranking
    assert ranking is not None
    share = _found(data, model)
    return TwoStages(
        recall=min(model.recall, len(model.candidates)),
        found=share["found"],
        found_half_width=share["found_half_width"],
        differences={
            split: compare(both.per_user, alone.per_user, metrics=figures) for split, (both, alone) in pairs.items()
        },
        curve=[] if ranking.diversity is None else _curve(run, data, model, cutoff, measure),
        trade_off=None if ranking.diversity is None else ranking.diversity.trade_off,
    )


def _found(data: Dataset, model: TwoStage) -> dict[str, float]:
    """The share of a test user's relevant items that is recalled, `found`, and its half-width."""
    users = data.evaluation_users("test")
    hits = recalled_lists(model.retrieval, users, model.recall).hits(users).sum(axis=1)
    return summary(pd.DataFrame({"found": hits / np.maximum(users.relevant.lengths, 1)}))


def _curve(run: Run, data: Dataset, model: TwoStage, cutoff: int, measure: Measure) -> list[dict[str, float]]:
    """Figures of the validation split for each trade-off."""
    ranking, before, points = run.pipeline.ranking, model.diversity, []
    assert ranking is not None and ranking.diversity is not None
    held_back = build.positions(data, ranking, run.pipeline.seed).held_back
    batches = data.evaluation_users("validation").dataset(256, held_back)
    for trade_off in sorted({*ranking.diversity.curve, ranking.diversity.trade_off}):
        model.diversity = build.diversity(data, ranking, trade_off)
        found = measure(recommend(model, batches, data.items[ITEM_ID], k=cutoff), "validation").metrics
        points.append({TRADE_OFF: trade_off, **{name: value for name, value in found.items() if f"@{cutoff}" in name}})
    model.diversity = before
    return points
