"""Labels: what is predicted of an event besides its item, a number in a range or yes and no; read by `events`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrec.data.tables import Table


@dataclass(frozen=True)
class Label:
    """How a label is read from a column of the events. Where the column has no value, the label is unknown.

    Args:
        column: the column, of numbers.
        range: lowest and highest value of a rating; None for a label of yes and no (a click, a purchase).
        at_least: the least value that means yes; None where the column holds 1 for yes and 0 for no.
    """

    column: str
    range: tuple[float, float] | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        """Refuse a range that is none, and a label of both kinds."""
        if self.range is not None:
            object.__setattr__(self, "range", tuple(map(float, self.range)))
            if len(self.range) != 2 or not self.range[0] < self.range[1]:
                raise ValueError(f"range must be a lowest and a highest value, such as (1, 5); got {self.range!r}.")
            if self.at_least is not None:
                raise ValueError(
                    f"A label has a range or a least value that means yes, not both; got range={self.range!r} and"
                    f" at_least={self.at_least!r}."
                )

    @property
    def binary(self) -> bool:
        """Whether it is a label of yes and no."""
        return self.range is None


def read_label(table: Table, name: str, label: Label) -> np.ndarray:
    """The label of each row of the events, float32: a rating as it is written, 1 for yes and 0 for no, NaN for unknown.

    Args:
        table: the events.
        name: what the label is called.
        label: how it is read.

    Raises:
        ValueError: the column is missing or holds no number, what lies outside the range, or other than 0 and 1.
    """
    table.require([label.column])
    numbers = table.numbers(label.column)
    if label.range is not None:
        low, high = label.range
        outside = (numbers < low) | (numbers > high)
        what = f"values lie outside the range {low:g} to {high:g} of the label {name!r}"
        table.refuse(label.column, outside, what, "Correct those rows, or the range.")
        return numbers.astype(np.float32)
    if label.at_least is not None:
        return np.where(np.isnan(numbers), np.nan, numbers >= label.at_least).astype(np.float32)
    wrong = ~np.isnan(numbers) & (numbers != 0) & (numbers != 1)
    what = f"values are neither 0 nor 1, as the label {name!r} needs"
    table.refuse(label.column, wrong, what, "Correct those rows, or say from which value on it is a yes, as at_least.")
    return numbers.astype(np.float32)
