"""What a server answers instead of outputs: the codes of gRPC, each with TF Serving's HTTP status."""

from __future__ import annotations

import grpc

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class ProblemError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: the canonical code.
        status: the HTTP status, as in TF Serving's `ToHTTPStatusCode` (model_servers/http_server.cc).
    """

    def __init__(self, code: grpc.StatusCode, message: str, status: int | None = None) -> None:
        """Hold the code and what the client reads; `status` where HTTP has a closer one."""
        super().__init__(message)
        self.code, self.status = code, status or _HTTP[code]


def invalid(message: str) -> ProblemError:
    """The request itself is wrong; sent again it fails again."""
    return ProblemError(grpc.StatusCode.INVALID_ARGUMENT, message)


def exhausted(message: str) -> ProblemError:
    """There are too many requests at a time; sent again a little later this one may pass."""
    return ProblemError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
