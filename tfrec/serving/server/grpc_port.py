"""The gRPC port: `PredictionService` and `ModelService` of TF Serving, as far as a recommender has answers to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from tfrec.serving.names import SERVING_DEFAULT
from tfrec.serving.server.loaded import LoadedVersion, check_names
from tfrec.serving.server.predictor import Predictor
from tfrec.serving.server.problems import ProblemError, invalid
from tfrec.serving.server.repository import Held
from tfrec.serving.server.tensors import to_array, to_proto

logger = logging.getLogger(__name__)

SIGNATURE_DEF = "signature_def"
OTHERS = "Only Predict and GetModelMetadata are answered: the signatures of a recommender take tensors, not Examples."
RELOADING = "The versions follow the folder that this server was started with: publish or roll back there."
IDLE_MILLISECONDS = 300_000  # an open connection without a request
Answer = Callable[[Any, Any], Awaitable[Any]]
LARGE = 2**16  # bytes from which a message is read in a thread, so that others need not wait for it


class Port:
    """The answers to the methods; each takes the bytes of a message, so that what is no message gets a status too."""

    def __init__(self, predictor: Predictor) -> None:
        """Answer with what `predictor` holds."""
        self._predictor = predictor

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The methods of both services."""
        prediction = {
            "Predict": self._method("Predict", predict_pb2.PredictRequest, self._predict),
            "GetModelMetadata": self._method(
                "GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest, self._metadata
            ),
            "Classify": self._refused("Classify", OTHERS),
            "Regress": self._refused("Regress", OTHERS),
            "MultiInference": self._refused("MultiInference", OTHERS),
        }
        model = {
            "GetModelStatus": self._method("GetModelStatus", get_model_status_pb2.GetModelStatusRequest, self._status),
            "HandleReloadConfigRequest": self._refused("HandleReloadConfigRequest", RELOADING),
        }
        services = {"tensorflow.serving.PredictionService": prediction, "tensorflow.serving.ModelService": model}
        return tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())

    def _method(self, name: str, kind: Any, answer: Answer) -> grpc.RpcMethodHandler:
        """A method whose problems become statuses."""

        async def handle(messages: AsyncIterator[bytes], context: Any) -> Any:
            model = ""
            try:
                with self._predictor.counted("grpc", name, lambda: model):
                    self._predictor.admit(dict(context.invocation_metadata() or ()).get("authorization"))
                    message = await self._read(messages)
                    with self._predictor.holding(len(message)):
                        request = _parsed(kind, message)
                        spec = request.model_spec
                        model = spec.name if self._predictor.repository.holds(spec.name) else ""
                        return await answer(request, context)
            except ProblemError as problem:
                await context.abort(problem.code, str(problem))
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception:
                logger.exception("%s failed", name)
                await context.abort(grpc.StatusCode.INTERNAL, "The server failed on this request; its log says how.")

        # To a client it is a unary method. As one, it would be called when the message is there, however long that
        # takes, and hold a place meanwhile.
        return grpc.stream_unary_rpc_method_handler(
            handle, response_serializer=lambda response: response.SerializeToString()
        )

    async def _read(self, messages: AsyncIterator[bytes]) -> bytes:
        """The one message of a request, within the limit of time."""
        limits = self._predictor.options.limits
        seconds = min(limits.seconds, limits.arrival_seconds)
        try:
            return await asyncio.wait_for(anext(messages), seconds)
        except StopAsyncIteration:
            raise invalid("The request has no message.") from None
        except TimeoutError:
            late = f"The message did not come in {seconds:.3g} s."
            raise ProblemError(grpc.StatusCode.DEADLINE_EXCEEDED, late) from None

    def _refused(self, name: str, reason: str) -> grpc.RpcMethodHandler:
        """To those who may ask: that there is no answer, and why."""

        async def refuse(request: Any, context: Any) -> Any:
            raise ProblemError(grpc.StatusCode.UNIMPLEMENTED, reason)

        return self._method(name, predict_pb2.PredictRequest, refuse)

    async def _predict(self, request: predict_pb2.PredictRequest, context: Any) -> predict_pb2.PredictResponse:
        key = request.model_spec.signature_name or SERVING_DEFAULT
        version = found(self._predictor, request.model_spec)
        check_names(version.signature(key), request.inputs)
        most = self._predictor.options.limits.cells
        if request.ByteSize() > LARGE:
            inputs = await asyncio.to_thread(_arrays, request, most)
            version = found(self._predictor, request.model_spec)  # A swap may have come between.
        else:
            inputs = _arrays(request, most)
        wanted = filtered(version, key, list(request.output_filter))
        outputs = await self._predictor.predict(version, key, inputs, context.time_remaining())
        response = predict_pb2.PredictResponse()
        fill(response.model_spec, version, key)
        for name in wanted:
            response.outputs[name].CopyFrom(to_proto(outputs[name]))
        return response

    async def _metadata(self, request: Any, context: Any) -> Any:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != SIGNATURE_DEF:
                raise invalid(f"Metadata field {name[:100]} is not supported")
        version = found(self._predictor, request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        fill(response.model_spec, version)
        packed = any_pb2.Any()
        packed.Pack(signature_map(version))
        response.metadata[SIGNATURE_DEF].CopyFrom(packed)
        return response

    async def _status(self, request: Any, context: Any) -> Any:
        spec = request.model_spec
        return status_message(self._predictor.repository.status(spec.name, **choice(spec)))


def server(predictor: Predictor, most_connections: int) -> grpc.aio.Server:
    """A server of both services, bound to no port yet, that holds so many connections at a time."""
    most = predictor.options.limits.request_bytes
    options = [
        ("grpc.max_receive_message_length", most),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_idle_ms", IDLE_MILLISECONDS),
        ("grpc.max_allowed_incoming_connections", most_connections),
    ]
    made = grpc.aio.server(options=options, maximum_concurrent_rpcs=2 * predictor.options.limits.pending)
    made.add_generic_rpc_handlers(Port(predictor).handlers())
    return made


def choice(spec: model_pb2.ModelSpec) -> dict[str, Any]:
    """Which version a `ModelSpec` names."""
    chosen = spec.WhichOneof("version_choice")
    if chosen == "version":
        return {"version": spec.version.value}
    return {"label": spec.version_label} if chosen == "version_label" else {}


def found(predictor: Predictor, spec: model_pb2.ModelSpec) -> LoadedVersion:
    """The version that a `ModelSpec` names."""
    return predictor.repository.find(spec.name, **choice(spec))


def fill(spec: model_pb2.ModelSpec, version: LoadedVersion, key: str = "") -> None:
    """Say which version answered."""
    spec.name, spec.signature_name = version.name, key
    spec.version.value = version.number


def filtered(version: LoadedVersion, key: str, wanted: list[str]) -> list[str]:
    """The outputs that a request asks for; all where it names none.

    Raises:
        ProblemError: it names one twice, or one that is not there.
    """
    known = version.signature(key).outputs
    for name in wanted:
        if name not in known:
            raise invalid(f"output tensor alias not found in signature: {name[:100]} Outputs are {', '.join(known)}.")
        if wanted.count(name) > 1:
            raise invalid(f"duplicate output tensor alias: {name}")
    return wanted or list(known)


def signature_map(version: LoadedVersion) -> get_model_metadata_pb2.SignatureDefMap:
    """The signatures of a version as the model has them."""
    message = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in version.signatures.items():
        message.signature_def[key].CopyFrom(signature.definition)
    return message


def status_message(states: list[tuple[int, Held]]) -> get_model_status_pb2.GetModelStatusResponse:
    """The states of versions as TF Serving tells them."""
    message = get_model_status_pb2.GetModelStatusResponse()
    for number, held in states:
        status = message.model_version_status.add(version=number, state=held.state)
        status.status.error_message = held.problem
        status.status.error_code = 3 if held.problem else 0
    return message


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise invalid(f"The message is no {kind.DESCRIPTOR.name}.") from None


def _arrays(request: predict_pb2.PredictRequest, most: int) -> Mapping[str, np.ndarray]:
    return {name: to_array(proto, name, most) for name, proto in request.inputs.items()}
