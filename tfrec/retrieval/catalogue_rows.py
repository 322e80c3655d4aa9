"""Rows of the catalogue: which may be recommended, and where rows stand among others; used by the two-tower models."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import PAD


def candidate_rows(candidates: Any, items: int) -> np.ndarray:
    """The distinct rows that may be recommended, int [C], in the catalogue's order; all but padding where None.

    Raises:
        ValueError: no rows, or one that is none of the `items` rows.
    """
    if candidates is None:
        return np.arange(PAD + 1, items)
    rows = np.asarray(candidates)
    if rows.dtype == bool or not rows.size or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"`candidates` must be the rows of at least one item; received {rows.size} of {rows.dtype}.")
    if rows.min() <= PAD or rows.max() >= items:
        raise ValueError(
            f"`candidates` must be rows from {PAD + 1} to {items - 1}; received {rows.min()} to {rows.max()}."
        )
    return np.unique(rows)


def places_of(rows: Any, values: Any) -> Any:
    """Where each of `values` stands in `rows`; the first place where it stands there twice."""
    order = tf.argsort(rows, stable=True)
    found = tf.searchsorted(tf.gather(rows, order), tf.reshape(values, [-1]))
    return tf.reshape(tf.gather(order, found), tf.shape(values))
