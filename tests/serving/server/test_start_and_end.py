"""A server's start, which leaves nothing where it fails, and its end, which lets go of nobody."""

import asyncio
import concurrent.futures
import socket
import threading
import time

import grpc
import numpy as np
import pytest
import requests
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.conftest import IDS
from tests.serving.server.conftest import NAME, Running
from tfrec.serving.server import Options, Server, running

PREDICT = f"/v1/models/{NAME}:predict"
ROW = {"instances": [["007"]]}


def test_the_end_waits_for_running_requests(published):
    history = {"history": np.array([IDS[:10]] * 1000, object)}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with Running(published / NAME) as server:
            server.predict(history)
            asked = [server.predictions.Predict.future(request) for request in _requests(history, 3)]
            deadline = time.monotonic() + 10
            while not _all_in(server, asked) and time.monotonic() < deadline:
                time.sleep(0.001)
            stopping = pool.submit(server.do, server.server.stop())
            assert all(len(each.result().outputs["item_ids"].string_val) for each in asked)
            stopping.result()
            server.server.stop = _nothing


def test_a_server_that_is_to_stop_answers_on_for_its_notice(published):
    with Running(published / NAME, notice_seconds=1.5) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert server.get("/readyz")[0] == 200
        stopping = pool.submit(server.do, server.server.stop())
        deadline = time.monotonic() + 10
        while server.get("/readyz")[0] != 503 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.get("/readyz")[0] == 503 and server.get("/healthz")[0] == 200
        assert server.post(PREDICT, ROW)[0] == 200
        assert server.predict({"history": np.array([["007"]], object)})["item_ids"].size
        stopping.result()
        server.server.stop = _nothing


def test_a_server_that_loads_says_that_it_is_not_ready(published, monkeypatch):
    loading, let = threading.Event(), threading.Event()
    look = running.wanted.look

    def slowly(*arguments):
        if threading.current_thread() is not threading.main_thread():  # The repository's, not the first look.
            loading.set()
            assert let.wait(60)
        return look(*arguments)

    def asked(server):
        """Answers of both ports while nothing is loaded."""
        assert loading.wait(60)
        url = f"http://127.0.0.1:{server.rest_port}"
        pages = [requests.get(url + path, timeout=30) for path in ("/healthz", "/readyz", f"/v1/models/{NAME}")]
        pages.append(requests.post(url + PREDICT, json=ROW, timeout=30))
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            [request] = _requests({"history": np.array([["007"]], object)}, 1)
            with pytest.raises(grpc.RpcError) as error:
                prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
        let.set()
        return [page.status_code for page in pages], pages[-1].json()["error"], error.value.code()

    monkeypatch.setattr(running.wanted, "look", slowly)

    async def scenario():
        server = Server(Options(published / NAME, rest_port=0, grpc_port=0))
        starting = asyncio.create_task(server.start())
        found = await asyncio.to_thread(asked, server)
        await starting
        ready = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{server.rest_port}/readyz", timeout=30)
        await server.stop()
        return *found, ready.status_code

    codes, told, grpc_code, ready = asyncio.run(scenario())
    assert codes == [200, 503, 503, 503] and "is loading its versions" in told
    assert grpc_code is grpc.StatusCode.UNAVAILABLE and ready == 200


def test_a_start_that_is_broken_off_leaves_nothing(published, monkeypatch):
    """Also when gRPC answers already, and REST is about to."""
    begun = threading.Event()

    class Slow(running._Uvicorn):
        async def startup(self, sockets=None):
            begun.set()
            await asyncio.sleep(60)

    monkeypatch.setattr(running, "_Uvicorn", Slow)

    async def scenario():
        server = Server(Options(published / NAME, rest_port=0, grpc_port=0))
        starting = asyncio.create_task(server.start())
        while not begun.is_set():
            await asyncio.sleep(0.01)
        starting.cancel()
        await asyncio.wait({starting}, timeout=30)
        return starting.cancelled(), server

    cancelled, server = asyncio.run(scenario())
    assert cancelled
    for port in (server.rest_port, server.grpc_port):
        with socket.create_server(("127.0.0.1", port)):
            pass


def _all_in(server, asked):
    """Whether the server has taken every request; one still on its way to it is not running, and is refused."""
    return server.server._predictor.pending + sum(each.done() for each in asked) >= len(asked)


async def _nothing():
    return None


def _requests(inputs, count):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    for key, values in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    return [request] * count


@pytest.mark.parametrize("port", ["rest_port", "grpc_port"])
def test_a_port_in_use_is_told(published, port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="cannot be bound"):
            with Running(published / NAME, **{port: taken.getsockname()[1]}):
                pass


def test_what_cannot_be_served_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no model"):
        Running(tmp_path / "nope").__enter__()
    with pytest.raises(ValueError, match="holds no version"):
        Running(tmp_path).__enter__()
    (tmp_path / "x.pem").write_text("no certificate", "utf-8")
    pair = {"certificate": tmp_path / "x.pem", "key": tmp_path / "x.pem"}
    mistakes = {
        "a port each": {"rest_port": 7, "grpc_port": 7},
        "needs both": {"certificate": tmp_path},
        "must be printable": {"token": " "},
        "from 0 to 65535": {"grpc_port": 70000},
        "no certificate with its key": pair,
    }
    for told, wrong in mistakes.items():
        with pytest.raises(ValueError, match=told):
            Server(Options(tmp_path, **wrong))
