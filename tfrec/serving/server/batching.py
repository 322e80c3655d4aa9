"""Requests that wait are computed together: the queue between the ports and the threads that compute.

No request waits for others to come. One that finds a free thread is computed at once; while all threads are busy, those
of the same version, signature and like length gather, and the next free thread takes them in one run.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from tfrec.features import CANDIDATES, CONTEXT_PREFIX, HISTORY
from tfrec.serving.names import DELIMITER, PREDICT_FULL, RECOMMEND_FULL, SUFFIX
from tfrec.serving.server.loaded import LoadedVersion
from tfrec.serving.server.problems import ProblemError, exhausted

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
CELLS_A_RUN = 2**18  # values of one input that requests are merged to at most
_DELIMITER = DELIMITER.encode()
_SHORT = 16  # Histories up to this length are of like length.


@dataclass(frozen=True)
class Size:
    """How large a request is: its rows, and the values of its largest input, as `counted_cells` counts them."""

    rows: int
    cells: int


@dataclass(frozen=True)
class Job:
    """A request in the queue."""

    version: LoadedVersion
    signature: str
    inputs: Mapping[str, np.ndarray]
    size: Size
    answer: asyncio.Future[Arrays] = field(compare=False)


def counted_cells(signature: str, inputs: Mapping[str, np.ndarray]) -> int:
    """Values of the largest input of a request; of lines, those that the delimited signatures part them into."""
    if not signature.endswith(SUFFIX):
        return max(array.size for array in inputs.values())
    return max(
        array.size + sum(line.count(_DELIMITER) for line in array) if array.dtype == object else array.size
        for array in inputs.values()
    )


class Batcher:
    """The queue; all of it but the runs themselves happens in the event loop."""

    def __init__(self, threads: int, batch_rows: int, pending: int, observe: Callable[[int], None]) -> None:
        """Start the threads.

        Args:
            threads: runs at a time.
            batch_rows: rows of a run at most, but for a single request that has more.
            pending: requests that may wait or run.
            observe: told the rows of each run.
        """
        self._pool = ThreadPoolExecutor(threads, "compute")
        self._free, self._batch_rows, self._most, self._observe = threads, batch_rows, pending, observe
        self._groups: OrderedDict[Any, deque[Job]] = OrderedDict()
        self.pending = 0

    async def run(
        self, version: LoadedVersion, signature: str, inputs: Mapping[str, np.ndarray], size: Size, seconds: float
    ) -> Arrays:
        """The outputs of a request whose inputs fit the signature.

        Raises:
            ProblemError: too many wait, the time is over, or the graph refuses the values.
        """
        if self.pending >= self._most:
            raise exhausted(f"The server is busy: {self.pending} requests wait. Try again a little later.")
        job = Job(version, signature, inputs, size, asyncio.get_running_loop().create_future())
        version.in_use += 1
        self.pending += 1
        self._groups.setdefault(_group(job), deque()).append(job)
        self._dispatch()
        try:
            return await asyncio.wait_for(job.answer, seconds)
        except TimeoutError:
            raise ProblemError(grpc.StatusCode.DEADLINE_EXCEEDED, f"There was no answer in {seconds:.3g} s.") from None

    def close(self) -> None:
        """Let running computations end, and start no other."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _dispatch(self) -> None:
        """Give waiting requests to free threads."""
        while self._free and self._groups:
            key, waiting = next(iter(self._groups.items()))
            jobs = self._next(waiting)
            if waiting:  # The others have their turn first.
                self._groups.move_to_end(key)
            else:
                del self._groups[key]
            if jobs:
                self._free -= 1
                running = asyncio.get_running_loop().run_in_executor(self._pool, compute, jobs)
                running.add_done_callback(functools.partial(self._finish, jobs))
                self._observe(sum(job.size.rows for job in jobs))

    def _next(self, waiting: deque[Job]) -> list[Job]:
        """The first requests of a group that make up a run; those that nobody waits for any more are dropped."""
        jobs: list[Job] = []
        rows = cells = 0
        while waiting:
            job = waiting[0]
            if job.answer.done():
                self._release(waiting.popleft())
                continue
            most = min(self._batch_rows, job.version.rows_a_run)
            enough = rows + job.size.rows > most or cells + job.size.cells > CELLS_A_RUN
            if jobs and (enough or _judged([*jobs, job]) > job.version.candidates_a_run):
                break
            jobs.append(waiting.popleft())
            rows, cells = rows + job.size.rows, cells + job.size.cells
        return jobs

    def _finish(self, jobs: Sequence[Job], done: asyncio.Future[list[Arrays | Exception]]) -> None:
        self._free += 1
        failure = asyncio.CancelledError() if done.cancelled() else done.exception()
        answers = [failure] * len(jobs) if failure is not None else done.result()
        for job, answer in zip(jobs, answers, strict=True):
            self._release(job)
            if job.answer.done():
                continue
            if isinstance(answer, BaseException):
                job.answer.set_exception(_told(answer, job))
            else:
                job.answer.set_result(answer)
        self._dispatch()

    def _release(self, job: Job) -> None:
        job.version.in_use -= 1
        self.pending -= 1


