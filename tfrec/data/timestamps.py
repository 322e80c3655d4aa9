"""Times of a column as nanoseconds since 1970, and the cuts of a split; `events` and `splits` build on it."""

from __future__ import annotations

import datetime
import logging
import math
import re
import warnings

import numpy as np
import pandas as pd

from tfrec.data.options import Cut
from tfrec.data.tables import Table, missing_texts, spelled

logger = logging.getLogger(__name__)

NO_TIME = np.iinfo(np.int64).min
SECOND = 10**9
# Numbers of such a magnitude cannot be coarser: 1e11 seconds is the year 5138, 1e11 milliseconds is 1973.
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
    series = table.frame[column]
    if pd.api.types.is_bool_dtype(series):
        raise ValueError(f"{table.label}, column {column!r}: times are expected, and the column holds true and false.")
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if pd.api.types.is_numeric_dtype(series):
        return _from_numbers(table, column, series, series.isna().to_numpy())
    if pd.api.types.is_datetime64_any_dtype(series):
        return _from_dates(pd.to_datetime(series, utc=True))
    texts = spelled(series)
    missing = missing_texts(texts)
    numbers = pd.to_numeric(texts.where(~missing), errors="coerce")
    if missing.all() or not (numbers.isna().to_numpy() & ~missing).any():
        return _from_numbers(table, column, numbers, missing)
    return _from_texts(table, column, texts.where(~missing), missing)


def cut_second(name: str, cut: Cut, seconds: np.ndarray) -> int:
    """The second at which a part of the split begins.

    Args:
        name: the option's name, for messages.
        cut: a share of the events ("80%", 0.8), seconds since 1970 (or a finer unit, told by the magnitude), or a date.
        seconds: int64 [events], the times of all events.

    Returns:
        The cut in seconds since 1970, rounded up. For a share it is the time of the first event after that share.

    Raises:
        ValueError: the cut is none of these.
    """
    share = _share(name, cut)
    if share is not None:
        return int(np.sort(seconds)[min(math.ceil(share * len(seconds)), len(seconds) - 1)])
    number = _number(cut)
    if math.isfinite(number):
        return math.ceil(number / (SECOND // _unit(abs(number))[0]))
    given = pd.Series([cut if isinstance(cut, (str, datetime.date)) else ""], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the format is guessed for one value alone
        moment = pd.to_datetime(given, utc=True, errors="coerce")
    if moment.isna().any():
        raise ValueError(
            f"{name} must be a date such as '2015-03-01', seconds since 1970, or a share of the events such as '80%';"
            f" got {cut!r}."
        )
    layouts = _layouts(cut) if isinstance(cut, str) else []
    if len({pd.to_datetime(cut, utc=True, errors="coerce", format=layout) for layout in layouts} - {pd.NaT}) > 1:
        raise ValueError(f"{name} may have the day or the month first; write it as YYYY-MM-DD; got {cut!r}.")
    return -(-int(_from_dates(moment)[0]) // SECOND)


def spell_second(second: int) -> str:
    """A second since 1970 as a date that a person can read, beside the number."""
    return f"{second} ({str(np.datetime64(second, 's')).replace('T', ' ')} UTC)"


def _share(name: str, cut: Cut) -> float | None:
    if isinstance(cut, str) and cut.strip().endswith("%"):
        share = pd.to_numeric(cut.strip()[:-1], errors="coerce") / 100
        if not 0 < share < 1:
            raise ValueError(f"{name}: a share of the events lies between 0% and 100%; got {cut!r}.")
        return float(share)
    return cut if isinstance(cut, float) and 0 < cut < 1 else None


def _number(cut: Cut) -> float:
    """The cut as a number, NaN where it is none."""
    try:
        return float(cut) if isinstance(cut, (str, int, float)) and not isinstance(cut, bool) else math.nan
    except ValueError:
        return math.nan


def _unit(magnitude: float) -> tuple[int, str]:
    return next((factor, unit) for least, factor, unit in _UNITS if magnitude > least or least == 0)


def _from_numbers(table: Table, column: str, numbers: pd.Series, missing: np.ndarray) -> np.ndarray:
    result = np.full(len(numbers), NO_TIME, np.int64)
    if missing.all():
        return result
    present = numbers[~missing]
    whole = pd.api.types.is_integer_dtype(present)
    values = present.to_numpy(dtype=np.int64 if whole else np.float64)
    factor, unit = _unit(float(np.median(np.abs(values))))
    table.refuse(column, _spread(np.abs(values * float(factor)) >= 9.2e18, missing), "are no plausible times")
    table.refuse(
        column, _spread(_calendar(values), missing), "are dates written as whole numbers", "Write them as 2015-03-01."
    )
    if unit != "seconds":
        logger.warning(
            "%s, column %r: numbers such as %s are read as %s since 1970", table.label, column, values[0], unit
        )
    result[~missing] = values * factor if whole else _scaled(values, factor)
    return result


def _calendar(values: np.ndarray) -> np.ndarray:
    """Whether the values are dates such as 20150301, and not seconds: bool [n], all of them or none."""
    whole = values.astype(np.int64)
    year, month, day = whole // 10000, whole // 100 % 100, whole % 100
    dates = (values == whole) & (year >= 1970) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return np.full(len(values), dates.all())


def _scaled(values: np.ndarray, factor: int) -> np.ndarray:
    """`values * factor` as int64; the whole part apart, so that whole seconds stay exact."""
    whole = np.floor(values)
    return whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)


def _from_texts(table: Table, column: str, texts: pd.Series, missing: np.ndarray) -> np.ndarray:
    undecided = np.zeros(len(texts), bool)
    try:
        dates = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
        if (dates.isna().to_numpy() & ~missing).any():
            layouts = _layouts(texts[~missing].iloc[0])
            readings = [pd.to_datetime(texts, utc=True, errors="coerce", format=layout) for layout in layouts]
            dates = min(readings, key=lambda reading: int(reading.isna().sum()), default=dates)
            undecided = _undecided(readings, missing)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{table.label}, column {column!r}: cannot be parsed as times: {error}.") from error
    bad = dates.isna().to_numpy() & ~missing
    table.refuse(column, bad, "are no times", "Write seconds since 1970 or dates such as 2015-03-01 17:30:00.")
    what = "dates may have the day or the month first, and no row tells which"
    table.refuse(column, undecided, what, "Write them as YYYY-MM-DD, or convert the column beforehand.")
    return _from_dates(dates)


def _layouts(text: str) -> list[str]:
    """The formats that a date may have: none, one, or two where its numbers do not tell the month from the day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 13/01/2015 has its day first
        layout = pd.tseries.api.guess_datetime_format(text)
    if layout is None:
        return []
    if layout.startswith("%Y") or "%m" not in layout or "%d" not in layout:
        return [layout]
    return [layout, re.sub("%[md]", lambda found: "%d" if found[0] == "%m" else "%m", layout)]


def _undecided(readings: list[pd.Series], missing: np.ndarray) -> np.ndarray:
    """Rows that two readings of the whole column take for different times; bool [rows]."""
    if len(readings) < 2 or any((reading.isna().to_numpy() & ~missing).any() for reading in readings):
        return np.zeros(len(missing), bool)
    return (readings[0] != readings[1]).to_numpy() & ~missing


def _from_dates(dates: pd.Series) -> np.ndarray:
    return dates.dt.as_unit("ns").astype("int64").to_numpy()  # a missing one is the smallest int64: NO_TIME


def _spread(bad: np.ndarray, missing: np.ndarray) -> np.ndarray:
    result = np.zeros(len(missing), bool)
    result[~missing] = bad
    return result
