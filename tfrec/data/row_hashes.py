"""A hash of each row of a table, by which rows that are the same in every column are found; used by `event_pieces`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tfrec.data.tables import Table

_ODD = np.uint64(0x9E3779B97F4A7C15)


def row_hashes(table: Table) -> np.ndarray:
    """A hash of all that a row holds, uint64 [rows]: the same for equal rows, in whichever piece of a table they are.

    Raises:
        ValueError: a column holds what cannot be compared, such as lists.
    """
    result = np.zeros(len(table.frame), np.uint64)
    for name in table.frame.columns:
        try:
            hashes = _hashes(table, name)
        except TypeError as error:
            raise ValueError(f"{table.label}: a column holds lists or the like ({error}); remove it.") from error
        result = (result ^ hashes) * _ODD
        result ^= result >> np.uint64(32)
    return result


def _hashes(table: Table, column: str) -> np.ndarray:
    series = table.frame[column]
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
        return pd.util.hash_array(series.to_numpy() + (0.0 if series.dtype.kind == "f" else 0))
    if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
        codes, values = table.factorized(column)
        texts = [repr(value) for value in values] if series.dtype == object else values.tolist()
        return np.append(pd.util.hash_array(np.array(texts, dtype=object), categorize=False), np.uint64(1))[codes]
    return pd.util.hash_pandas_object(series, index=False).to_numpy()
