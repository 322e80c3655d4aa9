"""What the checks of a table find in its pieces, counted over all of them and told at the end; used by `tables`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfrec.data.tables import Table


@dataclass
class Finding:
    """What one check found in a table: how many rows are bad, and the first of them, counted from 0.

    Attributes:
        turn: when the check came for the first time: the row that its piece began at, and its number there.
    """

    text: str
    advice: str
    turn: tuple[int, int]
    bad: int = 0
    rows: int = 0
    first: int = 0
    value: str = ""


class Findings:
    """What the checks of a table found that is read in pieces: counted over all of them, and told at the end."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, table: Table, column: str, bad: np.ndarray, what: str, advice: str) -> None:
        """Count what a check found in a piece; see `Table.refuse`."""
        new = Finding(f"{table.label}, column {column!r}: ", advice, (table.start, len(self._found)))
        found = self._found.setdefault((column, what), new)
        if bad.any():
            row = int(np.argmax(bad))
            if not found.bad:
                found.first, found.value = table.start + row, repr(table.frame[column].iloc[row])
            found.bad += int(bad.sum())
        found.rows += len(bad)

    @classmethod
    def merged(cls, several: Iterable[Findings]) -> Findings:
        """What was found in several pieces, each of which has its own findings; in any order."""
        result = cls()
        for key, one in (item for findings in several for item in findings._found.items()):
            found = result._found.setdefault(key, replace(one, bad=0, rows=0))
            if one.bad and (not found.bad or one.first < found.first):
                found.first, found.value = one.first, one.value
            found.turn = min(found.turn, one.turn)
            found.bad, found.rows = found.bad + one.bad, found.rows + one.rows
        return result

    def tell(self) -> None:
        """Raise a ValueError for the first check that found something, in the order of the checks."""
        for (_, what), found in sorted(self._found.items(), key=lambda item: item[1].turn):
            if found.bad:
                raise ValueError(
                    f"{found.text}{found.bad} of {found.rows} {what}, first in row {found.first + 1}"
                    f" (the header not counted): {found.value}. {found.advice}"
                )
