"""Times of a column as nanoseconds since 1970, of a table whole or in pieces; `events` and `cuts` build on it."""

from __future__ import annotations

import functools
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.tables import Table, missing_texts, spelled
from tfrec.data.time_numbers import Numbers, scaled
from tfrec.data.totals import added, in_turn

logger = logging.getLogger(__name__)

NO_TIME = np.iinfo(np.int64).min
ISO = "ISO8601"


def read_times(table: Table, column: str) -> np.ndarray:
    """Times of a column, whatever they are written as.

    Numbers are seconds since 1970, or milli-, micro- or nanoseconds where their median is too large for the coarser
    unit (a warning says so). Texts are ISO 8601, else of the format of the first one, with the month first or the day
    first, whichever reads every row. No zone means UTC.

    Args:
        table: the table.
        column: one of its columns.

    Returns:
        int64 [rows], nanoseconds since 1970, `NO_TIME` where missing.

    Raises:
        ValueError: a value is no time, or no row tells the day from the month; the message shows the first one.
    """
    return next(read_pieces_of_times([table], column))


def read_pieces_of_times(tables: Sequence[Table], column: str) -> Iterator[np.ndarray]:
    """The same for a table in pieces: how its times are written is told by all of them.

    Args:
        tables: the pieces, which may be read when they are asked for; they are asked for more than once.
        column: one of their columns.

    Returns:
        The times of each piece.
    """
    read = _numbers if len(tables) > 1 else _once(_numbers)
    numbers = numbers_of(tables, column, read)
    spelling = spelling_of(tables[0], column, numbers, lambda function, merge: in_turn(function, tables, merge))
    return (spelling.times(table, read) for table in tables)


def nanoseconds(dates: pd.Series) -> np.ndarray:
    """Dates as int64, a missing one as the smallest: `NO_TIME`."""
    return dates.dt.as_unit("ns").astype("int64").to_numpy()


