"""What an operator chooses of a server, checked before anything is loaded or bound."""

from __future__ import annotations

import math
import os
import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """How much one client may ask of the server.

    Attributes:
        request_bytes: of a body or a message.
        rows: of one request.
        cells: values of one input, rows times length.
        pending: requests that wait or run at a time, of all clients; one more is refused at once.
        pending_bytes: of their bodies and messages together; whatever goes beyond is refused at once.
        seconds: for one request, its body and its turn in the queue included.
        arrival_seconds: for a body or message to come, once the request has begun.
        connections: of REST, resting ones included; never more than half of the files that the process may open.
    """

    request_bytes: int = 4 * 2**20
    rows: int = 1024
    cells: int = 2**20
    pending: int = 1000
    pending_bytes: int = 64 * 2**20
    seconds: float = 30.0
    arrival_seconds: float = 10.0
    connections: int = 10_000


@dataclass(frozen=True)
class Options:
    """How a model is served.

    Attributes:
        model: a folder of versions, one version, or a folder with a `models.config`.
        name: what clients call the model; None for the folder's name.
        host: address to listen at.
        rest_port: 0 takes a free one.
        grpc_port: 0 takes a free one.
        threads: requests that are computed at a time; 0 for the cores that the process may use.
        batch_rows: rows that are computed together at most.
        poll_seconds: between two looks at the versions on disk.
        notice_seconds: how long a server that is to stop answers on while `/readyz` says no, so that who shares the
            load among servers sees it first.
        drain_seconds: what running requests get after that.
        token: what a client must send as `authorization: Bearer TOKEN`; None lets everybody in.
        certificate: PEM file of the certificate chain, with `key`: both ports speak TLS.
        key: PEM file of the private key.
        limits: what a client may ask.
        log_requests: whether the log has a line for each request.
    """

    model: Path
    name: str | None = None
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    threads: int = 0
    batch_rows: int = 64
    poll_seconds: float = 5.0
    notice_seconds: float = 0.0
    drain_seconds: float = 10.0
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    limits: Limits = Limits()
    log_requests: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be served.

        Raises:
            ValueError: a value is out of its range, or one half of a pair is missing.
            FileNotFoundError: a file of the certificate is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs both a certificate and its key: give --tls-certificate and --tls-key.")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise FileNotFoundError(f"There is no file {file}; TLS needs the certificate and its key as PEM files.")
        if self.certificate is not None and self.key is not None:
            _check_pair(self.certificate, self.key)
        for port in (self.rest_port, self.grpc_port):
            if not 0 <= port < 2**16:
                raise ValueError(f"A port is from 0 to 65535; received {port}.")
        if self.rest_port == self.grpc_port != 0:
            raise ValueError(f"REST and gRPC need a port each; both are {self.rest_port}.")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise ValueError("The token must be printable ASCII and not blank: clients send it in a header.")

    @property
    def cores(self) -> int:
        """Threads that compute."""
        return self.threads or _usable_cores()


def _usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that the process may run on, in a container no more than the quota of its control group, rounded up."""
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # No control group of the second version, or no quota: "max".
        return cores


def _check_pair(certificate: Path, key: Path) -> None:
    try:  # An empty password: a key that has one is refused, not asked for.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ValueError(
            f"{certificate} and {key} are no certificate with its key ({reason}): give PEM files that belong together, "
            "the key without a password."
        ) from error
