"""gRPC and REST, each from arrays to arrays; `client` chooses one by the address."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np

from tfrec.serving.client.patience import ServerError

Arrays = Mapping[str, np.ndarray]
SIGNATURE_DEF = "signature_def"
_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True)
class Target:
    """Which model a client asks: the version of a number or a label, else the one that the server chooses."""

    model: str
    version: int | None = None
    label: str | None = None


class Transport(Protocol):
    """What a client needs of a connection."""

    def predict(self, target: Target, signature: str, inputs: Arrays, seconds: float) -> tuple[int | None, Arrays]:
        """The version that answered, where it says so, and the outputs of a signature; strings are `bytes`."""

    def inputs(self, target: Target, signature: str, seconds: float) -> set[str]:
        """The names of a signature's inputs; none where there is no such signature."""

    def states(self, target: Target, seconds: float) -> dict[int, str]:
        """Version -> state, such as `AVAILABLE`."""

    def close(self) -> None:
        """Close the connection."""


class GrpcTransport:
    """`PredictionService` and `ModelService`."""

    def __init__(self, address: str, token: str | None, certificate: Path | None, *, secure: bool) -> None:
        """Connect when first asked.

        Args:
            address: host:port.
            token: sent as `authorization: Bearer TOKEN`.
            certificate: PEM file of who signed the server's certificate; None for the system's.
            secure: whether to speak TLS.
        """
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0)]
        options += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]
        if secure:
            roots = None if certificate is None else certificate.read_bytes()
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(roots), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, target: Target, signature: str, inputs: Arrays, seconds: float) -> tuple[int | None, Arrays]:
        """See `Transport`."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        _name(request.model_spec, target)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        response = self._call(self._predictions.Predict, request, seconds)
        version = response.model_spec.version.value if response.model_spec.HasField("version") else None
        return version, {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def inputs(self, target: Target, signature: str, seconds: float) -> set[str]:
        """See `Transport`."""
        from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2

        request = metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURE_DEF])
        _name(request.model_spec, target)
        response = self._call(self._predictions.GetModelMetadata, request, seconds)
        found = metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURE_DEF].Unpack(found)
        return set(found.signature_def[signature].inputs)

    def states(self, target: Target, seconds: float) -> dict[int, str]:
        """See `Transport`."""
        from tensorflow_serving.apis import get_model_status_pb2 as status_pb2

        request = status_pb2.GetModelStatusRequest()
        _name(request.model_spec, target)
        found = self._call(self._models.GetModelStatus, request, seconds).model_version_status
        return {each.version: status_pb2.ModelVersionStatus.State.Name(each.state) for each in found}

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()

    def _call(self, method: Any, request: Any, seconds: float) -> Any:
        import grpc

        try:
            return method(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise ServerError(error.code().name, error.details() or "no answer") from error


class RestTransport:
    """The paths under `/v1/models`."""

    def __init__(self, address: str, token: str | None, certificate: Path | None) -> None:
        """Connect when first asked.

        Args:
            address: http://host:port or https://host:port, with a path where a proxy has one.
            token: sent as `authorization: Bearer TOKEN`.
            certificate: PEM file of who signed the server's certificate; None for the usual ones.
        """
        import requests

        self._base, self._session = address.rstrip("/"), requests.Session()
        self._outputs: dict[str, str] = {}
        self._session.trust_env = False  # A .netrc would take the place of the token.
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        if certificate is not None:
            self._session.verify = str(certificate)

    def predict(self, target: Target, signature: str, inputs: Arrays, seconds: float) -> tuple[int | None, Arrays]:
        """See `Transport`."""
        columns = {name: _listed(np.asarray(values)) for name, values in inputs.items()}
        body = {"signature_name": signature, "inputs": columns}
        outputs = self._call("POST", f"{_path(target)}:predict", seconds, json=body)["outputs"]
        if not isinstance(outputs, dict):  # An only output comes without its name.
            outputs = {self._only_output(target, signature, seconds): outputs}
        return None, {name: _array(values) for name, values in outputs.items()}

    def inputs(self, target: Target, signature: str, seconds: float) -> set[str]:
        """See `Transport`."""
        return set(self._names(target, signature, "inputs", seconds))

    def states(self, target: Target, seconds: float) -> dict[int, str]:
        """See `Transport`."""
        found = self._call("GET", _path(target), seconds)["model_version_status"]
        return {int(each["version"]): each["state"] for each in found}

    def close(self) -> None:
        """See `Transport`."""
        self._session.close()

    def _only_output(self, target: Target, signature: str, seconds: float) -> str:
        if signature not in self._outputs:
            (self._outputs[signature],) = self._names(target, signature, "outputs", seconds)
        return self._outputs[signature]

    def _names(self, target: Target, signature: str, side: str, seconds: float) -> list[str]:
        found = self._call("GET", f"{_path(target)}/metadata", seconds)["metadata"][SIGNATURE_DEF]
        return list(found[SIGNATURE_DEF].get(signature, {}).get(side, {}))

    def _call(self, method: str, path: str, seconds: float, **how: Any) -> Any:
        import requests
        import urllib3

        end = time.monotonic() + seconds
        try:
            with self._session.request(method, self._base + path, timeout=seconds, stream=True, **how) as response:
                body = _body(response, end)
        except (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError) as error:
            raise ServerError("DEADLINE_EXCEEDED", f"no answer in {seconds:.3g} s") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ServerError("UNAVAILABLE", f"{self._base} does not answer: {type(error).__name__}") from error
        code = _HTTP.get(response.status_code, "UNKNOWN")
        try:
            found = json.loads(body)
        except ValueError as error:
            raise ServerError(code, f"{response.status_code} {response.reason}, and no JSON") from error
        if response.status_code != 200:
            raise ServerError(code, str(found.get("error", found) if isinstance(found, dict) else found))
        return found


def _body(response: Any, end: float) -> bytes:
    """The whole body; `requests` itself limits each read alone, and a server may send a byte at a time.

    Raises:
        TimeoutError: it has not come by then.
    """
    parts = []
    while part := response.raw.read1(2**16, decode_content=True):
        parts.append(part)
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(parts)


def _name(spec: Any, target: Target) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label


def _path(target: Target) -> str:
    which = "" if target.label is None else f"/labels/{quote(target.label, safe='')}"
    which = which if target.version is None else f"/versions/{target.version}"
    return f"/v1/models/{quote(target.model, safe='')}{which}"


def _listed(array: np.ndarray) -> Any:
    """Nested lists of what JSON has."""
    if array.dtype != object:
        return array.tolist()
    texts = np.array([_text(value) for value in array.ravel()] + [None], object)[:-1]
    return texts.reshape(array.shape).tolist()


def _text(value: str | bytes) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}  # type: ignore[arg-type]


def _array(values: Any) -> np.ndarray:
    """The array of an output, strings as `bytes`, as gRPC gives them; numbers with the sizes that models have."""
    array = np.array(values)
    if array.dtype.kind in "UO":  # Objects where a string is no text, and comes in base 64.
        cells = [_cell(value) for value in array.ravel().tolist()]
        return np.array([*cells, None], object)[:-1].reshape(array.shape)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


def _cell(value: Any) -> bytes:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else str(value).encode()
