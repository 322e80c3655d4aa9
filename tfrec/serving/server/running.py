"""A server from its first look at the folder to its last answer; the end of the flow of serving."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import uvicorn

from tfrec.serving.server import connections, grpc_port, rest_port, wanted
from tfrec.serving.server.metrics import Metrics
from tfrec.serving.server.options import Options
from tfrec.serving.server.predictor import Predictor
from tfrec.serving.server.repository import Repository

logger = logging.getLogger(__name__)

BACKLOG = 1024  # connections that wait to be taken
ACCEPTED_AT_ONCE = 64
FILES = 65_536  # that a server may have open, where the system lets it
# Python looks for garbage after so many new objects. Its default looks through those of a large JSON body again and
# again, which holds up all others for a second or two, and through those of TensorFlow, which `freeze` leaves out.
COLLECTION = (10_000, 20, 20)
IDLE_SECONDS = 75  # an open connection of REST without a request


class _Uvicorn(uvicorn.Server):
    """Uvicorn, which leaves the signals of the process to `Server`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """The two ports over one set of versions.

    Attributes:
        rest_port: where REST answers, once started.
        grpc_port: where gRPC answers, once started.
    """

    def __init__(self, options: Options) -> None:
        """Hold the options; nothing is loaded or bound yet."""
        self._options = options
        metrics = Metrics()
        self._repository = Repository(lambda: wanted.look(options.model, options.name), metrics)
        self._predictor = Predictor(options, self._repository, metrics)
        self.rest_port = self.grpc_port = 0
        self._grpc: grpc.aio.Server | None = None
        self._uvicorn: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the versions and answer; until they are loaded, that the server is not ready.

        Raises:
            FileNotFoundError: there is no such model.
            ValueError: it holds no version, or none that loads.
            OSError: a port is taken.
        """
        wanted.look(self._options.model, self._options.name)
        with _bound(self._options.host, self._options.rest_port) as bound:
            try:
                await self._answer_at(bound)
            except BaseException:
                await self._close(0)
                raise

    async def _answer_at(self, bound: socket.socket) -> None:
        self.rest_port = bound.getsockname()[1]
        self._grpc = grpc_port.server(self._predictor, most_connections(self._options.limits.connections))
        self.grpc_port = self._bind_grpc(self._grpc)
        await self._grpc.start()
        self._uvicorn = _Uvicorn(self._configuration())
        self._serving = asyncio.create_task(self._uvicorn.serve(sockets=[bound]))
        await self._repository.refresh()
        if not self._repository.ready:
            raise ValueError("; ".join(self._repository.problems) or f"{self._options.model} holds no version.")
        self._following = asyncio.create_task(self._repository.follow(self._options.poll_seconds))
        while not self._uvicorn.started and not self._serving.done():
            await asyncio.sleep(0.01)
        self._predictor.starting = False

    async def stop(self) -> None:
        """Take leave: first not ready any more, then running requests are answered, then everything is closed."""
        self._predictor.stopping = True
        await asyncio.sleep(self._options.notice_seconds)
        await self._close(self._options.drain_seconds)

    async def _close(self, drain: float) -> None:
        """Close whatever there is, running requests after `drain` seconds at the latest."""
        ends: list[Any] = []
        if self._following is not None:
            self._following.cancel()
        if self._grpc is not None:
            ends.append(self._grpc.stop(drain))
        if self._uvicorn is not None and self._serving is not None:
            self._uvicorn.should_exit = True
            ends.append(asyncio.wait_for(self._serving, drain + 1))
        await asyncio.gather(*ends, return_exceptions=True)
        await asyncio.to_thread(self._predictor.close)
        await self._repository.close()

    async def refresh(self) -> None:
        """Look at the folder now."""
        await self._repository.refresh()

    def _configuration(self) -> uvicorn.Config:
        options = self._options
        return uvicorn.Config(
            rest_port.application(self._predictor),
            log_config=None,
            log_level=logging.ERROR,  # Not a line for each request that is no HTTP.
            http=connections.protocol(options.limits.seconds, most_connections(options.limits.connections)),
            access_log=False,
            backlog=ACCEPTED_AT_ONCE,
            lifespan="off",
            server_header=False,
            ws="none",
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=max(1, round(options.drain_seconds)),
            h11_max_incomplete_event_size=2**16,
            ssl_certfile=None if options.certificate is None else str(options.certificate),
            ssl_keyfile=None if options.key is None else str(options.key),
        )

    def _bind_grpc(self, port_server: grpc.aio.Server) -> int:
        options = self._options
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"{host}:{options.grpc_port}"
        try:
            if options.certificate is None or options.key is None:
                port = port_server.add_insecure_port(address)
            else:
                pair = (options.key.read_bytes(), options.certificate.read_bytes())
                port = port_server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except RuntimeError:
            port = 0
        if not port:
            raise _taken(options.host, options.grpc_port, "--grpc-port")
        return int(port)


def serve(options: Options, started: Callable[[Server], None]) -> None:
    """Serve until SIGTERM or SIGINT, and end in good order.

    Args:
        options: what, where and how.
        started: called once both ports answer.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it holds no version, or none that loads.
        OSError: a port is taken.
    """
    _raise_open_files()
    gc.collect()
    gc.freeze()  # The modules; versions come and go, and are collected.
    gc.set_threshold(*COLLECTION)
    asyncio.run(_serve(options, started))


async def _serve(options: Options, started: Callable[[Server], None]) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    server = Server(options)
    starting, leaving = asyncio.create_task(server.start()), asyncio.create_task(over.wait())
    await asyncio.wait({starting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        logger.info("stopped before it had started")
        return
    await starting
    started(server)
    await leaving
    logger.info("stopping: running requests have %g s", options.drain_seconds)
    await server.stop()
    logger.info("stopped")


def most_connections(wanted: int) -> int:
    """Connections of one port that are held at a time: at most a third of the files that the process may have open."""
    return max(1, min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3))


def _raise_open_files() -> None:
    """Let the process have as many files open as it may; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens nowhere else; closed where starting fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
            found.listen(BACKLOG)  # Two servers may bind one port and not listen at it.
        except OSError as error:
            raise _taken(host, port, "--rest-port") from error
        yield found
    except BaseException:
        found.close()
        raise


def _taken(host: str, port: int, option: str) -> OSError:
    return OSError(f"{host}:{port} cannot be bound: it is in use, or not this machine's; choose another with {option}.")
