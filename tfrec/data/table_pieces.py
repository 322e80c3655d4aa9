"""A table read in pieces of rows, each as `tables.read_table` would give it; for logs that memory does not hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from tfrec.data.findings import Findings
from tfrec.data.tables import CSV, Source, Table, check_path, checked, label_of, read_table, readable

# What a row takes while it is worked on: the text of each column, and the rest; docs/large_logs.md measures it.
BYTES_OF_A_COLUMN, BYTES_OF_A_ROW = 100, 500
_TEXT = pd.StringDtype(na_value=np.nan)
_TEXTS = {pa.string(): _TEXT, pa.large_string(): _TEXT, pa.string_view(): _TEXT}


def rows_within(memory: float, columns: int) -> int:
    """How many rows of so many columns can be worked on at once in `memory` GB; 1 at least."""
    return max(1, int(memory * 2**30) // (BYTES_OF_A_ROW + BYTES_OF_A_COLUMN * columns))


def read_pieces(source: Source, name: str, memory: float) -> tuple[Iterator[Table], Findings, int]:
    """Read a table in pieces that `memory` holds; a DataFrame is one piece.

    The values of a piece are what they would be in the whole table: a column of whole numbers, some of them missing, is
    one of floats in each piece.

    Args:
        source: a path that ends in .csv, .csv.gz or .parquet, or a DataFrame.
        name: what the messages call the table, such as "events".
        memory: in GB.

    Returns:
        The pieces, in the order of the rows; where their checks leave what they find, to be told at the end; and how
        many rows a piece has at most.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is of another kind, cannot be read, or is empty.
    """
    findings = Findings()
    if isinstance(source, pd.DataFrame):
        table = read_table(source, name)
        return iter([Table(table.frame, table.label, 0, findings)]), findings, len(table.frame)
    reading = reading_of(source, name, memory)
    return reading.tables(findings), findings, reading.rows


@dataclass(frozen=True)
class Reading:
    """What is to be read of a file of a table, by whoever has it: pieces of rows.

    Attributes:
        path: the file.
        name: what the messages call the table.
        rows: how many rows a piece has at most.
        widened: the types of columns of a Parquet file in which other pieces may lack values.
        groups: the row groups of a Parquet file that are to be read; None for all of a file.
        start: which row of the table is the first one, from 0.
        folder: what a path that is not absolute is relative to.
    """

    path: Path
    name: str
    rows: int
    widened: Mapping[str, Any] = field(default_factory=dict)
    groups: list[int] | None = None
    start: int = 0
    folder: Path = Path()

    def tables(self, findings: Findings | None = None) -> Iterator[Table]:
        """The pieces, in order; see `read_pieces`."""
        frames = self._parquet_pieces() if _is_parquet(self.path) else self._csv_pieces()
        start, some = self.start, False
        while True:
            with readable(self.path, self.name):
                frame = next(frames, None)
            if frame is None and some:
                return
            if frame is None or len(frame) or not some:
                frame, some = pd.DataFrame() if frame is None else frame, True
                yield checked(Table(frame.reset_index(drop=True), label_of(self.path, self.name), start, findings))
                start += len(frame)

    def apart(self) -> list[Reading]:
        """The same for several readers: of the row groups of a Parquet file; a CSV can be read from its start alone."""
        here = replace(self, folder=Path.cwd())
        if not _is_parquet(self.path):
            return [here]
        metadata = pyarrow.parquet.read_metadata(self.path)
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        return [replace(here, groups=[group], start=int(starts[group])) for group, size in enumerate(sizes) if size]

    def _csv_pieces(self) -> Iterator[pd.DataFrame]:
        with pd.read_csv(self.folder / self.path, chunksize=self.rows, **CSV) as reader:
            yield from reader

    def _parquet_pieces(self) -> Iterator[pd.DataFrame]:
        file = pyarrow.parquet.ParquetFile(self.folder / self.path)
        held: list[pa.RecordBatch] = []
        for batch in file.iter_batches(min(self.rows, 2**16), row_groups=self.groups):
            if held and sum(map(len, held)) + len(batch) > self.rows:
                yield _frame(pa.Table.from_batches(held)).astype(self.widened)
                held = []
            held.append(batch)
        yield _frame(pa.Table.from_batches(held, file.schema_arrow)).astype(self.widened)


def reading_of(source: Source, name: str, memory: float) -> Reading:
    """The reading of a whole file, in pieces that `memory` GB hold; see `read_pieces`."""
    path = check_path(source, name)
    with readable(path, name):
        if not _is_parquet(path):
            return Reading(path, name, rows_within(memory, len(pd.read_csv(path, nrows=0, **CSV).columns)))
        file = pyarrow.parquet.ParquetFile(path)
        return Reading(path, name, rows_within(memory, len(file.schema_arrow.names)), _widened(file))


def _is_parquet(path: Path) -> bool:
    return path.name.endswith(".parquet")


def _widened(file: pyarrow.parquet.ParquetFile) -> dict[str, Any]:
    """The types that columns of whole numbers have where values are missing, for those that lack some."""
    schema = file.schema_arrow
    probe = _frame(pa.Table.from_arrays([pa.nulls(1, column.type) for column in schema], schema=schema))
    return {
        column.name: probe[column.name].dtype
        for place, column in enumerate(schema)
        if len(set(schema.names)) == len(schema.names)
        and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))
        and column.name in probe
        and _has_missing(file, place)
    }


def _frame(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=_TEXTS.get)


def _has_missing(file: pyarrow.parquet.ParquetFile, column: int) -> bool:
    """Whether a column of a Parquet file lacks a value somewhere; by its statistics, where there are some."""
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    name = file.schema_arrow.names[column]
    places = [place for place in range(file.metadata.num_columns) if file.schema.column(place).path == name]
    told = [group.column(place).statistics for group in groups for place in places]
    if told and all(one is not None and one.has_null_count for one in told):
        return any(one.null_count for one in told)
    return any(batch.column(0).null_count for batch in file.iter_batches(columns=[name]))
