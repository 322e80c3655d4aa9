"""Predictions of labels without a model: means of the training labels, of the item's, and of the user's so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINKAGE = 10.0  # How many events at the general mean every item and user begins with.


@dataclass(frozen=True)
class LabelledEvents:
    """Labels, and whose and which item's they are, of N events; NaN = unknown.

    Attributes:
        items: int [N], item rows below `item_count`.
        labels: float [N].
        item_count: number of item rows.
    """

    items: np.ndarray
    labels: np.ndarray
    item_count: int


def label_baselines(
    events: LabelledEvents,
    training: np.ndarray,
    candidates: np.ndarray,
    history: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
) -> dict[str, np.ndarray]:
    """The mean label, the item's mean, and the item's mean corrected by the user's history.

    Means are shrunk towards the general one. Source: the baseline estimates of Koren, "Factor in the neighbors" (2010),
    section 2.1, the user's part taken from the history that the model reads too.

    Args:
        events: all events.
        training: int [M], those that train.
        candidates: int [C], those that are predicted.
        history: int [H], events of the candidates' histories, end to end.
        starts: int [C], where each candidate's history begins in `history`.
        ends: int [C], where it ends.

    Returns:
        `mean`, `item_mean` and `item_and_user_mean`, float64 [C] each, within the range of the training labels.
    """
    known = training[~np.isnan(events.labels[training])]
    labels = events.labels[known].astype(np.float64)
    mean, low, high = labels.mean(), labels.min(), labels.max()
    totals = np.bincount(events.items[known], labels - mean, events.item_count)
    offsets = totals / (np.bincount(events.items[known], minlength=events.item_count) + SHRINKAGE)
    gaps = events.labels[history] - mean - offsets[events.items[history]]
    there = ~np.isnan(gaps)
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(there, gaps, 0.0), there))
    users = (sums[ends] - sums[starts]) / (counts[ends] - counts[starts] + SHRINKAGE)
    of_item = mean + offsets[events.items[candidates]]
    return {
        "mean": np.full(len(candidates), mean),
        "item_mean": of_item,
        "item_and_user_mean": np.clip(of_item + users, low, high),
    }
