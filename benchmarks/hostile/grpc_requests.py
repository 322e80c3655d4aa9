"""Hostile gRPC: broken messages, lying tensors, unknown methods; each must end in a status."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import grpc
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2

SECONDS = 15.0
AT_A_TIME = 16
SERVICE, MODELS = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
METHODS = ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")


async def run(port: int, good: bytes, count: int, seed: int) -> Counter[tuple[str, str, str]]:
    """Send messages of all kinds, made from a good one; (port, kind, answer) -> how often."""
    found: Counter[tuple[str, str, str]] = Counter()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    numbers = iter(range(count))

    async def some(channel: grpc.aio.Channel) -> None:
        for number in numbers:
            rng = random.Random(f"{seed} {number}")  # noqa: S311, no secret
            kind = rng.choice(list(KINDS))
            method, message = KINDS[kind](rng, good)
            found["grpc", kind, await _answer(channel, method, message)] += 1

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        await asyncio.gather(*(some(channel) for _ in range(AT_A_TIME)))
    return found


async def _answer(channel: grpc.aio.Channel, method: str, message: bytes) -> str:
    try:
        await channel.unary_unary(method)(message, timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return "hang"
        return str(error.code().name)
    return "OK"


def _changed(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    message = bytearray(good)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(message))
        if rng.random() < 0.5:
            message[place] ^= 1 << rng.randrange(8)
        else:
            del message[place : place + rng.randint(1, 30)]
        if not message:
            break
    return SERVICE + "Predict", bytes(message)


def _noise(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    method = rng.choice(
        [SERVICE + name for name in METHODS] + [MODELS + "GetModelStatus", MODELS + "HandleReloadConfigRequest"]
    )
    return method, rng.randbytes(rng.randint(0, 3000))


def _unknown(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    return rng.choice(["/x/Y", SERVICE + "Nope", "/grpc.reflection.v1.ServerReflection/Info", "/" + "a" * 2000]), good


def _other(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    return rng.choice([SERVICE + name for name in METHODS] + [MODELS + "GetModelStatus"]), good


def _tensor(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    """Tensors whose type, shape and values do not agree."""
    request = predict_pb2.PredictRequest.FromString(good)
    proto = TensorProto(dtype=rng.choice([7, 7, 7, 1, 3, 9, 10, 20, 21, 0, 101]))
    for _ in range(rng.randint(0, 9)):
        proto.tensor_shape.dim.add(size=rng.choice([-1, 0, 1, 1, 2, 1000, 2**20, 2**31, 2**62]))
    proto.string_val.extend(
        rng.choice([b"1", b"\xff\x00", b"", b"x" * 1000]) for _ in range(rng.choice([0, 1, 1, 2, 1000]))
    )
    if rng.random() < 0.2:
        proto.tensor_content = rng.randbytes(rng.choice([1, 4, 8, 4000]))
    if rng.random() < 0.2:
        proto.tensor_shape.unknown_rank = True
    request.inputs[rng.choice(["history", "history", "x", "", "\n"])].CopyFrom(proto)
    return SERVICE + "Predict", request.SerializeToString()


def _spec(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    request = predict_pb2.PredictRequest.FromString(good)
    request.model_spec.name = rng.choice(["", "x" * 100_000, "\n", "..", request.model_spec.name])
    request.model_spec.signature_name = rng.choice(
        ["", "__saved_model_init_op", "x" * 100_000, "serving_default\0", "embed_item"]
    )
    match rng.randrange(3):
        case 0:
            request.model_spec.version.value = rng.choice([-1, 0, 1, 2**62])
        case 1:
            request.model_spec.version_label = rng.choice(["", "nope", "stable"])
    request.output_filter.extend(rng.choice(["scores", "x", ""]) for _ in range(rng.choice([0, 1, 3, 2000])))
    return SERVICE + "Predict", request.SerializeToString()


def _huge(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    request = predict_pb2.PredictRequest.FromString(good)
    match rng.randrange(3):
        case 0:
            request.inputs["history"].string_val.extend([b"x" * 100_000] * 50)
        case 1:
            for number in range(rng.choice([65, 5000])):
                request.inputs[str(number)].CopyFrom(request.inputs["history"])
        case _:
            length = rng.choice([10_000, 300_000])
            request.inputs["history"].tensor_shape.dim[1].size = length
            del request.inputs["history"].string_val[:]
            request.inputs["history"].string_val.extend([b"1"] * length)
    return SERVICE + "Predict", request.SerializeToString()


KINDS: dict[str, Callable[[random.Random, bytes], tuple[str, bytes]]] = {
    "changed message": _changed,
    "noise": _noise,
    "unknown method": _unknown,
    "another method": _other,
    "tensor": _tensor,
    "model and outputs": _spec,
    "huge": _huge,
}
