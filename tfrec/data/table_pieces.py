"""A table read in pieces of rows, each as `tables.read_table` would give it; for logs that memory does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from tfrec.data.tables import CSV, Findings, Source, Table, check_path, checked, label_of, read_table, readable

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
    path = check_path(source, name)
    with readable(path, name):
        if path.name.endswith(".parquet"):
            file = pyarrow.parquet.ParquetFile(path)
            rows = rows_within(memory, len(file.schema_arrow.names))
            frames = _parquet_pieces(file, rows)
        else:
            rows = rows_within(memory, len(pd.read_csv(path, nrows=0, **CSV).columns))
            frames = _csv_pieces(path, rows)
    return _tables(frames, path, name, findings), findings, rows


def _tables(frames: Iterator[pd.DataFrame], path: Path, name: str, findings: Findings) -> Iterator[Table]:
    start = 0
    while True:
        with readable(path, name):
            frame = next(frames, None)
        if frame is None and start:
            return
        if frame is None or len(frame) or not start:
            frame = pd.DataFrame() if frame is None else frame
            yield checked(Table(frame.reset_index(drop=True), label_of(path, name), start, findings))
            start += len(frame)


def _csv_pieces(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    with pd.read_csv(path, chunksize=rows, **CSV) as reader:
        yield from reader


def _parquet_pieces(file: pyarrow.parquet.ParquetFile, rows: int) -> Iterator[pd.DataFrame]:
    schema = file.schema_arrow
    unique = len(set(schema.names)) == len(schema.names)
    probe = _frame(pa.Table.from_arrays([pa.nulls(1, field.type) for field in schema], schema=schema))
    widened = {
        field.name: probe[field.name].dtype
        for place, field in enumerate(schema)
        if unique
        and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type))
        and field.name in probe
        and _has_missing(file, place)
    }
    held: list[pa.RecordBatch] = []
    for batch in file.iter_batches(min(rows, 2**16)):
        if held and sum(map(len, held)) + len(batch) > rows:
            yield _frame(pa.Table.from_batches(held)).astype(widened)
            held = []
        held.append(batch)
    yield _frame(pa.Table.from_batches(held, schema)).astype(widened)


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
