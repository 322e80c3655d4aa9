"""What the workers of a cluster are told to do, and what they say; `runner` asks for it, `beam_pipelines` has it done.

A worker may be another machine: what it needs lies in a file of a folder that all of them share, and what it says is
a `Said`, so that a mistake in a table is told in the same words wherever it is met.
"""

from __future__ import annotations

import functools
import os
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec.data.table_pieces import Reading
from tfrec.data.tables import Table
from tfrec.data.totals import Merge


@dataclass(frozen=True)
class Said:
    """What is said of a thing: a value, or the error that it ended in.

    Attributes:
        place: of several errors that of the first place is told.
        value: the value; None where there is an error.
        error: the error.
    """

    place: int
    value: Any = None
    error: ValueError | OSError | None = None

    def told(self) -> Any:
        """The value, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.value


# A place in the order of the table, and a piece, or the error that came in place of it.
Piece = tuple[int, Table | Said]
Slice = tuple[int, Mapping[str, Any]]


def read(reading: Reading) -> Iterator[Piece]:
    """The pieces of a reading."""
    place = reading.start
    try:
        for table in reading.tables():
            yield place, table
            place += len(table.frame)
    except (ValueError, OSError) as error:
        yield place, Said(place, error=error)


def say(thing: tuple[int, Any], step: Path) -> Said:
    """What a step says of a thing at its place; it is a function that lies in a file."""
    place, given = thing
    return given if isinstance(given, Said) else _said(place, lambda: _held(step)(given))


def cut(piece: Piece, step: Path) -> tuple[Said, list[Slice]]:
    """What is wrong with a piece, and its slices; the step is a `Sorting`."""
    place, table = piece
    said = table if isinstance(table, Said) else _said(place, lambda: _held(step).cut(table))
    findings, slices = said.value or (None, [])
    return Said(place, findings, said.error), slices


def put_together(part: tuple[int, Iterable[Mapping[str, Any]]], step: Path) -> Said:
    """Put a part on the shelf from its slices; the step is a `Sorting`."""
    number, slices = part
    return _said(number, lambda: _held(step).put_together(number, slices))


def merged(merge: Merge, several: Iterable[Said]) -> Said:
    """What several things say together: the first error, if there is one."""
    held = list(several)
    wrong = [one for one in held if one.error is not None]
    if wrong:
        return min(wrong, key=lambda one: one.place)
    return Said(min(one.place for one in held), merge([one.value for one in held]))


def stored(value: Any, path: Path) -> None:
    """Put a value into a file, which is there whole or not at all, however many workers do it."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.pickle")
    with open(temporary, "wb") as file:
        pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
    os.replace(temporary, path)


def found(path: Path) -> Any:
    """What was put into a file."""
    with open(path, "rb") as file:
        return pickle.load(file)


@functools.lru_cache(maxsize=1)
def _held(step: Path) -> Any:
    """What lies in the file of a step, which a worker reads once."""
    try:
        return found(step)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"A worker does not see {step.parent}: the folder of the run must lie where this machine and all workers"
            " see it under the same path."
        ) from error


def forget() -> None:
    """Free what this process remembers of the last step."""
    _held.cache_clear()


def _said(place: int, tell: Callable[[], Any]) -> Said:
    try:
        return Said(place, tell())
    except (ValueError, OSError) as error:
        return Said(place, error=error)
