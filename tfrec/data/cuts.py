"""The cuts of a split by time, and the second that each one means; used by `splits`."""

from __future__ import annotations

import datetime
import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.options import Cut
from tfrec.data.time_numbers import SECOND, unit_of
from tfrec.data.timestamps import date_layouts, nanoseconds
from tfrec.data.totals import added

# Ranges that the times are counted in at once, in search of the n-th one.
BINS = 2**16


class Seconds:
    """The times of all events, part by part and never all at once.

    Args:
        total: given a function of int64 [events of a part] and what merges a list of its results, it tells the merged
            result of all parts; see `EventLog.total_of_seconds`.

    Attributes:
        count: how many events there are.
        first: the least time.
        last: the largest.
    """

    def __init__(self, total: Callable[[Callable[[np.ndarray], Any], Callable[[Sequence[Any]], Any]], Any]) -> None:
        self._total = total
        self.count, self.first, self.last = total(_extent, _joint_extent)

    def nth(self, place: int) -> int:
        """The time at a place, from 0, of all times in order: the range that holds it is narrowed until it is one."""
        low, high = self.first, self.last
        while low < high:
            width = -(-(high - low + 1) // BINS)
            counts = self._total(functools.partial(_counted, low, width), added)
            held = int(np.searchsorted(np.cumsum(counts), place, side="right"))
            place -= int(counts[:held].sum())
            low, high = low + held * width, min(low + (held + 1) * width - 1, high)
        return low


def _extent(seconds: np.ndarray) -> tuple[int, int, int]:
    return len(seconds), int(seconds.min()), int(seconds.max())


def _joint_extent(found: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    counts, firsts, lasts = zip(*found, strict=True)
    return sum(counts), min(firsts), max(lasts)


def _counted(low: int, width: int, seconds: np.ndarray) -> np.ndarray:
    """How many of the times lie in each of `BINS` ranges of a width, the first of which begins at `low`; int64."""
    places = (seconds - low) // width
    return np.bincount(places[(places >= 0) & (places < BINS)], minlength=BINS)


def cut_second(name: str, cut: Cut, seconds: Seconds) -> int:
    """The second at which a part of the split begins.

    Args:
        name: the option's name, for messages.
        cut: a share of the events ("80%", 0.8), seconds since 1970 (or a finer unit, told by the magnitude), or a date.
        seconds: the times of all events.

    Returns:
        The cut in seconds since 1970, rounded up. For a share it is the time of the first event after that share.

    Raises:
        ValueError: the cut is none of these.
    """
    share = _share(name, cut)
    if share is not None:
        return seconds.nth(min(math.ceil(share * seconds.count), seconds.count - 1))
    number = _number(cut)
    if math.isfinite(number):
        return math.ceil(number / (SECOND // unit_of(abs(number))[0]))
    given = pd.Series([cut if isinstance(cut, (str, datetime.date)) else ""], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the format is guessed for one value alone
        moment = pd.to_datetime(given, utc=True, errors="coerce")
    if moment.isna().any():
        raise ValueError(
            f"{name} must be a date such as '2015-03-01', seconds since 1970, or a share of the events such as '80%';"
            f" got {cut!r}."
        )
    layouts = date_layouts(cut) if isinstance(cut, str) else []
    if len({pd.to_datetime(cut, utc=True, errors="coerce", format=layout) for layout in layouts} - {pd.NaT}) > 1:
        raise ValueError(f"{name} may have the day or the month first; write it as YYYY-MM-DD; got {cut!r}.")
    return -(-int(nanoseconds(moment)[0]) // SECOND)


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
