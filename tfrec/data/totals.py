"""A total: what a function says of each of some things, merged; `prepare` is made of totals over pieces and parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")
Thing = TypeVar("Thing")
Merge = Callable[[Sequence[T]], T]


class Total(Protocol):
    """Goes through things; where, and in which order, is left open, so that a cluster can do it.

    The function, the things and what it says can be pickled. `merge` is given a list, not empty, of what was said or
    was merged before; the order counts for nothing, and it changes nothing that it is given.
    """

    def __call__(self, function: Callable[[Thing], T], things: Iterable[Thing], merge: Merge[T], /) -> T:
        """What the function says of all things, of which there is one at least."""
        ...


def in_turn(function: Callable[[Thing], T], things: Iterable[Thing], merge: Merge[T], /) -> T:
    """The total in this process, one thing after the other."""
    return functools.reduce(lambda before, one: merge([before, one]), map(function, things))


def added(several: Sequence[Any]) -> Any:
    """Merges numbers, or arrays of them."""
    return np.sum(several, axis=0)


def either(several: Sequence[Any]) -> Any:
    """Merges arrays of what is true, which are all None where there is nothing to be told."""
    return None if several[0] is None else np.any(several, axis=0)


def joint(several: Sequence[dict[int, int]]) -> dict[int, int]:
    """Merges what is said of parts, by their numbers."""
    return {part: said for one in several for part, said in one.items()}
