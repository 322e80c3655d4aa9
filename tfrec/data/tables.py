"""Raw tables: a path or a DataFrame read as it is, its columns as ids, texts or numbers; for `events` and `items`."""

from __future__ import annotations

import difflib
import gzip
import os
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.download import SOURCES

Source = pd.DataFrame | str | os.PathLike[str]

SUFFIXES = (".csv", ".csv.gz", ".parquet")
# How tools spell a missing value in text. NA is not among them: it is also a country.
MISSING_SPELLINGS = ("nan", "NaN", "NAN", "<NA>", "NaT", "None", "null", "NULL")
_ID_KINDS = ("string", "integer", "floating", "mixed-integer", "mixed-integer-float", "categorical", "empty")


@dataclass(frozen=True)
class Table:
    """A table as it was given, and the name by which messages call it."""

    frame: pd.DataFrame
    label: str

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

    def ids(self, column: str) -> pd.Series:
        """The column as ids: texts, whole numbers spelled as such; missing ones and line breaks are refused."""
        series = self.frame[column]
        kind = pd.api.types.infer_dtype(series, skipna=True)
        if kind not in _ID_KINDS:
            raise ValueError(
                f"{self.label}, column {column!r}: ids must be texts or whole numbers; the column holds {kind} values."
            )
        ids = spelled(series)
        codes, values = pd.factorize(ids)
        unique = pd.Series(values, dtype="str")
        missing = np.append(missing_texts(unique), True)[codes]
        self.refuse(column, missing, "ids are missing", "Remove those rows or give them an id.")
        self._refuse_values(
            column, codes, unique.str.contains("[\r\n]").to_numpy(dtype=bool), "ids contain a line break"
        )
        if kind != "string":
            fractional = unique.str.fullmatch(r"-?\d*\.\d+|.*e[+-]\d+|-?inf")
            self._refuse_values(column, codes, fractional.to_numpy(dtype=bool), "ids are numbers that are not whole")
        return ids

    def texts(self, column: str) -> pd.Series:
        """The column as texts, a missing value as the empty text."""
        series = self.frame[column]
        if pd.api.types.infer_dtype(series, skipna=True) in ("bytes", "mixed"):
            compound = series.map(lambda value: isinstance(value, bytes) or not np.isscalar(value), na_action="ignore")
            advice = "Write texts; where an item has several values, join them with a separator."
            self.refuse(column, compound.eq(True).to_numpy(dtype=bool), "values are no texts", advice)
        return spelled(series).fillna("")

    def numbers(self, column: str) -> np.ndarray:
        """The column as float64, a missing value as NaN."""
        series = self.frame[column]
        if pd.api.types.is_bool_dtype(series) or pd.api.types.is_numeric_dtype(series):
            numbers = series.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            texts = spelled(series)
            missing = missing_texts(texts)
            numbers = pd.to_numeric(texts.where(~missing), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            self.refuse(column, np.isnan(numbers) & ~missing, "values are not numbers")
        self.refuse(column, np.isinf(numbers), "values are infinite")
        return numbers

    def _refuse_values(self, column: str, codes: np.ndarray, bad: np.ndarray, what: str) -> None:
        if bad.any():
            self.refuse(column, bad[codes], what)

    def refuse(self, column: str, bad: np.ndarray, what: str, advice: str = "Correct those rows.") -> None:
        """Raise a ValueError that says how many rows are bad and shows the first."""
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{self.label}, column {column!r}: {int(bad.sum())} of {len(bad)} {what}, first in row {row + 1}"
                f" (the header not counted): {self.frame[column].iloc[row]!r}. {advice}"
            )


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
        table = Table(source.reset_index(drop=True), f"The table {name!r}")
    elif isinstance(source, (str, os.PathLike)):
        table = Table(_read_file(Path(source), name), f"The table {name!r} ({os.fspath(source)})")
    else:
        raise ValueError(f"{name} must be a path or a pandas DataFrame; got {type(source).__name__}.")
    if not table.frame.columns.is_unique:
        twice = table.frame.columns[table.frame.columns.duplicated()][0]
        raise ValueError(f"{table.label} has two columns named {twice!r}; rename one.")
    if not len(table.frame):
        raise ValueError(f"{table.label} is empty: it needs at least one row below its column names.")
    return table


def _read_file(path: Path, name: str) -> pd.DataFrame:
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"The table {name!r} ({path}) must be a {', '.join(SUFFIXES)} file; write it as one of them.")
    if not path.exists():
        raise missing_file(path, name)
    if path.is_dir():
        raise ValueError(f"The table {name!r}: {path} is a folder; give the path of one file.")
    try:
        if path.name.endswith(".parquet"):
            return pd.read_parquet(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], index_col=False)
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
