"""What is said between the workers of a training before it begins: lines of JSON, and files; `rendezvous` says when.

An empty line says nothing but that the chief is there. Whoever hears nothing for `STALL` seconds gives the other up.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tfrec.training.cluster import Cluster

PROTOCOL, VERSION = "tfrec workers", 2
STALL = 60.0  # Seconds without a word, or without taking one, after which the other side counts as gone.
CHUNK = 2**20
GREETING = 10.0, 2**26  # Seconds that one may take, and its most bytes.
FILES = "files"
_HERE = b"\n"  # The chief's sign of life, and a worker's that it has what it was given.


def address(cluster: Cluster, index: int) -> tuple[str, int]:
    """Host and port of a worker."""
    host, _, port = cluster.addresses[index].rpartition(":")
    return host.strip("[]"), int(port)


def listening(cluster: Cluster) -> socket.socket:
    """A socket that listens at this process's own address.

    Raises:
        OSError: that cannot be listened at; the message says whose address it is.
    """
    _, port = address(cluster, cluster.index)
    try:
        return _server(port, len(cluster.addresses))
    except OSError as error:
        reason = "another program has this port" if error.errno == errno.EADDRINUSE else error.strerror
        who = "the chief" if cluster.is_chief else f"worker {cluster.index}"
        raise OSError(f"TF_CONFIG: {who} cannot listen at {cluster.addresses[cluster.index]}: {reason}.") from error


def _server(port: int, backlog: int) -> socket.socket:
    """One that listens by IPv6 and IPv4 where the machine has both: a name may stand for either."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
    return socket.create_server(("", port), backlog=backlog)


def accepted(server: socket.socket, deadline: float) -> socket.socket | None:
    """Who comes next; None where nobody does before the deadline, in seconds of the monotonic clock."""
    server.settimeout(max(0.001, deadline - time.monotonic()))
    try:
        return server.accept()[0]
    except TimeoutError:
        return None


def greet(chief: socket.socket, worker: int, about: Mapping[str, Any]) -> None:
    """As a worker, say who is there and what it is about to train."""
    send(chief, {"protocol": f"{PROTOCOL} {VERSION}", "worker": worker, "about": about})


def greeting(caller: socket.socket) -> dict[str, Any] | None:
    """What a worker says first; None of somebody else, or of one who went away again.

    Raises:
        ValueError: it is a worker of another version of tfrec.
    """
    try:
        told = json.loads(_line(caller, time.monotonic() + GREETING[0]))
        protocol, worker, about = told["protocol"], told["worker"], told["about"]
        known = protocol.startswith(PROTOCOL) and worker > 0 and about is not None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if known and protocol != f"{PROTOCOL} {VERSION}":
        raise ValueError(
            f"worker {worker}, which came from {origin(caller)}, has another version of tfrec, whose workers meet "
            "otherwise: install the same one on all of them."
        )
    return dict(told) if known else None


def _line(caller: socket.socket, deadline: float) -> bytes:
    """A line, none where it does not come whole before the deadline, however slowly it comes."""
    read = bytearray()
    while not read.endswith(b"\n") and len(read) < GREETING[1]:
        caller.settimeout(max(0.001, deadline - time.monotonic()))
        part = caller.recv(CHUNK)
        if not part:
            break
        read += part
    return bytes(read)


def origin(caller: socket.socket) -> str:
    """The host of a caller; a port of the moment is of no use to anybody."""
    try:
        return str(caller.getpeername()[0]).removeprefix("::ffff:")
    except OSError:
        return "a host that has gone"


def gone(caller: socket.socket) -> bool:
    """Whether a caller closed its connection, as one does that was killed and is started again."""
    caller.setblocking(False)
    try:
        return not caller.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def send(connection: socket.socket, value: Mapping[str, Any]) -> None:
    """Send a line."""
    connection.settimeout(STALL)
    connection.sendall(json.dumps(value, default=str).encode() + b"\n")


def pulse(connection: socket.socket) -> None:
    """As the chief, let a worker that waits know that it does not wait in vain; one that has gone is noticed later."""
    connection.settimeout(STALL)
    with contextlib.suppress(OSError):
        connection.sendall(_HERE)


def hand(connection: socket.socket, files: Mapping[str, Path]) -> str | None:
    """As the chief, send files, and wait until they were taken.

    Returns:
        "", or why the worker cannot take them; None where it has gone or does not answer.
    """
    try:
        send(connection, {FILES: {name: path.stat().st_size for name, path in files.items()}})
        for path in files.values():
            with open(path, "rb") as file:
                connection.sendfile(file)
    except OSError:
        connection.settimeout(1.0)  # It may have said why before it hung up.
    try:
        answer = connection.recv(CHUNK)
    except OSError:
        return None
    return answer.decode(errors="replace").strip() if answer else None


def take(connection: socket.socket, stream: BinaryIO, sizes: Mapping[str, int], folder: Path) -> None:
    """As a worker, write the files that were announced, and say so, or what is in the way.

    Raises:
        EOFError: the chief has gone on the way.
        OSError: likewise, or the folder cannot be written.
    """
    for name, size in sizes.items():
        with _told_to(connection):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "wb")  # noqa: SIM115
        with file:
            while size:
                part = stream.read(min(size, CHUNK))
                if not part:
                    raise EOFError
                with _told_to(connection):
                    file.write(part)
                size -= len(part)
            with _told_to(connection):
                file.flush()
    connection.sendall(_HERE)


@contextlib.contextmanager
def _told_to(connection: socket.socket) -> Iterator[None]:
    """Tell the chief too what this machine has against writing."""
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            connection.sendall(f"{error.strerror or error}\n".encode())
        raise


def heard(stream: BinaryIO) -> dict[str, Any]:
    """As a worker, the chief's next line that says something.

    Raises:
        EOFError: the chief has gone, or it is somebody else who speaks.
        OSError: likewise; or it has not been heard of for as long as that may take.
    """
    while True:
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        if line.strip():
            try:
                return dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise EOFError from error
