"""One request from its arrays to its outputs, whatever port it came through; it holds what the ports share."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import grpc
import numpy as np
from starlette.requests import ClientDisconnect

from tfrec.serving.server.batching import Batcher, Size, counted_cells
from tfrec.serving.server.loaded import LoadedVersion, check
from tfrec.serving.server.metrics import Metrics
from tfrec.serving.server.options import Options
from tfrec.serving.server.problems import ProblemError, exhausted, invalid
from tfrec.serving.server.repository import Repository

logger = logging.getLogger(__name__)


class Predictor:
    """What answers requests.

    Attributes:
        options: what the operator chose.
        repository: the versions.
        metrics: what is counted.
        starting: whether versions are still loaded for the first time; nothing is answered yet.
        stopping: whether the server takes leave; it is not ready any more, and still answers what comes.
    """

    def __init__(self, options: Options, repository: Repository, metrics: Metrics) -> None:
        """Start the threads that compute."""
        self.options, self.repository, self.metrics = options, repository, metrics
        self.starting, self.stopping = True, False
        self._batcher = Batcher(options.cores, options.batch_rows, options.limits.pending, metrics.run)
        metrics.watch_pending(lambda: self._batcher.pending)
        self._held_bytes = 0
        self._expected = None if options.token is None else f"Bearer {options.token}".encode()

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.repository.ready and not self.starting and not self.stopping

    @property
    def pending(self) -> int:
        """Requests that wait or run."""
        return self._batcher.pending

    def admit(self, authorization: str | bytes | None) -> None:
        """Let a request in by its `authorization`.

        Raises:
            ProblemError: a token is needed, and this is not it; or nothing is loaded yet.
        """
        given = authorization or b""
        given = given.encode("utf-8", "replace") if isinstance(given, str) else given
        if self._expected is not None and not hmac.compare_digest(given, self._expected):
            raise ProblemError(
                grpc.StatusCode.UNAUTHENTICATED, "This server needs its token: authorization: Bearer ..."
            )
        if self.starting:
            raise ProblemError(grpc.StatusCode.UNAVAILABLE, "The server is loading its versions. Try again later.")

    @contextmanager
    def counted(self, protocol: str, method: str, model: Callable[[], str]) -> Iterator[None]:
        """Count what happens inside, with its time and its code; `model` is asked at the end."""
        start, code = time.perf_counter(), grpc.StatusCode.OK
        try:
            yield
        except ProblemError as problem:
            code = problem.code
            raise
        except (asyncio.CancelledError, ClientDisconnect):
            code = grpc.StatusCode.CANCELLED
            raise
        except BaseException:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            seconds = time.perf_counter() - start
            self.metrics.request(protocol, method, model(), code.name, seconds)
            if self.options.log_requests:
                told = {"protocol": protocol, "method": method, "model": model(), "code": code.name}
                logger.info(
                    "%s %s of %s: %s in %.1f ms", *told.values(), 1000 * seconds,
                    extra={**told, "seconds": round(seconds, 6)},
                )  # fmt: skip

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Hold a body or message of so many bytes.

        Raises:
            ProblemError: together with those that are held already it is too large.
        """
        most = self.options.limits.pending_bytes
        if self._held_bytes + size > most:
            raise exhausted(f"The server is busy: it holds {self._held_bytes} bytes of requests. Try again later.")
        self._held_bytes += size
        try:
            yield
        finally:
            self._held_bytes -= size

    async def predict(
        self,
        version: LoadedVersion,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature.

        Args:
            version: from the repository, in this turn of the event loop.
            signature: its name.
            inputs: whatever came from the network.
            seconds: what the client still waits; the server's limit where that is less or None.

        Raises:
            ProblemError: see `check` and `Batcher.run`.
        """
        limits = self.options.limits
        rows = check(version.signature(signature), inputs, limits.rows)
        cells = counted_cells(signature, inputs)
        if cells > limits.cells:
            raise invalid(f"The request has {cells} values in one input; this server takes {limits.cells}.")
        wait = limits.seconds if seconds is None else min(limits.seconds, seconds)
        return await self._batcher.run(version, signature, inputs, Size(rows, cells), max(0.0, wait))

    def close(self) -> None:
        """Let running computations end."""
        self._batcher.close()
