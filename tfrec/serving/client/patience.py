"""When to ask a server again, and for how long; between the client and its transports."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
# What passes, and how often it is tried again: until the time is over while the server is not there, a few times where
# it is busy. Every request of the client only reads, so that it may be sent twice.
RETRIES = {"UNAVAILABLE": math.inf, "RESOURCE_EXHAUSTED": 5}
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds


class ServerError(RuntimeError):
    """A request without an answer.

    Attributes:
        code: the name of the gRPC code, such as `NOT_FOUND`; REST's statuses have the same names.
    """

    def __init__(self, code: str, message: str) -> None:
        """Hold the code; the message begins with it."""
        super().__init__(f"{code}: {message}")
        self.code = code


def patiently(ask: Callable[[float], Answer], seconds: float) -> Answer:
    """Ask until there is an answer, with pauses that double; each is drawn from between its half and its whole.

    Args:
        ask: (seconds that are left) -> the answer.
        seconds: for all tries and pauses together.

    Raises:
        ServerError: the last try's, where it does not pass, was tried often enough, or the time is over.
    """
    end = time.monotonic() + seconds
    pause, failures = FIRST_PAUSE, Counter[str]()
    while True:
        try:
            return ask(max(0.001, end - time.monotonic()))
        except ServerError as error:
            failures[error.code] += 1
            wait = pause * random.uniform(0.5, 1)  # noqa: S311, no secret
            if failures[error.code] > RETRIES.get(error.code, 0) or time.monotonic() + wait >= end:
                raise
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
