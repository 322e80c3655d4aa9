"""Recall: the share of the best items that an answer holds; the check of an export measures that of its index."""

from __future__ import annotations

import numpy as np


def share(expected: np.ndarray, answer: np.ndarray, cutoff: int, tolerance: float) -> float:
    """The share of the best items that the first of an answer are.

    Args:
        expected: float [C], the scores of all items that may be shown, one at least.
        answer: float [K], those of the items that are shown, best first.
        cutoff: how many are looked at, of either.
        tolerance: scores that differ by less, relative to the largest where that is above 1, are equal: it does not
            matter which of two equal items is shown.

    Returns:
        From 0 to 1.
    """
    count = min(cutoff, len(expected))
    best = np.partition(expected, len(expected) - count)[-count:]
    least = best.min() - tolerance * max(1.0, float(np.abs(best).max()))
    return min(1.0, float(np.count_nonzero(answer[:count] >= least)) / count)
