"""Rank-1 forms of a request: lists of any lengths in one string a row, parted by line breaks.

A server merges requests whose tensors have equal shapes alone, and a REST row has one length: rows of rank 1 always
fit. Nothing that a row holds makes the request fail, since others may have been merged with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.serving.names import DELIMITER

# Known ids of a delimited history that are read, the newest ones: one long history makes all of a request as long.
LONGEST = 10_000
_NUMBER = "[0-9]{1,18}"  # What int64 holds.


def parts(lines: Any) -> tf.RaggedTensor:
    """The strings of each row, ragged [B, (T)], of the lines string [B]."""
    return tf.strings.split(lines, DELIMITER)


def newest_known(values: tf.RaggedTensor, known: Any) -> tf.RaggedTensor:
    """The newest `LONGEST` of the values that are known.

    Args:
        values: ragged [B, (T)].
        known: bool, one for each of the flat values.
    """
    return tf.ragged.boolean_mask(values, values.with_flat_values(known))[:, -LONGEST:]


def aligned(lines: Any, ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """What stands beside each id: the values of the lines string [B] in the form of `ids`.

    The first value is that of the first id. What a row has too many is left out, what it lacks is "".
    """
    values = parts(lines)
    row = ids.value_rowids()
    place = tf.range(tf.size(row, tf.int64)) - tf.gather(ids.row_starts(), row)
    there = place < tf.gather(values.row_lengths(), row)
    flat = tf.concat([values.flat_values, [""]], 0)
    last = tf.size(values.flat_values, tf.int64)
    return ids.with_flat_values(tf.gather(flat, tf.where(there, tf.gather(values.row_starts(), row) + place, last)))


def numbers(texts: Any) -> Any:
    """int64 of strings of digits, of their shape; 0 for anything else."""
    return tf.strings.to_number(tf.where(tf.strings.regex_full_match(texts, _NUMBER), texts, "0"), tf.int64)


def joined(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The request of a delimited form: what is [B, T], vectors apart, becomes strings [B]."""
    return {
        name: values
        if values.ndim == 1 or values.dtype == np.float32
        else np.array([DELIMITER.join(map(str, row)) for row in values], object)
        for name, values in inputs.items()
    }