def date_layouts(text: str) -> list[str]:
    """The formats that a date may have: none, one, or two where its numbers do not tell the month from the day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 13/01/2015 has its day first
        layout = pd.tseries.api.guess_datetime_format(text)
    if layout is None:
        return []
    if layout.startswith("%Y") or "%m" not in layout or "%d" not in layout:
        return [layout]
    return [layout, re.sub("%[md]", lambda found: "%d" if found[0] == "%m" else "%m", layout)]


def _numbers(table: Table, column: str) -> tuple[np.ndarray | None, np.ndarray]:
    """The numbers of a column, those that are there, or None where one is no number; and bool [rows], which lack."""
    series = table.frame[column]
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if pd.api.types.is_numeric_dtype(series):
        missing, numbers = series.isna().to_numpy(), series
    else:
        texts = spelled(series)
        missing = missing_texts(texts)
        numbers = pd.to_numeric(texts.where(~missing), errors="coerce")
        if (numbers.isna().to_numpy() & ~missing).any():
            return None, missing
    present = numbers[~missing]
    whole = pd.api.types.is_integer_dtype(present)
    return present.to_numpy(dtype=np.int64 if whole else np.float64), missing


def _once(read: Callable) -> Callable:
    """The same function, which remembers its only answer."""
    held: list = []

    def remembered(table: Table, column: str) -> tuple[np.ndarray | None, np.ndarray]:
        if not held:
            held.append(read(table, column))
        return held[0]

    return remembered


def numbers_of(tables: Iterable[Table], column: str, read: Callable = _numbers) -> Numbers | None:
    """What the numbers of a column say, in some pieces; None where it holds dates, or a value that is no number."""
    result = Numbers()
    for table in tables:
        kind = table.frame[column].dtype
        if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_bool_dtype(kind):
            return None
        if not result.add(table.start, read(table, column)[0]):
            return None
    return result


@dataclass(frozen=True)
class Spelling:
    """How the times of a column are written: as dates, where nothing else is said.

    Attributes:
        column: the column.
        factor: of numbers, the nanoseconds of their unit.
        whole: whether all numbers are whole.
        calendar: whether all are dates such as 20150301, which is refused.
        layouts: of texts, the format.
        ambiguous: whether there are two of them, which both read every text.
    """

    column: str
    factor: int = 0
    whole: bool = True
    calendar: bool = False
    layouts: tuple[str, ...] = ()
    ambiguous: bool = False

    def times(self, table: Table, read: Callable = _numbers) -> np.ndarray:
        """The times of a piece, int64 nanoseconds; see `read_times`."""
        if self.factor:
            return self._from_numbers(table, *read(table, self.column))
        if self.layouts:
            return self._from_texts(table)
        return nanoseconds(pd.to_datetime(table.frame[self.column], utc=True))

    def _from_numbers(self, table: Table, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        column, factor = self.column, self.factor
        wild = np.abs(values * float(factor)) >= 9.2e18
        table.refuse(column, _spread(wild, missing), "are no plausible times")
        what = "are dates written as whole numbers"
        table.refuse(column, _spread(np.full(len(values), self.calendar), missing), what, "Write them as 2015-03-01.")
        result = np.full(len(missing), NO_TIME, np.int64)
        tame = np.where(wild, 0, values)
        result[~missing] = tame.astype(np.int64) * factor if self.whole else scaled(tame.astype(np.float64), factor)
        return result

    def _from_texts(self, table: Table) -> np.ndarray:
        column = self.column
        texts, missing = _texts(table, column)
        dates, *others = [_dates(table, column, texts, layout) for layout in self.layouts]
        table.refuse(
            column,
            dates.isna().to_numpy() & ~missing,
            "are no times",
            "Write seconds since 1970 or dates such as 2015-03-01 17:30:00.",
        )
        undecided = (dates != others[0]).to_numpy() & ~missing if self.ambiguous else np.zeros(len(missing), bool)
        what = "dates may have the day or the month first, and no row tells which"
        table.refuse(column, undecided, what, "Write them as YYYY-MM-DD, or convert the column beforehand.")
        return nanoseconds(dates)


def spelling_of(
    first: Table, column: str, numbers: Numbers | None, total: Callable[[Callable, Callable], Any]
) -> Spelling:
    """How the times of a column are written, told by all of them.

    Args:
        first: the first piece of the table.
        column: one of its columns.
        numbers: what `numbers_of` all pieces is.
        total: given a function of a piece and what merges a list of its results, it tells that of all pieces.

    Raises:
        ValueError: it is a column of true and false.
    """
    kind = first.frame[column].dtype
    if pd.api.types.is_bool_dtype(kind):
        raise ValueError(f"{first.label}, column {column!r}: times are expected, and the column holds true and false.")
    if pd.api.types.is_datetime64_any_dtype(kind):
        return Spelling(column)
    if numbers is None:
        layouts, ambiguous = _layouts_of(column, total)
        return Spelling(column, layouts=tuple(layouts), ambiguous=ambiguous)
    factor, unit = numbers.unit()
    if unit != "seconds" and numbers.count:
        logger.warning(
            "%s, column %r: numbers such as %s are read as %s since 1970", first.label, column, numbers.first, unit
        )
    return Spelling(column, factor, numbers.whole, numbers.calendar)


def _layouts_of(column: str, total: Callable[[Callable, Callable], Any]) -> tuple[list[str], bool]:
    """The formats of the texts, the one that reads most of them first; and whether two read all of them."""
    (_, first), whole = total(functools.partial(_first_text, column), _joint_texts)
    layouts = [] if whole or first is None else date_layouts(first)
    if len(layouts) < 2:
        return layouts or [ISO], False
    unread = total(functools.partial(_unread, column, layouts), added)
    if not unread.any():
        return layouts, True
    return [layouts[int(unread[1] < unread[0])]], False


def _first_text(column: str, table: Table) -> tuple[tuple[float, str | None], bool]:
    """The first text of a piece that is not missing, after its row, and whether all are ISO 8601."""
    texts, missing = _texts(table, column)
    first = (math.inf, None) if missing.all() else (table.start, texts[~missing].iloc[0])
    return first, not (_dates(table, column, texts, ISO).isna().to_numpy() & ~missing).any()


def _joint_texts(found: Sequence[tuple[tuple[float, str | None], bool]]) -> tuple[tuple[float, str | None], bool]:
    return min((first for first, _ in found), key=lambda first: first[0]), all(whole for _, whole in found)


def _unread(column: str, layouts: list[str], table: Table) -> np.ndarray:
    """How many texts of a piece each format does not read."""
    texts, missing = _texts(table, column)
    dates = [_dates(table, column, texts, layout) for layout in layouts]
    return np.array([int((one.isna().to_numpy() & ~missing).sum()) for one in dates])


def _texts(table: Table, column: str) -> tuple[pd.Series, np.ndarray]:
    texts = spelled(table.frame[column])
    missing = missing_texts(texts)
    return texts.where(~missing), missing


def _dates(table: Table, column: str, texts: pd.Series, layout: str) -> pd.Series:
    try:
        return pd.to_datetime(texts, utc=True, errors="coerce", format=layout)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{table.label}, column {column!r}: cannot be parsed as times: {error}.") from error


def _spread(bad: np.ndarray, missing: np.ndarray) -> np.ndarray:
    result = np.zeros(len(missing), bool)
    result[~missing] = bad
    return result
