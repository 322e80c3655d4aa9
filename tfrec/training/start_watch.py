"""Ends a worker that waits for ever because another died after the meeting, before TensorFlow's cluster had begun.

TensorFlow waits for all workers in one call that holds Python's lock and heeds neither a time limit nor a signal that
Python or it handles: no thread of the process can end the wait. So a process of its own watches, this file run as a
program, for which reason it imports nothing of tfrec:

    python start_watch.py SECONDS HOST:PORT=NAME [HOST:PORT=NAME ...]

It ends when its standard input does, which is when the worker has begun or is gone. After the seconds it says on
standard error which of the named workers never listened, and kills its parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

SECONDS = 120.0  # From the meeting of all to the start of TensorFlow, which takes seconds.
PAUSE = 0.5


@contextlib.contextmanager
def watched(others: Mapping[str, str], seconds: float = SECONDS) -> Iterator[None]:
    """Kill this process, with a line that says why, where the block takes longer.

    Args:
        others: HOST:PORT -> name in words, of the workers that TensorFlow waits for.
        seconds: the longest that it may take.
    """
    command = [sys.executable, "-I", __file__, str(seconds), *(f"{address}={name}" for address, name in others.items())]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watcher:
        try:
            yield
        finally:
            watcher.communicate()


def main(arguments: Sequence[str]) -> None:
    """Watch until the standard input ends, or the time is over."""
    parent, deadline = os.getppid(), time.monotonic() + float(arguments[0])
    missing = dict(argument.split("=", 1) for argument in arguments[1:])
    while time.monotonic() < deadline:
        ready, _, _ = select.select([sys.stdin], [], [], PAUSE)
        if ready:
            return
        missing = {address: name for address, name in missing.items() if not _listens(address)}
    gone = " and ".join(missing.values()) or "a worker"
    sys.stderr.write(
        f"tfrec: error: {gone} has gone before the training began. Start the same command again on every worker.\n"
    )
    sys.stderr.flush()
    os.kill(parent, signal.SIGKILL)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), 2.0):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
