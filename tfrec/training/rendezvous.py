"""Where the workers of a training meet before it begins: all are there, all mean the same, and all start alike.

Plain sockets, at the chief's own address, before TensorFlow takes it over: a worker that is missing, or was started
with other settings, is then named in one line, where TensorFlow would wait for ever or fail in the middle of a step.
Nothing here is secret or signed, no more than what TensorFlow's workers send to each other: trust the network.

A worker comes and says what it is about to train. When all are there and say the same, each gets the files to go on
from and says that it has them; and when all have, the chief tells all of them to begin, at one moment.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfrec.training import wire
from tfrec.training.callers import Callers, missing
from tfrec.training.cluster import Cluster

PAUSE = 0.2  # Seconds between two tries to reach the chief.
ERROR, BEGIN, DONE = "error", "begin", "done"

logger = logging.getLogger(__name__)


def gather(cluster: Cluster, about: Mapping[str, Any], files: Mapping[str, Path], seconds: float) -> None:
    """As the chief, wait for all workers, compare what they are about to train, and give them the files to go on from.

    Args:
        cluster: who is waited for.
        about: what has to be alike on all of them, JSON values by name; mappings may be nested.
        files: name -> file, what each worker gets.
        seconds: the longest wait for the workers to come.

    Raises:
        ValueError: a worker trains something else, is none that is waited for, or is there twice; it is named, and what
            is wrong. All workers that came are told the same.
        TimeoutError: somebody did not come in time, or did not take the files.
        OSError: the chief's address cannot be listened at.
    """
    with wire.listening(cluster) as server, contextlib.closing(Callers(cluster)) as callers:
        logger.info("waiting for %d other workers at %s", len(cluster.addresses) - 1, cluster.addresses[0])
        problem = (
            callers.await_all(server, seconds) or _difference(cluster, about, callers.abouts) or callers.give(files)
        )
        callers.tell({ERROR: str(problem)} if problem else {BEGIN: True})
        if problem:
            raise problem
        callers.see_off()


def join(cluster: Cluster, about: Mapping[str, Any], folder: Path, seconds: float) -> bool:
    """As another worker, come to the chief, say what is about to be trained, and take the files to go on from.

    Args:
        cluster: where the chief is, and who this is.
        about: as for `gather`.
        folder: where the files go.
        seconds: the longest wait for the chief; when it is there, it says how long the others are waited for.

    Returns:
        Whether there is anything to train: False where the chief has a finished training.

    Raises:
        ValueError: a worker trains something else, or another did not come; in the words of the chief.
        TimeoutError: the chief did not come in time, or has gone.
        OSError: this worker's own address cannot be listened at, which TensorFlow would find out after the meeting.
    """
    deadline, met, reason = time.monotonic() + seconds, False, ""
    wire.listening(cluster).close()
    logger.info("waiting for the chief at %s", cluster.addresses[0])
    while (left := deadline - time.monotonic()) > 0:
        try:
            chief = socket.create_connection(wire.address(cluster, 0), left)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            met = True
            with chief, contextlib.suppress(EOFError, ConnectionError, TimeoutError):  # It may be started again.
                wire.greet(chief, cluster.index, about)
                return _told(chief, folder)
        time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))
    if met:
        raise TimeoutError(
            f"{cluster.named(0)} was there and has gone, or trains already. Start the same command again on every "
            "worker."
        )
    raise TimeoutError(f"{missing(cluster, {cluster.index}, seconds)} The last try ended with: {reason}.")


def _told(chief: socket.socket, folder: Path) -> bool:
    """What `join` returns, by the word of the chief.

    Raises:
        ValueError: the chief's, of any worker.
        EOFError: the chief has gone.
        OSError: likewise, or it has not been heard of for long.
    """
    chief.settimeout(wire.STALL)
    written = list[Path]()
    try:
        with chief.makefile("rb") as stream:
            while True:
                word = wire.heard(stream)
                if ERROR in word:
                    raise ValueError(word[ERROR])
                if BEGIN in word or DONE in word:
                    return BEGIN in word
                if wire.FILES not in word:
                    raise EOFError  # Somebody else has the address.
                written = [folder / name for name in word[wire.FILES]]
                wire.take(chief, stream, word[wire.FILES], folder)
    except BaseException:  # The next chief may have others to go on from, or none.
        for path in written:
            path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def dismissing(cluster: Cluster) -> Iterator[None]:
    """As a chief that has a finished training, tell every worker that comes meanwhile that there is none."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(wire.listening(cluster))
        except OSError as error:  # It is of no matter to the chief's own work.
            logger.warning("workers that come now wait for nothing: %s", error)
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=_dismiss, args=(server, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _dismiss(server: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        caller = wire.accepted(server, time.monotonic() + PAUSE)
        if caller is not None:
            with caller, contextlib.suppress(OSError, ValueError):
                if wire.greeting(caller) is not None:
                    wire.send(caller, {DONE: True})


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
        with socket.create_connection(wire.address(cluster, index), seconds):
            return True
    except OSError:
        return False


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
