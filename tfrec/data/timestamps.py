"""Times of a column as nanoseconds since 1970, of a table whole or in pieces; `events` and `cuts` build on it."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from tfrec.data.tables import Table, missing_texts, spelled

logger = logging.getLogger(__name__)

NO_TIME = np.iinfo(np.int64).min
SECOND = 10**9
# Numbers of such a magnitude cannot be coarser: 1e11 seconds is the year 5138, 1e11 milliseconds is 1973.
ISO = "ISO8601"
_UNITS = (
    (1e17, 1, "nanoseconds"),
    (1e14, 10**3, "microseconds"),
    (1e11, 10**6, "milliseconds"),
    (0.0, SECOND, "seconds"),
)


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
    first = tables[0]
    series = first.frame[column]
    if pd.api.types.is_bool_dtype(series):
        raise ValueError(f"{first.label}, column {column!r}: times are expected, and the column holds true and false.")
    if pd.api.types.is_datetime64_any_dtype(series):
        return (nanoseconds(pd.to_datetime(table.frame[column], utc=True)) for table in tables)
    read = _numbers if len(tables) > 1 else _once(_numbers)
    summary = _Numbers()
    if all(summary.add(*read(table, column)) for table in tables):
        return _from_numbers(tables, column, read, summary)
    return _from_texts(tables, column)


def unit_of(magnitude: float) -> tuple[int, str]:
    """The unit of numbers of such a magnitude: its nanoseconds, and its name."""
    return next((factor, unit) for least, factor, unit in _UNITS if magnitude > least or least == 0)


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


class _Numbers:
    """What all numbers of a column say together: their unit, whether all are whole, whether all are dates."""

    def __init__(self) -> None:
        self.count, self.whole, self.calendar = 0, True, True
        self.first: float | int | None = None
        self._above = {least: 0 for least, _, _ in _UNITS if least}
        self._below = dict.fromkeys(self._above, -np.inf)  # The largest number that is not above, and the next one.
        self._next = dict.fromkeys(self._above, np.inf)

    def add(self, values: np.ndarray | None, _: np.ndarray) -> bool:
        """Count the numbers of a piece; False where they are none."""
        if values is None:
            return False
        if len(values):
            self.first = values[0] if self.first is None else self.first
            self.count += len(values)
            self.calendar &= _calendar(values)
            sizes = np.abs(values)
            for least in self._above:
                above = sizes > least
                self._above[least] += int(above.sum())
                if not above.all():
                    self._below[least] = max(self._below[least], float(sizes[~above].max()))
                if above.any():
                    self._next[least] = min(self._next[least], float(sizes[above].min()))
        self.whole &= values.dtype.kind == "i"
        return True

    def unit(self) -> tuple[int, str]:
        """The unit that the median of the magnitudes tells."""
        for least, factor, unit in _UNITS:
            if not least or self._median_above(least):
                return factor, unit
        raise AssertionError("the last unit has no least magnitude")

    def _median_above(self, least: float) -> bool:
        twice = 2 * self._above[least]
        if twice == self.count:  # The median is between two numbers.
            return (self._below[least] + self._next[least]) / 2 > least
        return twice > self.count


def _from_numbers(tables: Sequence[Table], column: str, read: Callable, summary: _Numbers) -> Iterator[np.ndarray]:
    factor, unit = summary.unit()
    if unit != "seconds" and summary.count:
        logger.warning(
            "%s, column %r: numbers such as %s are read as %s since 1970", tables[0].label, column, summary.first, unit
        )
    for table in tables:
        values, missing = read(table, column)
        wild = np.abs(values * float(factor)) >= 9.2e18
        calendar = np.full(len(values), summary.calendar)
        table.refuse(column, _spread(wild, missing), "are no plausible times")
        what = "are dates written as whole numbers"
        table.refuse(column, _spread(calendar, missing), what, "Write them as 2015-03-01.")
        result = np.full(len(missing), NO_TIME, np.int64)
        tame = np.where(wild, 0, values)
        result[~missing] = tame.astype(np.int64) * factor if summary.whole else _scaled(tame.astype(np.float64), factor)
        yield result


def _calendar(values: np.ndarray) -> bool:
    """Whether all of the values are dates such as 20150301, and not seconds."""
    if not ((values >= 1970_01_01) & (values < 2100_01_01)).all():
        return False
    whole = values.astype(np.int64)
    month, day = whole // 100 % 100, whole % 100
    return bool(((values == whole) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def _scaled(values: np.ndarray, factor: int) -> np.ndarray:
    """`values * factor` as int64; the whole part apart, so that whole seconds stay exact."""
    whole = np.floor(values)
    return whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)


def _from_texts(tables: Sequence[Table], column: str) -> Iterator[np.ndarray]:
    layouts, ambiguous = _layouts_of(tables, column)
    for table in tables:
        texts, missing = _texts(table, column)
        dates, *others = [_dates(table, column, texts, layout) for layout in layouts]
        table.refuse(
            column,
            dates.isna().to_numpy() & ~missing,
            "are no times",
            "Write seconds since 1970 or dates such as 2015-03-01 17:30:00.",
        )
        undecided = (dates != others[0]).to_numpy() & ~missing if ambiguous else np.zeros(len(missing), bool)
        what = "dates may have the day or the month first, and no row tells which"
        table.refuse(column, undecided, what, "Write them as YYYY-MM-DD, or convert the column beforehand.")
        yield nanoseconds(dates)


def _layouts_of(tables: Sequence[Table], column: str) -> tuple[list[str], bool]:
    """The formats of the texts, the one that reads most of them first; and whether two read all of them."""
    first, whole = None, True
    for table in tables:
        texts, missing = _texts(table, column)
        if first is None and not missing.all():
            first = texts[~missing].iloc[0]
        whole = whole and not (_dates(table, column, texts, ISO).isna().to_numpy() & ~missing).any()
    layouts = [] if whole or first is None else date_layouts(first)
    if len(layouts) < 2:
        return layouts or [ISO], False
    unread = [0, 0]
    for table in tables:
        texts, missing = _texts(table, column)
        for place, layout in enumerate(layouts):
            unread[place] += int((_dates(table, column, texts, layout).isna().to_numpy() & ~missing).sum())
    if not any(unread):
        return layouts, True
    return [layouts[int(unread[1] < unread[0])]], False


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
