"""What one client may ask of a server, and what it may not take from others."""

import concurrent.futures
import contextlib
import http.client
import socket
import threading
import time

import grpc
import numpy as np
import pytest

from tests.serving.conftest import IDS
from tests.serving.server.conftest import NAME, Running
from tfrec.serving.server import Limits, connections

PREDICT = f"/v1/models/{NAME}:predict"
ROW = {"instances": [["007"]]}


def test_without_the_token_nothing_but_health_is_answered(published):
    with Running(published / NAME, token="s3cret") as server:
        assert server.get("/healthz")[0] == 200 and server.get("/readyz")[0] == 200
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            paths = (f"/v1/models/{NAME}", f"/v1/models/{NAME}/metadata", "/monitoring/prometheus/metrics", "/", "/x")
            assert [server.get(path, headers)[0] for path in paths] == [401] * 5
            assert server.post(PREDICT, ROW, headers)[0] == 401
        assert server.post(PREDICT, ROW, {"Authorization": "Bearer s3cret"})[0] == 200
        history = {"history": np.array([["007"]], object)}
        for metadata in ([], [("authorization", "Bearer no")]):
            with pytest.raises(grpc.RpcError) as failure:
                server.predict(history, metadata=metadata)
            assert failure.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert server.predict(history, metadata=[("authorization", "Bearer s3cret")])


def test_limits_are_kept_by_both_ports(published):
    limits = Limits(request_bytes=2000, rows=2, cells=50)
    with Running(published / NAME, limits=limits) as server:
        too_much = [(3, ["007"], "3 rows", 400), (1, ["7"] * 51, "takes", 400), (1, ["x" * 3000], "larger", 413)]
        for rows, row, message, expected in too_much:
            status, found = server.post(PREDICT, {"instances": [row] * rows})
            assert status == expected and message in found["error"]
            with pytest.raises(grpc.RpcError) as failure:
                server.predict({"history": np.array([row] * rows, object)})
            of_size = expected == 413
            assert failure.value.code().name == ("RESOURCE_EXHAUSTED" if of_size else "INVALID_ARGUMENT")


def test_lines_are_no_way_around_the_limit_of_values(published):
    with Running(published / NAME, limits=Limits(cells=50)) as server:
        for lines, fits in ((["007" + "\n" * 48], True), (["007\n" * 40, "\n" * 40], False)):
            body = {"signature_name": "recommend_delimited", "instances": lines}
            status, found = server.post(PREDICT, body)
            assert status == (200 if fits else 400) and (fits or "takes 50" in found["error"])
        with pytest.raises(grpc.RpcError, match="takes 50"):
            server.predict({"history": np.array(["\n" * 50], object)}, "recommend_delimited")


def test_connections_that_rest_leave_places(published):
    with Running(published / NAME, limits=Limits(connections=3)) as server:
        address = ("127.0.0.1", server.server.rest_port)
        resting = [socket.create_connection(address) for _ in range(3)]
        time.sleep(0.2)
        with socket.create_connection(address) as late, contextlib.suppress(ConnectionResetError):
            late.settimeout(10)
            assert late.recv(1) == b""
        [each.close() for each in resting]
        time.sleep(0.2)
        assert server.get("/healthz")[0] == 200


def test_grpc_closes_connections_beyond_its_limit(published):
    with Running(published / NAME, limits=Limits(connections=3)) as server:
        opened = [socket.create_connection(("127.0.0.1", server.server.grpc_port)) for _ in range(8)]
        time.sleep(0.5)
        closed = 0
        for each in opened:
            each.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while each.recv(1024):
                    pass
                closed += 1
            each.close()
        assert closed >= 8 - 3


