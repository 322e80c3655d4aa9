"""Raw tables: a path or a DataFrame read as it is, its columns as ids, texts or numbers; for `events` and `items`."""

from __future__ import annotations

import difflib
import gzip
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.findings import Findings
from tfrec.data.public.download import SOURCES

Source = pd.DataFrame | str | os.PathLike[str]

# Texts of a CSV stay texts, only an empty field is missing.
CSV: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_values": [""], "index_col": False}
SUFFIXES = (".csv", ".csv.gz", ".parquet")
# How tools spell a missing value in text. NA is not among them: it is also a country.
MISSING_SPELLINGS = ("nan", "NaN", "NAN", "<NA>", "NaT", "None", "null", "NULL")
CORRECT = "Correct those rows."
_ID_KINDS = ("string", "integer", "floating", "mixed-integer", "mixed-integer-float", "categorical", "empty")


@dataclass(frozen=True)
class Table:
    """A table as it was given, whole or a piece of it, and the name by which messages call it.

    Attributes:
        frame: the rows.
        label: the name.
        start: which row of the whole table is the first one here, from 0.
        findings: where the checks leave what they find; None to raise it at once.
    """

    frame: pd.DataFrame
    label: str
    start: int = 0
    findings: Findings | None = field(default=None, repr=False)
    _factorized: dict[str, tuple[np.ndarray, Any]] = field(default_factory=dict, repr=False, compare=False)

    def require(self, columns: Iterable[str]) -> None:
        """Raise a ValueError that names the first of `columns` that the table lacks."""
        for column in columns:
            if column not in self.frame.columns:
                have = [str(name) for name in self.frame.columns]
                near = difflib.get_close_matches(str(column), have, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"{self.label} has no column {column!r}.{hint} Its columns are: {', '.join(have)}."
                    " Map the name that the table uses."
                )

    def factorized(self, column: str) -> tuple[np.ndarray, Any]:
        """Each row's place among the distinct values of a column, -1 where it is missing, and these; found once."""
        if column not in self._factorized:
            self._factorized[column] = pd.factorize(self.frame[column])
        return self._factorized[column]

    def _distinct_texts(self, column: str) -> tuple[np.ndarray, pd.Index]:
        if isinstance(self.frame[column].dtype, pd.StringDtype):
            codes, values = self.factorized(column)
            return codes, pd.Index(values, dtype="str")
        return distinct_texts(self.frame[column])

    def ids(self, column: str) -> pd.Series:
        """The column as ids: texts, whole numbers spelled as such; missing ones and line breaks are refused."""
        codes, values = self.id_codes(column)
        return pd.Series(values.array.take(codes, allow_fill=True), dtype="str")

    def id_codes(self, column: str) -> tuple[np.ndarray, pd.Index]:
        """The same as codes [rows] of the distinct ids; -1 for a missing one, which is refused."""
        series = self.frame[column]
        kind = pd.api.types.infer_dtype(series, skipna=True)
        if kind not in _ID_KINDS:
            raise ValueError(
                f"{self.label}, column {column!r}: ids must be texts or whole numbers; the column holds {kind} values."
            )
        codes, ids = self._distinct_texts(column)
        unique = pd.Series(ids, dtype="str")
        fractional = np.zeros(len(unique), bool)
        if kind != "string":
            fractional = unique.str.fullmatch(r"-?\d*\.\d+|.*e[+-]\d+|-?inf").to_numpy(dtype=bool)
        broken = unique.str.contains("[\r\n]").to_numpy(dtype=bool)
        advice = "Remove those rows or give them an id."
        self._refuse_values(column, codes, missing_texts(unique), "ids are missing", advice, missing=True)
        self._refuse_values(column, codes, broken, "ids contain a line break")
        self._refuse_values(column, codes, fractional, "ids are numbers that are not whole")
        return codes, ids

    def texts(self, column: str) -> pd.Series:
        """The column as texts, a missing value as the empty text."""
        codes, values = self.text_codes(column)
        return pd.Series(values.array.take(codes, allow_fill=True), dtype="str").fillna("")

    def text_codes(self, column: str) -> tuple[np.ndarray, pd.Index]:
        """The same as codes [rows] of the distinct texts; -1 for a missing value."""
        series = self.frame[column]
        if pd.api.types.infer_dtype(series, skipna=True) in ("bytes", "mixed"):
            found = series.map(lambda value: isinstance(value, bytes) or not np.isscalar(value), na_action="ignore")
            compound = found.eq(True).to_numpy(dtype=bool)
            advice = "Write texts; where an item has several values, join them with a separator."
            self.refuse(column, compound, "values are no texts", advice)
            return distinct_texts(series.mask(compound))
        return self._distinct_texts(column)

    def numbers(self, column: str) -> np.ndarray:
        """The column as float64, a missing value as NaN."""
        series = self.frame[column]
        if pd.api.types.is_bool_dtype(series) or pd.api.types.is_numeric_dtype(series):
            numbers = series.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            codes, values = self._distinct_texts(column)
            texts = pd.Series(values, dtype="str")
            missing = missing_texts(texts)
            parsed = pd.to_numeric(texts.where(~missing), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            numbers = np.append(parsed, np.nan)[codes]
            self.refuse(column, np.append(np.isnan(parsed) & ~missing, False)[codes], "values are not numbers")
        self.refuse(column, np.isinf(numbers), "values are infinite")
        return numbers

    def _refuse_values(
        self,
        column: str,
        codes: np.ndarray,
        bad: np.ndarray,
        what: str,
        advice: str = CORRECT,
        *,
        missing: bool = False,
    ) -> None:
        """Refuse the rows of distinct values that are `bad`, and, where `missing`, those without a value."""
        lacking = missing and bool((codes < 0).any())
        rows = np.append(bad, missing)[codes] if bad.any() or lacking else np.zeros(len(codes), bool)
        self.refuse(column, rows, what, advice)

    def refuse(self, column: str, bad: np.ndarray, what: str, advice: str = CORRECT) -> None:
        """Raise a ValueError that says how many rows are bad and shows the first; leave it to the findings if any."""
        findings = Findings() if self.findings is None else self.findings
        findings.add(self, column, bad, what, advice)
        if self.findings is None:
            findings.tell()


def read_table(source: Source, name: str) -> Table:
    """Read a table whole, values untouched: texts of a CSV stay texts, only an empty field is missing.

    Args:
        source: a path that ends in .csv, .csv.gz or .parquet, or a DataFrame.
        name: what the messages call the table, such as "events".

    Returns:
        The table, with at least one row.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is of another kind, cannot be read, or is empty.
    """
    if isinstance(source, pd.DataFrame):
        return checked(Table(source.reset_index(drop=True), f"The table {name!r}"))
    path = check_path(source, name)
    with readable(path, name):
        frame = pd.read_parquet(path) if path.name.endswith(".parquet") else pd.read_csv(path, **CSV)
    return checked(Table(frame, label_of(path, name)))


def checked(table: Table) -> Table:
    """The table, after a check that it has rows, and one column of each name."""
    if not table.frame.columns.is_unique:
        twice = table.frame.columns[table.frame.columns.duplicated()][0]
        raise ValueError(f"{table.label} has two columns named {twice!r}; rename one.")
    if not len(table.frame):
        raise ValueError(f"{table.label} is empty: it needs at least one row below its column names.")
    return table


def label_of(path: Path, name: str) -> str:
    """What messages call the table of a file."""
    return f"The table {name!r} ({path})"


def check_path(source: Source, name: str) -> Path:
    """The path of a table, after a check that there is such a file."""
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"{name} must be a path or a pandas DataFrame; got {type(source).__name__}.")
    path = Path(source)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"The table {name!r} ({path}) must be a {', '.join(SUFFIXES)} file; write it as one of them.")
    if not path.exists():
        raise missing_file(path, name)
    if path.is_dir():
        raise ValueError(f"The table {name!r}: {path} is a folder; give the path of one file.")
    return path


