"""Evaluation: full-ranking figures, slices, comparisons and baselines, from tables alone (NumPy and pandas only)."""

from tfrec.evaluation.baselines import cooccurrence, popularity, text_neighbours
from tfrec.evaluation.bootstrap import Difference, against_published, compare
from tfrec.evaluation.catalogue import DEPTH, Catalogue, Histories, best, recommendation_table
from tfrec.evaluation.lists import CUTOFFS
from tfrec.evaluation.metrics import category_vectors, summary, user_metrics
from tfrec.evaluation.predictions import Predictions, best_threshold, compare_predictions, measured, reliability
from tfrec.evaluation.ranking import Evaluation, evaluate

__all__ = [
    "CUTOFFS",
    "DEPTH",
    "Catalogue",
    "Difference",
    "Evaluation",
    "Histories",
    "Predictions",
    "against_published",
    "best",
    "best_threshold",
    "category_vectors",
    "compare",
    "compare_predictions",
    "cooccurrence",
    "evaluate",
    "measured",
    "popularity",
    "recommendation_table",
    "reliability",
    "summary",
    "text_neighbours",
    "user_metrics",
]
