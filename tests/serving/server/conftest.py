"""A running server, on free ports, in a thread with an event loop of its own."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from tests.serving.conftest import K_MAX, make_data, make_model
from tfrec.serving.exporter import export
from tfrec.serving.publisher import publish
from tfrec.serving.server import Options, Server

NAME = "shop"


class Running:
    """A server and the ways to ask it."""

    def __init__(self, model: Path, **options) -> None:
        self.server = Server(
            Options(model, **{"rest_port": 0, "grpc_port": 0, "threads": 2, "poll_seconds": 60, **options})
        )
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> "Running":
        self._thread.start()
        try:
            self.do(self.server.start())
        except BaseException:
            self._end()
            raise
        self.rest = f"http://127.0.0.1:{self.server.rest_port}"
        self.address = f"127.0.0.1:{self.server.grpc_port}"
        self.channel = grpc.insecure_channel(self.address)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        return self

    def __exit__(self, *error) -> None:
        self.channel.close()
        self.do(self.server.stop())
        self._end()

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def do(self, work):
        """The result of a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def get(self, path: str, headers=None):
        """Status and body of a GET; the body as JSON where it is JSON."""
        return self._ask(urllib.request.Request(self.rest + path, headers=headers or {}))

    def post(self, path: str, body, headers=None):
        """Status and body of a POST; `body` is bytes, or becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask(urllib.request.Request(self.rest + path, data=data, headers=headers or {}))

    def predict(self, inputs, signature="", name=NAME, **how):
        """The outputs by gRPC, as arrays; `label`, `version` and `outputs` choose, the rest goes to the call."""
        request = predict_pb2.PredictRequest(output_filter=how.pop("outputs", []))
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if "version" in how:
            request.model_spec.version.value = how.pop("version")
        if "label" in how:
            request.model_spec.version_label = how.pop("label")
        for key, values in inputs.items():
            proto = values if hasattr(values, "tensor_shape") else tf.make_tensor_proto(np.asarray(values))
            request.inputs[key].CopyFrom(proto)
        response = self.predictions.Predict(request, timeout=30, **how)
        return {key: tf.make_ndarray(proto) for key, proto in response.outputs.items()}

    @staticmethod
    def _ask(request):
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()


@pytest.fixture(scope="package")
def published(tmp_path_factory):
    """A folder with one published version; a test that publishes copies it."""
    folder = tmp_path_factory.mktemp("served")
    exported = export(make_model(), make_data(), folder / "export", k_max=K_MAX)
    return publish(exported, folder / "models", NAME).parent.parent


@pytest.fixture(scope="package")
def running(published):
    """A server that tests must not change."""
    with Running(published / NAME) as server:
        yield server
