"""A server that runs while versions are published: it is asked what it has loaded; `labels` waits for it."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

LONGEST_WAIT = 300.0  # seconds, where nothing else is said
PAUSE = 1.0  # seconds between two questions
ANSWER_WITHIN = 10.0  # seconds
TOKEN = "TFREC_TOKEN"
AVAILABLE = "AVAILABLE"
STARTING = 503
_MOST_BYTES = 2**20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for the server that was named, and for no other that it names."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Follow none."""


_OPENER = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True)
class RunningServer:
    """How a server that follows `models.config` is waited for, before a label moves to a version that is new to it.

    Attributes:
        address: its REST interface, such as `http://host:8501`; None where it is not asked. Where the environment
            variable `TFREC_TOKEN` is set, it is sent as a bearer token. Certificates are those that Python trusts
            (`SSL_CERT_FILE`).
        settle: seconds that it needs to notice and load a version. With an address, the longest wait: 0 for 300 s.

    Raises:
        ValueError: the address is none, or the seconds are negative.
    """

    address: str | None = None
    settle: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked or waited for."""
        if not self.settle >= 0:
            raise ValueError(f"`settle` must be seconds, 0 or more; received {self.settle!r}.")
        if self.address is not None:
            try:
                parts = urlsplit(self.address)
                good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and parts.port != 0
            except ValueError:  # A port or an IPv6 address that is none.
                good = False
            if not good:
                raise ValueError(
                    "`server` must be the address of a server's REST interface, such as http://localhost:8501; "
                    f"received {self.address!r}."
                )

    def check(self, name: str) -> None:
        """See that the server answers at all, before anything is changed; one that starts is given time.

        Raises:
            ValueError: it does not, or something else does.
        """
        deadline = time.monotonic() + (self.settle or LONGEST_WAIT)
        while self.address is not None and self._status(name)[0] == STARTING:
            if time.monotonic() >= deadline:
                raise ValueError(f"{self.address} is not ready within {self.settle or LONGEST_WAIT:g} s.")
            time.sleep(PAUSE)

    def wait(self, names: Sequence[str], version: int) -> None:
        """Wait until the server has loaded a version of each of the models.

        Raises:
            ValueError: it cannot load it, or has not in time.
        """
        if self.address is None:
            time.sleep(self.settle)
            return
        deadline = time.monotonic() + (self.settle or LONGEST_WAIT)
        for name in names:
            self._wait(name, version, deadline)

    def _wait(self, name: str, version: int, deadline: float) -> None:
        first = None
        while True:
            try:
                state, error = self._state(f"{name}/versions/{version}")
            except ValueError as unheard:
                state, error = str(unheard), ""
            first = first or (state, error)
            if state == AVAILABLE:
                return
            if error and (state, error) != first:  # What failed before it was listed may yet succeed.
                raise ValueError(f"{self.address} cannot load version {version} of {name}: {error}")
            if time.monotonic() >= deadline:
                raise ValueError(
                    f"{self.address} has not loaded version {version} of {name} within "
                    f"{self.settle or LONGEST_WAIT:g} s ({error or state}): it must follow the models.config of this "
                    "folder (--model_config_file_poll_wait_seconds); give it longer (settle) where it is slow."
                )
            time.sleep(PAUSE)

    def _state(self, place: str) -> tuple[str, str]:
        """The state of a version, and what went wrong with it, "" where nothing did."""
        code, told = self._status(place)
        if code != 200:
            return "it does not know it", ""
        try:
            [version] = told["model_version_status"]
            status = version.get("status") or {}
            failed = status.get("error_code", "OK") != "OK"
            return str(version["state"]), (status.get("error_message") or "it does not say why") if failed else ""
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.address} answers something else than the status of a model.") from error

    def _status(self, place: str) -> tuple[int, Any]:
        """What the server says of a model or of a version of it: 200 and the status, or 404 or 503 and None.

        Raises:
            ValueError: nothing, or something else.
        """
        url = f"{str(self.address).rstrip('/')}/v1/models/{quote(place)}"
        token = os.environ.get(TOKEN)
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with _OPENER.open(request, timeout=ANSWER_WITHIN) as answer:
                return 200, json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, STARTING) and b'"error"' in error.read(_MOST_BYTES):
                    return error.code, None
            hint = f": set {TOKEN} to its token" if error.code in (401, 403) else ""
            raise ValueError(f"{url} answers {error.code} {error.reason}{hint}.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ValueError(
                f"{url} does not answer as a server's REST interface does ({reason}): start the server, or correct its "
                "address."
            ) from error
