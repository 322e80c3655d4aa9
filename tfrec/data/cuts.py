"""The cuts of a split by time, and the second that each one means; used by `splits`."""

from __future__ import annotations

import datetime
import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfrec.data.options import Cut
from tfrec.data.timestamps import SECOND, date_layouts, nanoseconds, unit_of

# Numbers that are looked through at once for the n-th one.
ENOUGH = 2**22


def cut_second(name: str, cut: Cut, seconds: Sequence[np.ndarray]) -> int:
    """The second at which a part of the split begins.

    Args:
        name: the option's name, for messages.
        cut: a share of the events ("80%", 0.8), seconds since 1970 (or a finer unit, told by the magnitude), or a date.
        seconds: int64 [events] of each part, the times of all events.

    Returns:
        The cut in seconds since 1970, rounded up. For a share it is the time of the first event after that share.

    Raises:
        ValueError: the cut is none of these.
    """
    share = _share(name, cut)
    if share is not None:
        count = sum(map(len, seconds))
        return nth_smallest(seconds, min(math.ceil(share * count), count - 1))
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


def nth_smallest(parts: Sequence[np.ndarray], place: int) -> int:
    """The number at a place, from 0, of all numbers in order, without having them all at once.

    Args:
        parts: int64, all of the numbers; they are gone through more than once.
        place: from 0.
    """
    low, high = min(int(part.min()) for part in parts if len(part)), max(int(part.max()) for part in parts if len(part))
    while True:
        found = [part[(part >= low) & (part <= high)] for part in parts] if _held(parts, low, high) <= ENOUGH else None
        if found is not None or low == high:
            return low if found is None else int(np.partition(np.concatenate(found), place)[place])
        middle = low + (high - low) // 2
        below = _held(parts, low, middle)
        low, high, place = (low, middle, place) if place < below else (middle + 1, high, place - below)


def _held(parts: Sequence[np.ndarray], low: int, high: int) -> int:
    """How many numbers lie from `low` to `high`."""
    return sum(int(((part >= low) & (part <= high)).sum()) for part in parts)
