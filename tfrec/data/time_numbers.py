"""Numbers that are times: what all of a column say of their unit; `timestamps` and `cuts` build on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SECOND = 10**9
# Numbers of such a magnitude cannot be coarser: 1e11 seconds is the year 5138, 1e11 milliseconds is 1973.
_UNITS = (
    (1e17, 1, "nanoseconds"),
    (1e14, 10**3, "microseconds"),
    (1e11, 10**6, "milliseconds"),
    (0.0, SECOND, "seconds"),
)


def unit_of(magnitude: float) -> tuple[int, str]:
    """The unit of numbers of such a magnitude: its nanoseconds, and its name."""
    return next((factor, unit) for least, factor, unit in _UNITS if magnitude > least or least == 0)


class Numbers:
    """What all numbers of a column say together: their unit, whether all are whole, whether all are dates."""

    def __init__(self) -> None:
        self.count, self.whole, self.calendar = 0, True, True
        self._row, self.first = math.inf, math.nan
        self._above = {least: 0 for least, _, _ in _UNITS if least}
        self._below = dict.fromkeys(self._above, -np.inf)  # The largest number that is not above, and the next one.
        self._next = dict.fromkeys(self._above, np.inf)

    def add(self, row: int, values: np.ndarray | None) -> bool:
        """Count the numbers of a piece that begins at a row; False where they are none."""
        if values is None:
            return False
        if len(values):
            if row < self._row:
                self._row, self.first = row, values[0]
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

    @staticmethod
    def merged(found: Sequence[Numbers | None]) -> Numbers | None:
        """What the numbers of several pieces say together; None where some are none."""
        result = Numbers()
        for one in found:
            if one is None:
                return None
            if one._row < result._row:
                result._row, result.first = one._row, one.first
            result.count += one.count
            result.calendar, result.whole = result.calendar and one.calendar, result.whole and one.whole
            for least in result._above:
                result._above[least] += one._above[least]
                result._below[least] = max(result._below[least], one._below[least])
                result._next[least] = min(result._next[least], one._next[least])
        return result

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


def _calendar(values: np.ndarray) -> bool:
    """Whether all of the values are dates such as 20150301, and not seconds."""
    if not ((values >= 1970_01_01) & (values < 2100_01_01)).all():
        return False
    whole = values.astype(np.int64)
    month, day = whole // 100 % 100, whole % 100
    return bool(((values == whole) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def scaled(values: np.ndarray, factor: int) -> np.ndarray:
    """`values * factor` as int64; the whole part apart, so that whole seconds stay exact."""
    whole = np.floor(values)
    return whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)
