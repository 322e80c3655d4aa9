"""Where the workers of a training meet before it begins: all are there, all mean the same, and all start alike.

Plain sockets, at the chief's own address, before TensorFlow takes it over: a worker that is missing, or was started
with other settings, is then named in one line, where TensorFlow would wait for ever or fail in the middle of a step.
Nothing here is secret or signed, no more than what TensorFlow's workers send to each other: trust the network.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tfrec.training.cluster import Cluster

PROTOCOL = "tfrec workers 1"
PAUSE = 0.2  # Seconds between two tries to reach the chief.
CHUNK = 2**20
ERROR, DONE, FILES = "error", "done", "files"

logger = logging.getLogger(__name__)


def gather(cluster: Cluster, about: Mapping[str, Any], files: Mapping[str, Path], seconds: float) -> None:
    """As the chief, wait for all workers, compare what they are about to train, and give them the files to go on from.

    Args:
        cluster: who is waited for.
        about: what has to be alike on all of them, JSON values by name; mappings may be nested.
        files: name -> file, what each worker gets.
        seconds: the longest wait.

    Raises:
        ValueError: a worker trains something else, is none that is waited for, or is there twice; it is named, and what
            is wrong. All workers that came are told the same.
        TimeoutError: somebody did not come in time.
        OSError: the chief's address cannot be listened at.
    """
    deadline, found = time.monotonic() + seconds, dict[int, tuple[socket.socket, dict[str, Any]]]()
    with contextlib.ExitStack() as stack:
        listening, callers = stack.enter_context(_listening(cluster)), list[socket.socket]()
        logger.info("waiting for %d other workers at %s", len(cluster.addresses) - 1, cluster.addresses[0])
        problem: Exception | None = None
        while problem is None and len(found) < len(cluster.addresses) - 1:
            caller = _accepted(listening, deadline)
            if caller is None:
                problem = TimeoutError(_missing(cluster, set(found), seconds))
                break
            stack.callback(caller.close)
            told = _greeting(caller)
            if told is not None:
                earlier, _ = found.get(told["worker"], (None, None))
                problem = _misplaced(cluster, told["worker"], caller, earlier)
                callers.append(caller)
                found[told["worker"]] = caller, told["about"]
        problem = problem or _difference(
            cluster, about, {worker: other for worker, (_, other) in sorted(found.items())}
        )
        for connection in callers:
            _answer(connection, {ERROR: str(problem)} if problem else {}, {} if problem else files)
        if problem:
            raise problem
        for connection in callers:
            connection.settimeout(seconds)
            with contextlib.suppress(OSError):
                connection.recv(1)  # They close first, so that the address is free at once.


def join(cluster: Cluster, about: Mapping[str, Any], folder: Path, seconds: float) -> bool:
    """As another worker, come to the chief, say what is about to be trained, and take the files to go on from.

    Args:
        cluster: where the chief is, and who this is.
        about: as for `gather`.
        folder: where the files go.
        seconds: the longest wait.

    Returns:
        Whether there is anything to train: False where the chief has a finished training.

    Raises:
        ValueError: a worker trains something else, or another did not come; in the words of the chief.
        TimeoutError: the chief did not come in time.
        OSError: this worker's own address cannot be listened at, which TensorFlow would find out after the meeting.
    """
    deadline = time.monotonic() + seconds
    _listening(cluster).close()
    logger.info("waiting for the chief at %s", cluster.addresses[0])
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(_missing(cluster, {cluster.index}, seconds))
        with contextlib.suppress(OSError, EOFError), socket.create_connection(_address(cluster, 0), left) as chief:
            _send(chief, {"protocol": PROTOCOL, "worker": cluster.index, "about": about})
            chief.settimeout(max(left, 1.0) + 5.0)  # The chief says who is missing when its own time is over.
            answer = _received(chief.makefile("rb"), folder)
            if answer is not None:
                if ERROR in answer:
                    raise ValueError(answer[ERROR])
                return not answer.get(DONE)
        time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))


@contextlib.contextmanager
def dismissing(cluster: Cluster) -> Iterator[None]:
    """As a chief that has a finished training, tell every worker that comes meanwhile that there is none."""
    with contextlib.ExitStack() as stack:
        try:
            listening = stack.enter_context(_listening(cluster))
        except OSError as error:  # It is of no matter to the chief's own work.
            logger.warning("workers that come now wait for nothing: %s", error)
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=_dismiss, args=(listening, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def silent(cluster: Cluster, seconds: float = 5.0) -> list[int]:
    """The workers that nothing listens for any more, of all others; one that is going away gets some seconds to go."""
    deadline, found = time.monotonic() + seconds, list[int]()
    others = [index for index in range(len(cluster.addresses)) if index != cluster.index]
    while not found and time.monotonic() < deadline:
        found = [index for index in others if not _answers(cluster, index, 2.0)]
        time.sleep(PAUSE)
    return found


def _answers(cluster: Cluster, index: int, seconds: float) -> bool:
    try:
        with socket.create_connection(_address(cluster, index), seconds):
            return True
    except OSError:
        return False


def _dismiss(listening: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        caller = _accepted(listening, time.monotonic() + PAUSE)
        if caller is not None:
            with caller:
                if _greeting(caller) is not None:
                    _answer(caller, {DONE: True})


def _address(cluster: Cluster, index: int) -> tuple[str, int]:
    host, _, port = cluster.addresses[index].rpartition(":")
    return host.strip("[]"), int(port)


def _listening(cluster: Cluster) -> socket.socket:
    """A socket that listens at this process's own address."""
    host, port = _address(cluster, cluster.index)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, backlog=len(cluster.addresses))
    except OSError as error:
        reason = "another program has this port" if error.errno == errno.EADDRINUSE else error.strerror
        who = "the chief" if cluster.is_chief else f"worker {cluster.index}"
        raise OSError(f"TF_CONFIG: {who} cannot listen at {cluster.addresses[cluster.index]}: {reason}.") from error


