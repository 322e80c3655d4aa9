"""When to ask a server again, and for how long; between the client and its transports."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
# What passes: the server starts, stops, swaps or is busy. Every request of the client only reads, so that it may be
# sent twice.
PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds


class ServerError(RuntimeError):
    """A request without an answer.

    Attributes:
        code: the name of the gRPC code, such as `NOT_FOUND`; REST's statuses have the same names.
    """

    def __init__(self, code: str, message: str) -> None:
        """Hold the code; the message begins with it."""
        super().__init__(f"{code}: {message}")
        self.code = code


def patiently(ask: Callable[[float], Answer], seconds: float, retries: int) -> Answer:
    """Ask until there is an answer, with pauses that double; each is drawn from between its half and its whole.

    Args:
        ask: (seconds that are left) -> the answer.
        seconds: for all tries and pauses together.
        retries: tries after the first.

    Raises:
        ServerError: the last try's, where it does not pass, the tries are used up, or the time is.
    """
    end = time.monotonic() + seconds
    pause = FIRST_PAUSE
    for left in range(retries, -1, -1):
        try:
            return ask(max(0.001, end - time.monotonic()))
        except ServerError as error:
            wait = pause * random.uniform(0.5, 1)  # noqa: S311, no secret
            if error.code not in PASSING or not left or time.monotonic() + wait >= end:
                raise
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
    raise AssertionError("unreachable: the last try returns or raises")