@contextmanager
def readable(path: Path, name: str) -> Iterator[None]:
    """Say of what goes wrong while a table is read that its file cannot be read, and why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"The table {name!r} ({path}) is empty: it has not even column names.") from error
    except PermissionError as error:
        raise PermissionError(f"The table {name!r}: {path} may not be read; change its permissions.") from error
    except (ValueError, OSError, EOFError, gzip.BadGzipFile, zlib.error, pd.errors.ParserWarning) as error:
        kind = "Parquet" if path.name.endswith(".parquet") else "UTF-8 CSV"
        reason = " ".join(str(error).split())
        raise ValueError(f"The table {name!r} ({path}) cannot be read as {kind}: {reason}. Write it anew.") from error


def missing_file(path: Path, name: str) -> FileNotFoundError:
    """What to raise for a table whose file is not there; it says so where `tfrec download` fetches the table."""
    known = next((part for part in path.parts[:-1] if part in SOURCES), None)
    hint = f" `tfrec download {known}` fetches it, where there is a network." if known else ""
    return FileNotFoundError(
        f"The table {name!r}: there is no file {path}. Correct the path or put the file there.{hint}"
    )


def missing_texts(texts: pd.Series) -> np.ndarray:
    """Which texts stand for a missing value: none, blank, or spelled as one; bool."""
    return (texts.isna() | (texts.str.strip() == "") | texts.isin(MISSING_SPELLINGS)).to_numpy(dtype=bool)


def distinct_texts(series: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """The distinct spellings of a column, and each row's place among them, -1 where it is missing."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    codes, values = pd.factorize(series)
    texts = spelled(pd.Series(values))
    if pd.api.types.is_object_dtype(series.dtype):  # 7 and "7" are spelled alike.
        again, unique = pd.factorize(texts)
        return np.append(again, -1)[codes], pd.Index(unique, dtype="str")
    return codes, pd.Index(texts, dtype="str")


def spelled(series: pd.Series) -> pd.Series:
    """The values as texts, missing ones as NA; a float that is whole loses its ".0"."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if pd.api.types.is_float_dtype(series.dtype):
        values = series.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        whole = np.isnan(values) | ((np.abs(values) < 2**63) & (values == np.trunc(values)))
        series = series.astype("Float64")
        series = series.astype("Int64") if whole.all() else series.astype(object)
    if series.dtype == object:
        series = series.map(_spelled_value, na_action="ignore")
    return series.astype("string").astype("str")


def _spelled_value(value: Any) -> str:
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)