def test_all_that_is_held_is_bounded(published):
    limits = Limits(pending_bytes=2000, seconds=5)
    large = {"instances": [["x" * 1500]]}
    with Running(published / NAME, limits=limits) as server:
        with socket.create_connection(("127.0.0.1", server.server.rest_port)) as holder:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n"
            holder.sendall(head.encode() + b" " * 1000)
            time.sleep(0.2)
            status, found = server.post(PREDICT, large)
            assert status == 429 and "it holds" in found["error"]
            with pytest.raises(grpc.RpcError) as failure:
                server.predict({"history": np.array([["x" * 1500]], object)})
            assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert server.post(PREDICT, ROW)[0] == 200
        time.sleep(0.2)
        assert [server.post(PREDICT, large)[0] for _ in range(3)] == [200] * 3  # Nothing is counted for ever.
        assert len(server.predict({"history": np.array([["x" * 1500]], object)})["scores"]) == 1


def test_a_body_of_no_known_length_is_cut_off_too(published):
    with Running(published / NAME, limits=Limits(request_bytes=2000)) as server:
        with socket.create_connection(("127.0.0.1", server.server.rest_port)) as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head.encode() + b"".join(b"3e8\r\n" + b"x" * 1000 + b"\r\n" for _ in range(4)))
            assert b" 413 " in connection.recv(100)


def test_a_body_that_does_not_come_is_not_waited_for(published):
    with Running(published / NAME, limits=Limits(seconds=0.3)) as server:
        with socket.create_connection(("127.0.0.1", server.server.rest_port)) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n".encode())
            connection.settimeout(10)
            assert b" 504 " in connection.recv(100)
        assert server.post(PREDICT, ROW)[0] == 200


def test_a_head_that_does_not_end_is_not_waited_for(published, monkeypatch):
    monkeypatch.setattr(connections, "SPARE_SECONDS", 0.1)
    with Running(published / NAME, limits=Limits(seconds=0.3)) as server:
        resting = http.client.HTTPConnection("127.0.0.1", server.server.rest_port)
        with socket.create_connection((resting.host, resting.port)) as slow:
            slow.sendall(b"GET /healthz HTT")
            for turn in range(2):
                resting.request("GET", "/healthz")
                assert resting.getresponse().read() == b"ok\n"
                with contextlib.suppress(ConnectionResetError):
                    assert turn or slow.recv(100) == b""
        resting.close()


def test_who_says_nothing_takes_no_place_from_others(published):
    limits = Limits(seconds=1, pending=2)
    method = "/tensorflow.serving.PredictionService/Predict"
    with Running(published / NAME, limits=limits, token="s3cret") as server:
        silent = [socket.create_connection(("127.0.0.1", server.server.rest_port)) for _ in range(6)]
        over = threading.Event()

        def nothing():
            over.wait(10)
            yield from ()

        streams = [server.channel.stream_unary(method).future(nothing()) for _ in range(6)]
        time.sleep(0.5)
        headers = {"Authorization": "Bearer s3cret"}
        assert server.get("/healthz")[0] == 200 and server.post(PREDICT, ROW, headers)[0] == 200
        assert server.predict({"history": np.array([["007"]], object)}, metadata=[("authorization", "Bearer s3cret")])
        codes = {each.exception(10).code().name for each in streams}
        assert codes == {"UNAUTHENTICATED"}
        over.set()
        [each.close() for each in silent]


def test_a_message_that_does_not_come_is_not_waited_for(published):
    with Running(published / NAME, limits=Limits(seconds=0.3)) as server:
        over = threading.Event()

        def nothing():
            over.wait(10)
            yield from ()

        stream = server.channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future(nothing())
        assert stream.exception(10).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        over.set()


def test_too_many_requests_at_a_time_are_refused(published):
    with Running(published / NAME, limits=Limits(pending=1), threads=1) as server:
        history = {"history": np.array([IDS[:10]] * 1000, object)}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(server.predict, history) for _ in range(8)]
            failures = [each.exception() for each in asked]
        codes = {each.code().name for each in failures if each is not None}
        assert codes == {"RESOURCE_EXHAUSTED"} and None in failures