def _accepted(listening: socket.socket, deadline: float) -> socket.socket | None:
    """Who comes next; None where nobody does before the deadline, in seconds of the monotonic clock."""
    listening.settimeout(max(0.001, deadline - time.monotonic()))
    try:
        return listening.accept()[0]
    except TimeoutError:
        return None


def _greeting(caller: socket.socket) -> dict[str, Any] | None:
    """What a worker says first; None of somebody else, or of one who went away again."""
    caller.settimeout(10.0)
    try:
        told = json.loads(caller.makefile("rb").readline(CHUNK))
        return told if told["protocol"] == PROTOCOL and told["worker"] > 0 and told["about"] is not None else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _send(connection: socket.socket, value: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(value, default=str).encode() + b"\n")


def _answer(connection: socket.socket, value: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> None:
    """Send a line, and after it the files that it announces; whoever has gone meanwhile is noticed later."""
    files = files or {}
    connection.settimeout(None)
    with contextlib.suppress(OSError):
        _send(connection, {**value, FILES: {name: path.stat().st_size for name, path in files.items()}})
        for path in files.values():
            with open(path, "rb") as file:
                connection.sendfile(file)


def _received(stream: BinaryIO, folder: Path) -> dict[str, Any] | None:
    """The chief's answer, its files written; None where none came whole."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    answer = json.loads(line)
    for name, size in answer[FILES].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            while size:
                part = stream.read(min(size, CHUNK))
                if not part:
                    return None
                file.write(part)
                size -= len(part)
    return answer


def _missing(cluster: Cluster, there: set[int], seconds: float) -> str:
    """Who did not come, in one line; `there` did, and so did whoever says this."""
    whose = [0] if not cluster.is_chief else sorted(set(range(1, len(cluster.addresses))) - there)
    names = " and ".join(map(cluster.named, whose))
    return (
        f"{names} did not come within {seconds:g} seconds (training.worker_seconds). Start the same command there, "
        "with a TF_CONFIG of the same addresses and its own index, and see that the port can be reached."
    )


def _misplaced(
    cluster: Cluster, worker: int, caller: socket.socket, earlier: socket.socket | None
) -> ValueError | None:
    """What is wrong with the place that a caller says it has; None where it is a worker's, and nobody else has it."""
    last = len(cluster.addresses) - 1
    if worker > last:
        return ValueError(
            f"worker {worker}, which came from {_origin(caller)}, is none of those in the chief's TF_CONFIG, the last "
            f"of which is {cluster.named(last)}. Start all workers with a TF_CONFIG of the same addresses."
        )
    if earlier is not None and not _has_gone(earlier):
        return ValueError(
            f"two workers came as {cluster.named(worker)}, from {_origin(earlier)} and from {_origin(caller)}. Give "
            "each an index of its own in TF_CONFIG, and start the same command again on every worker."
        )
    return None


def _origin(caller: socket.socket) -> str:
    """The host of a caller; a port of the moment is of no use to anybody."""
    try:
        return str(caller.getpeername()[0])
    except OSError:
        return "a host that has gone"


def _has_gone(caller: socket.socket) -> bool:
    """Whether a caller closed its connection, as one does that was killed and is started again."""
    caller.setblocking(False)
    try:
        return not caller.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _difference(
    cluster: Cluster, mine: Mapping[str, Any], others: Mapping[int, Mapping[str, Any]]
) -> ValueError | None:
    """The first difference between the chief and another, in one line; None where all are alike."""
    wanted = _flat(json.loads(json.dumps(mine, default=str)))
    for worker, about in others.items():
        found = _flat(about)
        names = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
        if names:
            said = "; ".join(f"{name} is {found.get(name)!r}, not {wanted.get(name)!r}" for name in names[:3])
            more = f"; and {len(names) - 3} more" if names[3:] else ""
            return ValueError(
                f"{cluster.named(worker)} differs from {cluster.named(0)}: {said}{more}. All workers must be started "
                "with the same pipeline, settings and data."
            )
    return None


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The innermost values by dotted name."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{before}{name}.") if isinstance(inner, dict) else {f"{before}{name}": inner}
    return found
