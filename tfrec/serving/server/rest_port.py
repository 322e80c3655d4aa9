"""The REST port: the paths, bodies and error codes of TF Serving, and health and metrics beside them.

Source: https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf import json_format as protobuf_json
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tfrec.serving.names import SERVING_DEFAULT
from tfrec.serving.server import json_format, metrics
from tfrec.serving.server.grpc_port import LARGE, OTHERS, SIGNATURE_DEF, signature_map, status_message
from tfrec.serving.server.loaded import LoadedVersion
from tfrec.serving.server.predictor import Predictor
from tfrec.serving.server.problems import ProblemError, exhausted, invalid

logger = logging.getLogger(__name__)

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASKED = re.compile(_MODEL + r":(?P<method>classify|regress|predict)")
_TOLD = re.compile(_MODEL + r"(?P<metadata>/metadata)?")
_LARGEST_VERSION = 2**63 - 1
Answer = Callable[[Request], Awaitable[Response]]


def application(predictor: Predictor) -> Starlette:
    """The application that answers on the port."""
    port = RestPort(predictor)
    return Starlette(
        routes=[
            Route("/healthz", port.alive, methods=["GET"]),
            Route("/readyz", port.ready, methods=["GET"]),
            Route("/monitoring/prometheus/metrics", port.metrics, methods=["GET"]),
            Route("/{path:path}", port.models, methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ]
    )


class RestPort:
    """The answers to the paths."""

    def __init__(self, predictor: Predictor) -> None:
        """Answer with what `predictor` holds."""
        self._predictor, self._running = predictor, 0

    async def alive(self, request: Request) -> Response:
        """200 as long as the process answers; needs no token."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """200 when every model answers, 503 before and while the server stops; needs no token."""
        ready = self._predictor.ready
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """What Prometheus reads."""

        async def page(request: Request) -> Response:
            return Response(self._predictor.metrics.page(), media_type=metrics.CONTENT_TYPE)

        return await self._answered(request, "metrics", "", page)

    async def models(self, request: Request) -> Response:
        """Everything under `/v1/models`."""
        path = request.scope["raw_path"].decode("latin-1")  # Of which names are decoded once, as TF Serving does.
        asked = _ASKED.fullmatch(path) if request.method == "POST" else None
        told = _TOLD.fullmatch(path) if request.method == "GET" else None
        found = asked or told
        if found is None:
            what = f"Malformed request: {request.method} {path[:200]}"
            return await self._answered(request, "malformed", "", lambda request: _refuse(invalid(what)))
        name = unquote(found["name"])
        if asked is not None:
            return await self._answered(
                request, asked["method"], name, lambda request: self._asked(request, name, asked)
            )
        method = "metadata" if found["metadata"] else "status"
        return await self._answered(request, method, name, lambda request: self._told(name, found))

    async def _answered(self, request: Request, method: str, name: str, answer: Answer) -> Response:
        """The answer, or the body of the problem."""
        known = name if self._predictor.repository.holds(name) else ""
        self._running += 1
        try:
            with self._predictor.counted("rest", method, lambda: known):
                self._predictor.admit(request.headers.get("authorization"))
                if self._running > 2 * self._predictor.options.limits.pending:
                    raise exhausted(f"The server is busy: {self._running} requests are open. Try again a little later.")
                return await answer(request)
        except ProblemError as problem:
            headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
            return _body(json_format.problem(str(problem)), problem.status, headers)
        except ClientDisconnect:
            return _body(json_format.problem("The client is gone."), 499)
        except Exception:
            logger.exception("%s failed", method)
            return _body(json_format.problem("The server failed on this request; its log says how."), 500)
        finally:
            self._running -= 1

    async def _asked(self, request: Request, name: str, asked: re.Match[str]) -> Response:
        if asked["method"] != "predict":
            raise ProblemError(grpc.StatusCode.UNIMPLEMENTED, OTHERS)
        with contextlib.ExitStack() as held:
            start = asyncio.get_running_loop().time()
            return await self._predicted(name, asked, await self._read(request, held), start)

    async def _predicted(self, name: str, asked: re.Match[str], body: bytes, start: float) -> Response:
        """The answer to a body that began to come at `start`, on the clock of the loop."""
        limits = self._predictor.options.limits
        parsed = await _apart(len(body), json_format.parse, body)
        version = self._predictor.repository.find(name, **_choice(asked))
        key = parsed.get("signature_name") or SERVING_DEFAULT
        specs = version.signature(key).inputs
        inputs = await _apart(len(body), json_format.read, parsed, specs, limits.cells, limits.rows)
        left = limits.seconds - (asyncio.get_running_loop().time() - start)
        version = self._predictor.repository.find(name, **_choice(asked))  # A swap may have come between.
        outputs = await self._predictor.predict(version, key, inputs, left)
        size = 16 * sum(array.size for array in outputs.values())
        return _body(await _apart(size, functools.partial(json_format.write, rows="instances" in parsed), outputs))

    async def _told(self, name: str, found: re.Match[str]) -> Response:
        if not found["metadata"]:
            states = self._predictor.repository.status(name, **_choice(found))
            return _body(_json(status_message(states)))
        version = self._predictor.repository.find(name, **_choice(found))
        return _body(metadata(version))

    async def _read(self, request: Request, held: contextlib.ExitStack) -> bytes:
        """The body of a request, within the limits of size and time; its bytes are counted until `held` is closed."""
        limits = self._predictor.options.limits
        what = f"The body is larger than this server takes: {limits.request_bytes} bytes."
        too_large = ProblemError(grpc.StatusCode.RESOURCE_EXHAUSTED, what, 413)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > limits.request_bytes:
            raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(min(limits.seconds, limits.arrival_seconds)):
                async for part in request.stream():
                    size += len(part)
                    if size > limits.request_bytes:
                        raise too_large
                    held.enter_context(self._predictor.holding(len(part)))
                    parts.append(part)
        except TimeoutError:
            late = f"The body did not come in {min(limits.seconds, limits.arrival_seconds):.3g} s."
            raise ProblemError(grpc.StatusCode.DEADLINE_EXCEEDED, late) from None
        return b"".join(parts)


def metadata(version: LoadedVersion) -> bytes:
    """The body that tells the signatures of a version."""
    signatures = protobuf_json.MessageToDict(
        signature_map(version), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    told = {
        "model_spec": {"name": version.name, "signature_name": "", "version": str(version.number)},
        "metadata": {SIGNATURE_DEF: signatures},
    }
    return (json.dumps(told, indent=1) + "\n").encode()


def _choice(found: re.Match[str]) -> dict[str, Any]:
    """Which version a path names."""
    if found["version"]:
        digits = found["version"]
        if len(digits) > 19 or int(digits) > _LARGEST_VERSION:
            raise invalid(f"Failed to convert version: {digits[:40]} to numeric.")
        return {"version": int(digits)}
    return {"label": unquote(found["label"])} if found["label"] else {}


async def _apart(size: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """Do the work, in a thread where the body is large."""
    return await asyncio.to_thread(work, *arguments) if size > LARGE else work(*arguments)


async def _refuse(problem: ProblemError) -> Response:
    raise problem


def _json(message: Any) -> bytes:
    text = protobuf_json.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
    )
    return (text + "\n").encode()


def _body(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
