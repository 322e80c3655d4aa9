"""A log read in pieces of rows, each checked, coded and put away by user; `event_parts` puts them together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tfrec.data.findings import Findings
from tfrec.data.labels import read_label
from tfrec.data.options import EventColumns
from tfrec.data.row_hashes import row_hashes
from tfrec.data.shelf import Shelf, arrow_texts, sorted_codes
from tfrec.data.tables import Table
from tfrec.data.timestamps import NO_TIME, read_pieces_of_times
from tfrec.features import EVENT_TYPE


class Pieces:
    """The pieces of a log, on a shelf, each with its rows by user.

    In the box of a piece lie `users` (its ids, sorted), `offsets` (where the rows of each begin), `order` (where in the
    piece each row was), `items` (places among the ids `values`), `hashes` (of all that a row holds), `position`,
    `times` (nanoseconds), `column0` ... (places among the texts `values0` ..., -1 where missing) and `label0` ...

    Args:
        columns: which column holds what.
        label: what messages call the table.
        findings: where their checks leave what they find.
        shelf: where the pieces go.
        by_time: whether time orders before position does.
    """

    def __init__(self, columns: EventColumns, label: str, findings: Findings, shelf: Shelf, *, by_time: bool) -> None:
        self.columns, self.label, self.shelf, self.findings = columns, label, shelf, findings
        self.boxes: list[str] = []
        self.starts: list[int] = []
        self._by_time = by_time

    def add(self, table: Table) -> None:
        """Check a piece, code it and put it away."""
        columns, box = self.columns, f"piece{len(self.boxes)}"
        codes, ids = table.id_codes(columns.user_id)
        (ranks,), users = sorted_codes([arrow_texts(ids)])
        owners = np.append(ranks, 0)[codes].astype(np.int32)
        order = np.argsort(owners, kind="stable").astype(np.int32)
        texts, arrays = self._coded(table)
        arrays["hashes"] = row_hashes(table)
        if columns.position is not None:
            arrays["position"] = _positions(table, columns.position)
        for place, (name, label) in enumerate(columns.labels.items()):
            arrays[f"label{place}"] = read_label(table, name, label)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(users)))])
        self.shelf.put(box, {name: values[order] for name, values in arrays.items()} | texts)
        self.shelf.put(box, {"users": users, "order": order, "offsets": offsets})
        if columns.timestamp is not None:
            self.shelf.put(box, {"time": table.frame[columns.timestamp]})
        self.boxes.append(box)
        self.starts.append(table.start)

    def _coded(self, table: Table) -> tuple[dict[str, pa.Array], dict[str, np.ndarray]]:
        """The distinct texts of the items and of each categorical column, and the places of the rows among them."""
        columns = self.columns
        items, ids = table.id_codes(columns.item_id)
        texts, arrays = {"values": arrow_texts(ids)}, {"items": items.astype(np.int32)}
        for place, name in enumerate(columns.columns):
            column = columns.event_type if name == EVENT_TYPE and columns.event_type else name
            codes, known = table.text_codes(column)
            texts[f"values{place}"], arrays[f"column{place}"] = arrow_texts(known), codes.astype(np.int32)
        return texts, arrays

    def read_times(self) -> None:
        """Read the times, now that all of the column is there to tell how they are written; tell what is wrong."""
        self.findings.tell()
        column = self.columns.timestamp
        if column is None:
            return
        tables = _Column(self, column)
        for place, times in enumerate(read_pieces_of_times(tables, column)):
            if self.keys[0] == "times":
                self.refuse_missing(tables[place], times)
            self.put_times(place, times)
        for box in self.boxes:
            self.shelf.remove(box, "time")
        self.findings.tell()

    def refuse_missing(self, table: Table, times: np.ndarray) -> None:
        """Refuse rows of a table without a time; where the time orders first."""
        what = "rows have no time, which the order and the split by time need"
        table.refuse(str(self.columns.timestamp), times == NO_TIME, what, "Give them a time or remove them.")

    def put_times(self, place: int, times: np.ndarray) -> None:
        """Put the times of a piece into its box: int64 [rows], nanoseconds, in the order of the table."""
        box = self.boxes[place]
        self.shelf.put(box, {"times": times[self.shelf.get(box, "order")]})

    def slices(self, place: int, ends: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        """What parts have of a piece.

        Args:
            place: which piece.
            ends: int64 [parts + 1], the first user of each part, and where the last one ends.

        Returns:
            Part and what `hold` takes, of the parts that have any.
        """
        box = self.boxes[place]
        users, offsets = self.shelf.get(box, "users"), self.shelf.get(box, "offsets")
        rows = {name: self.shelf.get(box, name) for name in ("hashes", *self._every_key, *self.row_names)}
        for part, (first, last) in enumerate(itertools.pairwise(ends.tolist())):
            if first < last:
                begins = offsets[first : last + 1]
                some = {name: values[begins[0] : begins[-1]] for name, values in rows.items()}
                yield part, some | {"users": users.take(pa.array(range(first, last))), "offsets": begins - begins[0]}

    def hold(self, values: Mapping[str, Any]) -> None:
        """Take a piece, or a slice of one, that was checked and coded elsewhere."""
        self.boxes.append(f"piece{len(self.boxes)}")
        self.shelf.put(self.boxes[-1], values)

    @property
    def row_names(self) -> list[str]:
        """The names of what each row has, besides what orders it."""
        names = ["items", *(f"column{place}" for place in range(len(self.columns.columns)))]
        return [*names, *(f"label{place}" for place in range(len(self.columns.labels)))]

    @property
    def rows(self) -> int:
        """Rows of all pieces."""
        return sum(int(self.shelf.get(box, "offsets")[-1]) for box in self.boxes)

    @property
    def keys(self) -> list[str]:
        """What orders a user's rows, the first one first; rows that are alike in it keep the order of the table."""
        return self._every_key[: 2 if self._by_time else 1]

    @property
    def moment_keys(self) -> list[str]:
        """What a user's rows of one moment share: under a split by time the time, else any one of these."""
        return self._every_key[:1] if self._by_time else self._every_key

    @property
    def _every_key(self) -> list[str]:
        keys = ["times"] if self.columns.timestamp is not None else []
        if self.columns.position is not None:
            keys.insert(1 if self._by_time else 0, "position")
        return keys


class _Column(Sequence[Table]):
    """The column of times of each piece, as it was read, in the order of the table's rows."""

    def __init__(self, pieces: Pieces, column: str) -> None:
        self._pieces, self._column = pieces, column

    def __len__(self) -> int:
        return len(self._pieces.boxes)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        pieces = self._pieces
        series = pieces.shelf.get(pieces.boxes[place], "time")
        return Table(series.to_frame(self._column), pieces.label, pieces.starts[place], pieces.findings)


def _positions(table: Table, column: str) -> np.ndarray:
    numbers = table.numbers(column)
    table.refuse(column, np.isnan(numbers), "positions are missing", "Give every event a place in its user's order.")
    table.refuse(column, numbers != np.trunc(numbers), "positions are not whole numbers")
    return numbers
