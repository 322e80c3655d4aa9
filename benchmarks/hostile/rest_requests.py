"""Hostile HTTP: broken bodies, paths, headers and raw bytes; each must end in a status or a closed connection."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

SECONDS = 15.0
AT_A_TIME = 8
Request = Callable[[random.Random, str], bytes]


def run(port: int, name: str, count: int, seed: int) -> Counter[tuple[str, str, str]]:
    """Send requests of all kinds; (port, kind, answer) -> how often."""

    def one(number: int) -> tuple[str, str, str]:
        rng = random.Random(f"{seed} {number}")  # noqa: S311, no secret
        kind = rng.choice(list(KINDS))
        return "rest", kind, _answer(port, KINDS[kind](rng, name))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return Counter(pool.map(one, range(count)))


def _answer(port: int, request: bytes) -> str:
    """The status; `closed` where the server ends the connection, `hang` where nothing comes."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            try:
                connection.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                pass  # It was refused before it was all sent; the answer may still be there.
            head = connection.recv(100)
    except TimeoutError:
        return "hang"
    except (ConnectionResetError, BrokenPipeError):
        return "closed"
    except OSError:
        return "no answer"
    return head[9:12].decode() if head.startswith(b"HTTP/1.1 ") else "closed" if not head else "no answer"


def _post(path: str, body: bytes, headers: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


def _predict(name: str) -> str:
    return f"/v1/models/{name}:predict"


def _body(rng: random.Random, name: str) -> bytes:
    """A sound body with some of its bytes changed, cut or repeated."""
    body = bytearray(json.dumps({"signature_name": "serving_default", "instances": [["1", "2", "3"]] * 3}).encode())
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(body))
        match rng.randrange(4):
            case 0:
                body[place] = rng.randrange(256)
            case 1:
                del body[place : place + rng.randint(1, 20)]
            case 2:
                body[place:place] = body[: rng.randint(1, 40)]
            case _:
                body[place:place] = rng.choice([b"[", b"{", b"]", b'"', b"\xff", b"null", b"1e999", b"-", b"\\ud800"])
        if not body:
            body = bytearray(b"{")
    return _post(_predict(name), bytes(body))


def _noise(rng: random.Random, name: str) -> bytes:
    return _post(_predict(name), rng.randbytes(rng.randint(0, 2000)))


def _deep(rng: random.Random, name: str) -> bytes:
    opening = rng.choice(["[", '{"a":', '[{"b64":'])
    return _post(_predict(name), ('{"instances":' + opening * rng.choice([50, 999, 50_000, 200_000])).encode())


def _huge(rng: random.Random, name: str) -> bytes:
    match rng.randrange(5):
        case 0:
            body: object = {"instances": [["1"] * rng.choice([10_000, 200_000])]}
        case 1:
            body = {"instances": [["1"]] * rng.choice([1025, 100_000])}
        case 2:
            body = {"instances": [["x" * 3_000_000]]}
        case 3:
            return _post(_predict(name), b"{", length=rng.choice([10**7, 10**12, 10**30]))
        case _:
            return _post(_predict(name), b"x" * 6_000_000)
    return _post(_predict(name), json.dumps(body).encode())


def _values(rng: random.Random, name: str) -> bytes:
    """JSON of the right form with values that do not belong there."""
    cells: list[object] = [
        "1",
        "",
        None,
        True,
        7,
        -1.5,
        1e308,
        [],
        ["1"],
        {},
        {"b64": "AA=="},
        {"b64": "!"},
        {"b64": 3},
    ]
    cells += ["\u0000", "\U0010ffff", "x" * 1000, 10**400, "\ud800"]
    row = [rng.choice(cells) for _ in range(rng.randint(0, 5))]
    body = {
        rng.choice(["instances", "inputs"]): rng.choice([[row], [row, row[:1]], row, {"history": [row]}, row[:1] or 3])
    }
    if rng.random() < 0.5:
        body["signature_name"] = rng.choice(
            ["embed_item", "recommend_filtered", "", "\n", "__init__", 7, None, [], "x" * 9999]
        )
    return _post(_predict(name), json.dumps(body).encode())


def _path(rng: random.Random, name: str) -> bytes:
    part = rng.choice(
        [
            "..",
            "%2e%2e%2f" * 20,
            "%00",
            "%ff",
            "a" * 9000,
            "versions/-1",
            "versions/" + "9" * 400,
            "labels/%0a",
            "//",
            "?x=" * 500,
        ]
    )
    verb = rng.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH", "BREW"])
    path = rng.choice([f"/v1/models/{name}/{part}", f"/v1/models/{part}", f"/{part}", f"/v1/models/{name}:{part}"])
    return f"{verb} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()


def _headers(rng: random.Random, name: str) -> bytes:
    headers = rng.choice(
        [
            "X: " + "y" * 100_000 + "\r\n",
            "".join(f"X{number}: y\r\n" for number in range(2000)),
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Content-Encoding: gzip\r\n",
            "Authorization: Bearer \xff\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        ]
    )
    return _post(_predict(name), b'{"instances": [["1"]]}', headers)


def _raw(rng: random.Random, name: str) -> bytes:
    start = rng.choice(
        [b"", b"GET ", b"POST /v1/models/x:predict HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\n"]
    )
    return start + rng.randbytes(rng.randint(1, 3000))


def _chunks(rng: random.Random, name: str) -> bytes:
    head = f"POST {_predict(name)} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    sizes = [b"fffffffffffffffff", b"-1", b"5", b"zz", b"0", b"100000"]
    return head + b"".join(rng.choice(sizes) + b"\r\n" + rng.randbytes(5) + b"\r\n" for _ in range(rng.randint(1, 30)))


KINDS: dict[str, Request] = {
    "changed body": _body,
    "noise": _noise,
    "deep": _deep,
    "huge": _huge,
    "values": _values,
    "path": _path,
    "headers": _headers,
    "raw bytes": _raw,
    "chunks": _chunks,
}
