"""HTTP connections that end: those of clients that send slowly, or do not read, are closed."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

SPARE_SECONDS = 5.0  # beyond the longest that one request may take


def protocol(seconds: float, most: int) -> type[asyncio.Protocol]:
    """HTTP/1.1 of Uvicorn, which by itself waits for the rest of a request for ever.

    Args:
        seconds: that one request may take. A connection whose request, its head included, took more is closed.
        most: connections that are held at a time; one more is closed at once.
    """
    return type("Protocol", (_Protocol,), {"seconds": seconds + SPARE_SECONDS, "most": most, "held": set()})


class _Protocol(H11Protocol):
    """Looks at its connection from time to time."""

    seconds, most = 0.0, 0
    held: ClassVar[set[Any]] = set()

    def connection_made(self, transport: Any) -> None:
        """Begin to look, unless there are too many."""
        super().connection_made(transport)
        if len(self.held) >= self.most:
            transport.abort()
            return
        self.held.add(self)
        self.loop.call_later(self.seconds, self._look, self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back."""
        self.held.discard(self)
        super().connection_lost(exc)

    def _look(self, before: Any) -> None:
        """Close the connection where it is still at the request of the last look, unless it rests after the answer."""
        if self.transport.is_closing():
            return
        if self.cycle is before and self.timeout_keep_alive_task is None:
            self.transport.abort()
        else:
            self.loop.call_later(self.seconds, self._look, self.cycle)
