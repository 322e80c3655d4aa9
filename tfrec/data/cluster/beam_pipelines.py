"""The pipelines that a `BeamRunner` runs: `work` as Beam's transforms. The one module that imports Beam."""

from __future__ import annotations

import contextlib
import difflib
import io
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners import create_runner

from tfrec.data.cluster import work
from tfrec.data.cluster.work import Piece, Said, Slice
from tfrec.data.findings import Findings
from tfrec.data.table_pieces import Reading
from tfrec.data.totals import Merge, joint

# What is said is merged when so much of it is there.
AT_ONCE = 16
# Beam's direct runner fetches a program to run on, each time, and falls back on this one, which runs in this process.
IN_PROCESS = "FnApiRunner"
LIKE = 0.9  # Of an option's name and a known one, from 0 to 1, from where it is taken for a slip.
ANSWERS_WITHIN = 10.0  # Seconds; of a job server.


def options_of(name: str, options: Mapping[str, Any]) -> PipelineOptions:
    """Beam's options for a runner.

    Raises:
        ImportError: the runner needs something that is not installed.
        ValueError: there is no such runner, or an option has a value that it does not take, or is mistyped.
    """
    runner = IN_PROCESS if name.lower() in ("direct", "directrunner") else name
    create_runner(runner)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            made = PipelineOptions.from_dictionary({"runner": runner, **options})
            known, all_ = set(made.get_all_options()), set(made.get_all_options(retain_unknown_options=True))
    except SystemExit:  # Beam reads options as a command does.
        told = printed.getvalue().strip().rpartition("error: ")[2]
        raise ValueError(f"The options of the runner {name!r} are refused by Beam: {told}.") from None
    _refuse_mistyped(name, all_ - known, known, alone=runner == IN_PROCESS)
    return made


def _refuse_mistyped(name: str, unknown: set[str], known: set[str], *, alone: bool) -> None:
    """Refuse options that Beam would pass over: a job server may know more than Beam, a runner `alone` has none.

    Raises:
        ValueError: an option is nobody's, or nearly one of Beam's.
    """
    for option in sorted(unknown):
        meant = difflib.get_close_matches(option, known, 1, LIKE)
        if meant or alone:
            hint = f": is {meant[0]!r} meant?" if meant else "."
            raise ValueError(f"The runner {name!r} has no option {option!r}{hint}")


def _check_answers(endpoint: str | None) -> None:
    """Refuse a job server, HOST:PORT, that nobody listens at: Beam would wait for it for ever."""
    host, _, port = (endpoint or "").rpartition(":")
    if not host or "/" in host:  # None, a server within this process, or an address that gRPC alone can read.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConnectionError(f"No job server answers at {endpoint} (option job_endpoint): {reason}.") from error


def total(options: PipelineOptions, things: Sequence[tuple[int, Any]], step: Path, merge: Merge, result: Path) -> None:
    """See `ClusterRunner.total`."""
    with _pipeline(options) as pipeline:
        said = _spread(pipeline, things) | "say" >> beam.Map(work.say, step)
        _store(said, merge, result, "said")


def total_of_pieces(
    options: PipelineOptions, readings: Sequence[Reading], step: Path, merge: Merge, result: Path
) -> None:
    """See `ClusterRunner.total_of_pieces`."""
    with _pipeline(options) as pipeline:
        said = _pieces(pipeline, readings) | "say" >> beam.Map(work.say, step)
        _store(said, merge, result, "said")


def sort(options: PipelineOptions, readings: Sequence[Reading], step: Path, findings: Path, result: Path) -> None:
    """See `ClusterRunner.sort`."""
    with _pipeline(options) as pipeline:
        cut = _pieces(pipeline, readings) | "cut" >> beam.ParDo(_Cut(step)).with_outputs("said", main="slices")
        _store(cut.said, Findings.merged, findings, "findings")
        parts = cut.slices | beam.GroupByKey() | "put together" >> beam.Map(work.put_together, step)
        _store(parts, joint, result, "parts")


@contextlib.contextmanager
def _pipeline(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline, run at the end.

    Raises:
        OSError: the runner failed, or no job server answers where one is named.
    """
    _check_answers(options.view_as(PortableOptions).job_endpoint)
    pipeline = beam.Pipeline(options=options)
    yield pipeline
    try:
        ended = pipeline.run().wait_until_finish()
    except Exception as error:  # Of any kind: each runner has its own.
        told = (str(error).strip().splitlines() or ["nothing is said"])[-1].removesuffix(".")
        raise OSError(
            f"The runner failed: {type(error).__name__}: {told}. Set TFREC_DEBUG=1 to see all of it."
        ) from error
    if ended != "DONE":
        raise OSError(f"The runner ended as {ended}: see what it logged.")


def _spread(pipeline: beam.Pipeline, things: Sequence[Any]) -> Any:
    """Things, each of which any worker may get."""
    return pipeline | "things" >> beam.Create(things, reshuffle=False) | "spread" >> beam.Reshuffle()


def _pieces(pipeline: beam.Pipeline, readings: Sequence[Reading]) -> Any:
    """The pieces of readings, each of which any worker may get."""
    return _spread(pipeline, readings) | "read" >> beam.FlatMap(work.read) | "deal" >> beam.Reshuffle()


def _store(said: Any, merge: Merge, path: Path, name: str) -> Any:
    """Merge what is said, and store it."""
    together = said | f"merge {name}" >> beam.CombineGlobally(_Merging(merge))
    return together | f"store {name}" >> beam.Map(work.stored, path)


class _Cut(beam.DoFn):
    """What is said of a piece, and its slices."""

    def __init__(self, step: Path) -> None:
        self._step = step

    def process(self, piece: Piece) -> Iterator[Slice | beam.pvalue.TaggedOutput]:
        said, slices = work.cut(piece, self._step)
        yield beam.pvalue.TaggedOutput("said", said)
        yield from slices


class _Merging(beam.CombineFn):
    """Merges what is said, some at a time."""

    def __init__(self, merge: Merge) -> None:
        self._merge = merge

    def create_accumulator(self) -> list[Said]:
        return []

    def add_input(self, held: list[Said], said: Said) -> list[Said]:
        return self._fewer([*held, said])

    def merge_accumulators(self, several: Sequence[list[Said]]) -> list[Said]:
        return self._fewer([said for held in several for said in held])

    def extract_output(self, held: list[Said]) -> Said:
        return work.merged(self._merge, held) if held else Said(0)

    def _fewer(self, held: list[Said]) -> list[Said]:
        return held if len(held) < AT_ONCE else [work.merged(self._merge, held)]
