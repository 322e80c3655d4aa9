"""Vocabularies: texts to codes and back, code 0 for what is missing or unknown; written by `prepare`, read by all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd


class Vocabulary:
    """The known values of a column; the code of the first is 1.

    Args:
        values: the values in the order of their codes, without the missing one.

    Raises:
        ValueError: a value is empty or occurs twice.
    """

    def __init__(self, values: Iterable[str]) -> None:
        """See the class."""
        self._index = pd.Index(list(values), dtype=object)
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise ValueError(f"A vocabulary has each value once; {twice!r} occurs twice.")
        if "" in self._index:
            raise ValueError("A vocabulary cannot hold the empty text: it stands for a missing value, code 0.")

    @classmethod
    def of(cls, values: Iterable[str]) -> Vocabulary:
        """The vocabulary of what occurs in a column, sorted, the empty text left out."""
        return cls(sorted(set(values) - {""}))

    @property
    def values(self) -> tuple[str, ...]:
        """The values; the code of `values[i]` is `i + 1`."""
        return tuple(self._index)

    @property
    def size(self) -> int:
        """Number of codes, 0 included."""
        return len(self._index) + 1

    def codes(self, values: Sequence[str] | pd.Series | np.ndarray) -> np.ndarray:
        """Codes of texts, int32 of the same length; 0 for those that are unknown or empty."""
        series = pd.Series(values, dtype=object)
        positions, unique = pd.factorize(series)
        found = np.append(self._index.get_indexer(pd.Index(unique, dtype=object)) + 1, 0)
        return found[positions].astype(np.int32)

    def save(self, path: Path) -> None:
        """Write one JSON text a line, so that any value survives, line breaks included."""
        lines = [json.dumps(value, ensure_ascii=False) + "\n" for value in self.values]
        path.write_text("".join(lines), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            return cls(json.loads(line) for line in lines if line)
        except ValueError as error:
            raise ValueError(f"{path} is not a vocabulary: {error}. Prepare the data anew.") from error

    def __len__(self) -> int:
        """Number of values, the missing one not counted."""
        return len(self._index)


def vocabulary_file(name: str) -> str:
    """File name of a vocabulary, whatever the column is called."""
    return quote(name, safe="") + ".txt"
