"""The two readings of a log by many workers: one says what holds for all pieces, one sorts them into parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrec.data.event_parts import Sample, category, ends_of, part_of, sample
from tfrec.data.event_pieces import Pieces
from tfrec.data.findings import Findings
from tfrec.data.options import EventColumns
from tfrec.data.shelf import Shelf, arrow_texts, sorted_codes
from tfrec.data.tables import Table
from tfrec.data.time_numbers import Numbers
from tfrec.data.timestamps import Spelling, numbers_of
from tfrec.features import ITEM_ID

# Users of a piece that are looked at to find where the parts begin.
SAMPLES = 64


@dataclass(frozen=True)
class Coding:
    """How a piece is checked and coded.

    Attributes:
        columns: which column holds what.
        label: what messages call the table.
        by_time: whether time orders before position does.
    """

    columns: EventColumns
    label: str
    by_time: bool

    def pieces(self, findings: Findings) -> Pieces:
        """A place for pieces."""
        return Pieces(self.columns, self.label, findings, Shelf(), by_time=self.by_time)

    def piece(self, table: Table) -> tuple[Pieces, Table]:
        """A piece, checked and coded, and the table that it was read from, with findings of its own."""
        findings = Findings()
        pieces, table = self.pieces(findings), replace(table, findings=findings)
        pieces.add(table)
        return pieces, table

    @property
    def values(self) -> dict[str, str]:
        """The name of each categorical column, and of its distinct values in the box of a piece."""
        names = {name: f"values{place}" for place, name in enumerate(self.columns.columns)}
        return {ITEM_ID: "values", **names}


@dataclass(frozen=True)
class Overview:
    """What some pieces of a log say, after the first reading; what several say is their sum, or their union.

    Attributes:
        rows: how many rows there are.
        findings: what the checks found.
        values: column -> its distinct texts.
        users: some of the users.
        numbers: what the times say, where they are numbers; None where they are not, or there are none.
    """

    rows: int
    findings: Findings
    values: Mapping[str, pa.Array]
    users: Sequence[Sample]
    numbers: Numbers | None

    @classmethod
    def of(cls, coding: Coding, table: Table) -> Overview:
        """The overview of one piece."""
        pieces, table = coding.piece(table)
        box, time = pieces.boxes[0], coding.columns.timestamp
        users, offsets = pieces.shelf.get(box, "users"), pieces.shelf.get(box, "offsets")
        return cls(
            len(table.frame),
            pieces.findings,
            {name: pieces.shelf.get(box, values) for name, values in coding.values.items()},
            [sample(users, offsets, SAMPLES)],
            None if time is None else numbers_of([table], time),
        )

    @classmethod
    def merged(cls, several: Sequence[Overview]) -> Overview:
        """What several pieces say, in any order."""
        return cls(
            sum(one.rows for one in several),
            Findings.merged([one.findings for one in several]),
            {name: sorted_codes([one.values[name] for one in several])[1] for name in several[0].values},
            [users for one in several for users in one.users],
            Numbers.merged([one.numbers for one in several]),
        )

    def categories(self) -> dict[str, pd.CategoricalDtype]:
        """The types of the categorical columns; those of the events hold the empty text, which stands for missing."""
        return {
            name: category(sorted_codes([arrow_texts([] if name == ITEM_ID else [""]), values])[1])
            for name, values in self.values.items()
        }


@dataclass(frozen=True)
class Sorting:
    """The second reading: pieces are cut into slices, one for each part, and a part is put together from its slices.

    Attributes:
        coding: how a piece is read.
        spelling: how its times are written; None where there are none.
        categories: the types of the categorical columns.
        first: the first user of each part but the first one.
        shelf: where the parts go.
    """

    coding: Coding
    spelling: Spelling | None
    categories: Mapping[str, pd.CategoricalDtype]
    first: pd.Index
    shelf: Shelf

    def cut(self, table: Table) -> tuple[Findings, list[tuple[int, dict[str, Any]]]]:
        """What is wrong with the times of a piece, and its slices: part and content."""
        pieces, table = self.coding.piece(table)
        box = pieces.boxes[0]
        if self.spelling is not None:
            times = self.spelling.times(table)
            if pieces.keys[0] == "times":
                pieces.refuse_missing(table, times)
            pieces.put_times(0, times)
        for (name, values), codes in zip(self.coding.values.items(), pieces.row_names, strict=False):
            places = self.categories[name].categories.get_indexer(pd.Index(pieces.shelf.get(box, values), dtype="str"))
            known = np.append(places, 0).astype(np.int32)  # A missing value is the empty text, the first of all.
            pieces.shelf.put(box, {codes: known[pieces.shelf.get(box, codes)]})
        ends = ends_of(pieces.shelf.get(box, "users"), self.first)
        return pieces.findings, list(pieces.slices(0, ends))

    def put_together(self, part: int, slices: Iterable[Mapping[str, Any]]) -> dict[int, int]:
        """Put a part on the shelf; how many of its rows repeated another one.

        Raises:
            ValueError: the order does not tell two events of a user apart.
        """
        pieces = self.coding.pieces(Findings())
        for one in slices:
            pieces.hold(one)
        last = np.array([len(pieces.shelf.get(box, "users")) for box in pieces.boxes])
        values, repeated = part_of(pieces, {}, np.zeros_like(last), last, unique=True)
        self.shelf.put(box_of(part), values)
        return {part: repeated}


def box_of(part: int) -> str:
    """The box of a part."""
    return f"part{part}"
