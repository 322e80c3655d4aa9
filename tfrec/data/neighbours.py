"""Which items users have near one another, as short lists by item; the second stage reads them of its candidates."""

from __future__ import annotations

import numpy as np

from tfrec.data.sequences import Ragged
from tfrec.features import PAD

# What came before counts less than what came after, and what is further away less than what is next to it.
BACKWARD = 0.7


def neighbours(lists: Ragged, items: int, *, most: int = 32, distance: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """The items that most often stand near each item in the lists.

    Two items d events apart count 1 / d for the later one as a neighbour of the earlier one, `BACKWARD` / d the other
    way round; sums are divided by the root of the product of both items' events. Source: item-to-item co-occurrence of
    Linden, Smith and York, "Amazon.com recommendations" (2003).

    Args:
        lists: the events of users, oldest first.
        items: number of rows I of the catalogue.
        most: length M of the lists.
        distance: events apart up to which two items are near.

    Returns:
        Rows int32 [I, M], strongest first, PAD where there are fewer, and strengths float32 [I, M].
    """
    rows, owners = lists.rows.astype(np.int64), lists.owners
    keys, weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    for step in range(1, min(distance, len(rows) - 1) + 1):
        one, other = rows[:-step], rows[step:]
        near = (owners[:-step] == owners[step:]) & (one != other) & (one != PAD) & (other != PAD)
        pairs, times = np.unique(one[near] * items + other[near], return_counts=True)
        keys += [pairs, pairs % items * items + pairs // items]
        weights += [times / step, times * BACKWARD / step]
    pairs, places = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.bincount(places, np.concatenate(weights), minlength=len(pairs))
    one, other = pairs // items, pairs % items
    counts = np.bincount(rows, minlength=items)
    strength = sums / np.sqrt(np.maximum(counts[one] * counts[other], 1))
    order = np.lexsort([other, -strength, one])
    first = np.concatenate([[0], np.cumsum(np.bincount(one, minlength=items))])[:-1]
    place = np.arange(len(order)) - first[one[order]]
    order, place = order[place < most], place[place < most]
    near_rows, strengths = np.zeros((items, most), np.int32), np.zeros((items, most), np.float32)
    near_rows[one[order], place] = other[order]
    strengths[one[order], place] = strength[order]
    return near_rows, strengths
