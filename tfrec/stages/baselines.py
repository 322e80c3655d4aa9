"""The baselines of stage 3: what needs no training, for the same users and under the same rules as the model."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from tfrec import build, config, evaluation
from tfrec.data import Dataset
from tfrec.evaluation import Catalogue, Histories
from tfrec.features import RANK, TEXT, USER_ID
from tfrec.report.results import ORACLE, Results
from tfrec.report.tables import main_cutoff
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_oracle
from tfrec.stages.train import text_settings

logger = logging.getLogger(__name__)


def baselines(run: Run, data: Dataset) -> dict[str, pd.DataFrame]:
    """Name -> recommendations for the test users."""
    catalogue = Catalogue.from_items(data.items)
    ids, depth, keep = catalogue.item_ids, run.pipeline.evaluation.depth, data.seen == "keep"
    histories = Histories.from_frame(data.history("test"), pd.Index(data.truth("test")[USER_ID].unique()), ids)
    past = data.training_sequences()
    training = Histories(past.user_ids, past.rows, past.offsets)
    found = {
        "popularity": evaluation.popularity(catalogue, histories, k=depth, keep_seen=keep),
        "cooccurrence": evaluation.cooccurrence(catalogue, histories, training, k=depth, keep_seen=keep),
    }
    vectors = _text_vectors(run, data)
    if vectors is not None:
        found["text_neighbours"] = evaluation.text_neighbours(catalogue, histories, vectors, k=depth, keep_seen=keep)
    oracle = open_oracle(run)
    if oracle is not None and RANK in oracle:
        found["oracle"] = oracle[oracle[RANK] <= depth]
    return found


def _text_vectors(run: Run, data: Dataset) -> np.ndarray | None:
    """Vectors for the text neighbours: those of the model's text, else MiniLM's.

    Returns:
        None where the text model is missing, and where so many texts would be read for the baseline alone.
    """
    if not data.items[TEXT].str.strip().any():
        return None
    text, most = text_settings(run, data), build.text.MOST_ITEMS
    if text.source == "none" and len(data.items) > most:
        logger.info(
            "no baseline of text neighbours: the model reads no text, and %d items are too many to embed theirs for "
            "the baseline alone (it is done up to %d)",
            len(data.items), most,
        )  # fmt: skip
        return None
    try:
        return build.text_vectors(data.items[TEXT], config.Text(source="minilm") if text.source == "none" else text)
    except ValueError as error:
        logger.warning("no baseline of text neighbours: %s", error)
        return None


def warn_of_better(results: Results) -> None:
    """Say it when a baseline, which needs no training, is better than the model."""
    figure = f"ndcg@{main_cutoff(results.test.metrics)}"
    ours = results.test.metrics[figure]
    for name, baseline in results.baselines.items():
        if name != ORACLE and baseline.metrics[figure] > ours:
            logger.warning(
                "the model's %s of %.4f is below that of the baseline %s, %.4f: see the training curve in report.md; "
                "more epochs, smaller batches (training.tokens_per_batch) or another training.learning_rate may help",
                figure, ours, name, baseline.metrics[figure],
            )  # fmt: skip
