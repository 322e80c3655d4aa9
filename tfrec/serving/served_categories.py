"""The categories by which a request may filter: those of the whole table of items; `Contract` holds them.

A model knows the values that training events mention, and no others: what it learnt nothing of is missing to it. A
filter needs no learning. It takes every value that an item has, that of a new or an untrained item too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.items import category_values, codes_of
from tfrec.data.vocabulary import Vocabulary
from tfrec.features import PAD

SHOWN = 10  # values of a column that a manifest names; the file beside it has all


@dataclass(frozen=True)
class ServedCategories:
    """The categories of the items, all columns side by side.

    Attributes:
        codes: int32 [I, M], those of each item, 0 = none.
        columns: column -> how many values it has.
        values: `column=value` of each category, column by column; value i has code i + 1.
    """

    codes: np.ndarray
    columns: Mapping[str, int]
    values: tuple[str, ...]

    @classmethod
    def of(cls, data: Any, rows: int) -> ServedCategories:
        """Those of a data set with `rows` items: its categorical columns, as its table of items holds them.

        A data set whose manifest does not say how a cell is read, which `prepare` did not write, gives the codes of its
        `item_categories`, named by its vocabularies.
        """
        parts, columns, values = [np.zeros((rows, 1), np.int32)], {}, list[str]()
        for column, known in getattr(data, "item_categories", {}).items():
            codes, names = _column(data, column, known)
            parts.append(np.where(codes != PAD, codes + len(values), PAD))
            columns[column] = len(names)
            values += [f"{column}={value}" for value in names]
        return cls(np.concatenate(parts[1:] or parts, axis=1).astype(np.int32), columns, tuple(values))

    @classmethod
    def none(cls, rows: int) -> ServedCategories:
        """Those of items that have none."""
        return cls(np.zeros((rows, 1), np.int32), {}, ())

    def reordered(self, order: np.ndarray) -> ServedCategories:
        """The same for the items at int [I] `order`."""
        return dataclasses.replace(self, codes=self.codes[order])

    def table(self, candidates: np.ndarray) -> pd.DataFrame:
        """What may be sent: `category`, its `column` and `value`, and how many `items` and `candidates` have it.

        Args:
            candidates: bool [I], the items that may be recommended.
        """
        columns = np.repeat(np.array(list(self.columns), object), list(self.columns.values()))
        counts = [np.bincount(codes.ravel(), minlength=len(self.values) + 1) for codes in self._of(candidates)]
        return pd.DataFrame(
            {
                "category": np.array(self.values, object),
                "column": columns,
                "value": [name[len(column) + 1 :] for name, column in zip(self.values, columns, strict=True)],
                "items": counts[0][1:],
                "candidates": counts[1][1:],
            }
        )

    def _of(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.codes, self.codes[candidates]

    def described(self) -> dict[str, dict[str, Any]]:
        """What a manifest says of each column: the number of its `values`, and the `first` ones as they are sent."""
        result, start = {}, 0
        for column, count in self.columns.items():
            result[column] = {"values": count, "first": list(self.values[start : start + min(count, SHOWN)])}
            start += count
        return result


def _column(data: Any, column: str, known: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Int [I, M] codes of one column, and what they stand for."""
    options = (getattr(data, "manifest", None) or {}).get("options") or {}
    separators = (options.get("items") or {}).get("categorical") or {}
    if column not in separators or column not in data.items:
        return known, tuple(data.vocabularies[f"item_{column}"].values)
    parts = category_values(data.items[column], separators[column])
    vocabulary = Vocabulary.of(parts.unique())
    return codes_of(parts, len(data.items), vocabulary), vocabulary.values
