"""`prepare` by the workers of a cluster: the same functions as in one process, over pieces and parts wherever they lie.

The table is read twice. The first reading says what holds for all of it: what is wrong with it, the distinct ids and
values, how times are written, and where parts begin. The second one cuts every piece into slices, one for each part,
and a part is put together from its slices and put on a shelf of files. All that follows is totals over the parts.
"""

from __future__ import annotations

import abc
import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tfrec.data.cluster import work
from tfrec.data.cluster.reading import Coding, Overview, Sorting, box_of
from tfrec.data.draft import Draft
from tfrec.data.event_log import EventLog
from tfrec.data.event_parts import first_users
from tfrec.data.events import columns_of, say_repeated
from tfrec.data.options import EventColumns
from tfrec.data.records import ShardWriter, shard_name
from tfrec.data.scored_events import EventWriter
from tfrec.data.shelf import Shelf
from tfrec.data.table_pieces import Reading, reading_of
from tfrec.data.tables import Source, Table
from tfrec.data.timestamps import spelling_of
from tfrec.data.totals import Merge, T, Thing, Total, added, in_turn
from tfrec.features import EVENTS_SCORED

# Rows of a piece at most: pieces go from worker to worker.
PIECE = 2**16


class ClusterRunner(abc.ABC):
    """Workers on any number of machines, which see the tables and the folder of the run; a subclass is their master.

    What they do is in `work`. A step is a file that tells them more; a result is the file that they leave.
    """

    @abc.abstractmethod
    def total(self, things: Sequence[tuple[int, Any]], step: Path, merge: Merge, result: Path) -> None:
        """Have them `say` something of each thing, at its place, and store it `merged`."""

    @abc.abstractmethod
    def total_of_pieces(self, readings: Sequence[Reading], step: Path, merge: Merge, result: Path) -> None:
        """Have them `read` pieces, `say` something of each, and store it `merged`."""

    @abc.abstractmethod
    def sort(self, readings: Sequence[Reading], step: Path, findings: Path, result: Path) -> None:
        """Have them `read` pieces, `cut` each, bring the slices of a part together, and `put_together` each part.

        What is said of the pieces is stored as findings, merged by `Findings.merged`; of the parts, by `joint`.
        """

    def read_log(
        self, source: Source, columns: EventColumns | None, *, by_time: bool, memory: float, folder: Path
    ) -> EventLog:
        """Read, check and order the events; each part of them is what `memory` holds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the table is none, or the order does not tell two events of a user apart.
        """
        if isinstance(source, pd.DataFrame):
            raise ValueError("`events` is a DataFrame, and workers read a file: write it as .parquet, give its path.")
        whole = reading_of(source, "events", memory)
        reading = replace(whole, rows=min(whole.rows, PIECE))
        first = next(reading.tables())
        coding = Coding(columns_of(first, columns), first.label, by_time)
        bench, readings, time = Bench(self, folder), reading.apart(), coding.columns.timestamp
        of_pieces = functools.partial(bench.of_pieces, readings)
        seen: Overview = of_pieces(functools.partial(Overview.of, coding), Overview.merged)
        seen.findings.tell()
        spelling = None if time is None else spelling_of(first, time, seen.numbers, of_pieces)
        begins = first_users(seen.users, -(-seen.rows // whole.rows))
        sorting = Sorting(coding, spelling, seen.categories(), begins, Shelf(folder))
        repeated = bench.sort(sorting, readings)
        boxes = tuple(box_of(part) for part in sorted(repeated))
        labels, twice = tuple(coding.columns.labels), sum(repeated.values())
        log = EventLog(sorting.shelf, boxes, sorting.categories, labels, time is not None, twice, over=bench)
        say_repeated(log, first.label)
        return log

    def write(self, draft: Draft, folder: Path) -> None:
        """Write all of a draft but the manifest: workers write the parts and join what the shards have of each."""
        log = draft.splits.log
        parts = [(log.shelf.folder or folder) / f"written{part}" for part in range(len(log))]
        log.total(functools.partial(_write_part, draft, parts), added)
        log.over(functools.partial(_join, parts, folder, draft.options.shards), range(draft.options.shards), added)
        with EventWriter(folder / EVENTS_SCORED) as scored:
            for part in parts:
                scored.append(part / EVENTS_SCORED)
        draft.write_tables(folder)


class Bench:
    """A `Total` by the workers of a cluster.

    Args:
        runner: their master.
        folder: where they and this process leave things for one another; made here.
    """

    def __init__(self, runner: ClusterRunner, folder: Path) -> None:
        self._runner, self._folder = runner, folder
        folder.mkdir()

    def __reduce__(self) -> tuple[Callable[[], Total], tuple[()]]:
        """A worker goes through what it is given by itself."""
        return _alone, ()

    def __call__(self, function: Callable[[Thing], T], things: Iterable[Thing], merge: Merge[T], /) -> T:
        """What the function says of all things, merged."""
        numbered = list(enumerate(things))
        return self._asked(function, lambda step, result: self._runner.total(numbered, step, merge, result))

    def of_pieces(self, readings: Sequence[Reading], function: Callable[[Table], T], merge: Merge[T]) -> T:
        """What the function says of all pieces of the table, merged."""
        return self._asked(function, lambda step, result: self._runner.total_of_pieces(readings, step, merge, result))

    def sort(self, sorting: Sorting, readings: Sequence[Reading]) -> dict[int, int]:
        """Put all parts on the shelf; how many rows of each part repeated another one.

        Raises:
            ValueError: a time is none, or the order does not tell two events of a user apart.
        """
        findings = self._new()

        def ask(step: Path, result: Path) -> None:
            self._runner.sort(readings, step, findings, result)
            _told(findings).tell()

        return self._asked(sorting, ask)

    def _asked(self, given: Any, ask: Callable[[Path, Path], None]) -> Any:
        step, result = self._new(), self._new()
        work.stored(given, step)
        try:
            ask(step, result)
            return _told(result)
        finally:
            work.forget()
            step.unlink(missing_ok=True)

    def _new(self) -> Path:
        return self._folder / f"{uuid.uuid4().hex}.pickle"


def _told(result: Path) -> Any:
    """What the workers said, or the error raised that they met first."""
    try:
        said = work.found(result)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The workers left nothing in {result.parent}: the folder of the run must lie where this machine and all"
            " workers see it under the same path."
        ) from error
    result.unlink()
    return said.told()


def _alone() -> Total:
    return in_turn


def _write_part(draft: Draft, parts: Sequence[Path], part: int) -> int:
    """Write what a part has of each shard and of the scored events to a folder of its own."""
    made = parts[part].with_name(f".{uuid.uuid4().hex}")
    made.mkdir()
    with (
        ShardWriter(made, draft.options.shards) as shards,
        EventWriter(made / EVENTS_SCORED, packed=False) as scored,
    ):
        draft.write_events(part, shards, scored)
    try:
        made.rename(parts[part])
    except OSError:
        if not parts[part].is_dir():  # Else another attempt at the same part was faster.
            raise
    return 1


def _join(parts: Sequence[Path], folder: Path, shards: int, shard: int) -> int:
    """Join what the parts have of a shard."""
    name = shard_name(shard, shards)
    made = parts[0].with_name(f".{uuid.uuid4().hex}")
    with open(made, "wb") as whole:
        for part in parts:
            with open(part / name, "rb") as file:
                shutil.copyfileobj(file, whole, 2**20)
    os.replace(made, folder / name)
    return 1