def compute(jobs: Sequence[Job]) -> list[Arrays | Exception]:
    """The outputs of requests of one group, or why there are none, in their order."""
    version, signature = jobs[0].version, jobs[0].signature
    try:
        rows = sum(job.size.rows for job in jobs)
        outputs = _in_runs(version, signature, merged([job.inputs for job in jobs]), rows)
    except Exception as error:  # One of them may be the reason: the others are not to suffer.
        return [error] if len(jobs) == 1 else [compute([job])[0] for job in jobs]
    ends = np.cumsum([job.size.rows for job in jobs])[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [
        {name: _without_filling(parts[name][place], job.inputs) for name in parts} for place, job in enumerate(jobs)
    ]


def _without_filling(output: np.ndarray, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a ranker says of the candidates of one request, [B, C], without those that its rows were filled up with."""
    if CANDIDATES not in inputs or output.ndim < 2:
        return output
    return output[:, : inputs[CANDIDATES].shape[1]]


def _judged(jobs: Sequence[Job]) -> int:
    """The candidates of requests that are computed together, those that fill up rows among them; 0 of no ranker."""
    widths = [job.inputs[CANDIDATES].shape[1] for job in jobs if CANDIDATES in job.inputs]
    return max(widths, default=0) * sum(job.size.rows for job in jobs)


def merged(requests: Sequence[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """The rows of several requests under one another; shorter ones are filled up with what means "missing": "" or 0."""
    if len(requests) == 1:
        return requests[0]
    return {name: _stacked([request[name] for request in requests]) for name in requests[0]}


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    widest = np.max([array.shape[1:] for array in arrays], axis=0, initial=0).astype(int).tolist()
    rows = sum(len(array) for array in arrays)
    table = np.full((rows, *widest), b"" if arrays[0].dtype == object else 0, arrays[0].dtype)
    row = 0
    for array in arrays:
        table[(slice(row, row + len(array)), *map(slice, array.shape[1:]))] = array
        row += len(array)
    return table


def _in_runs(version: LoadedVersion, signature: str, inputs: Mapping[str, np.ndarray], rows: int) -> Arrays:
    """One run, or as many as keep each within the memory of one."""
    step = version.rows_a_run
    if CANDIDATES in inputs:
        step = max(1, version.candidates_a_run // max(1, inputs[CANDIDATES].shape[1]))
    if rows <= step:
        return version.run(signature, inputs)
    parts = [
        version.run(signature, {name: array[at : at + step] for name, array in inputs.items()})
        for at in range(0, rows, step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _group(job: Job) -> Any:
    """Requests with the same key may be merged: their lengths are between the same powers of two.

    What describes events must be as long as the history, and what describes candidates as many as they are, which
    filling up would hide: one that is longer or shorter goes with those alone that are so by as much, and fails as it
    would by itself.
    """
    lengths = [(name, *(max(_SHORT, size).bit_length() for size in job.inputs[name].shape[1:])) for name in job.inputs]
    beside: list[int] = []
    if job.signature in (RECOMMEND_FULL, PREDICT_FULL):
        arrays = [(name, job.inputs[name]) for name in sorted(job.inputs)]
        described = [(name, array.shape[1]) for name, array in arrays if array.ndim > 1 and array.dtype.kind != "f"]
        beside = [length - job.inputs[_described_by(name)].shape[1] for name, length in described]
    return id(job.version), job.signature, tuple(sorted(lengths)), tuple(beside)


def _described_by(name: str) -> str:
    """The input whose values another one describes, place by place."""
    return CANDIDATES if name == CANDIDATES or name.startswith(CONTEXT_PREFIX) else HISTORY


def _told(error: BaseException, job: Job) -> BaseException:
    """The problem as the client reads it; what was not expected is logged, not told."""
    if isinstance(error, (ProblemError, asyncio.CancelledError)):
        return error
    logger.error("%s/%d %s failed", job.version.name, job.version.number, job.signature, exc_info=error)
    return ProblemError(grpc.StatusCode.INTERNAL, "The model failed on this request; the server's log says how.")
