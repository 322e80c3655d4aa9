"""Arrays to and from the tensors of a gRPC message, within the limits of the server."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfrec.serving.server.problems import invalid

_FIELDS = {
    tf.string: "string_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
}


def to_array(proto: TensorProto, name: str, most: int) -> np.ndarray:
    """The array that a tensor holds.

    As in TensorFlow, the last value stands for all that are left out after it; the shape is looked at before anything
    is reserved for it.

    Args:
        proto: the tensor of a request.
        name: of the input, for the message.
        most: values that it may have.

    Raises:
        ProblemError: it is of no type that models read, it has more values than its shape or none, or too many.
    """
    kind = _kind(proto.dtype)
    if kind is None:
        raise invalid(f"Input {name!r} has a type that no model reads: {proto.dtype}.")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape) or len(shape) > 8:
        raise invalid(f"Input {name!r} has no shape of its own; it must be a tensor of whole sizes.")
    count = math.prod(shape)
    if math.prod(size or 1 for size in shape) > most:  # Beside a size of 0 the others count too: NumPy bounds them.
        raise invalid(f"Input {name!r} is of {shape}; this server takes {most} values.")
    if proto.tensor_content:
        if kind == tf.string:
            raise invalid(f"Input {name!r} holds strings, which belong in `string_val`.")
        return _of_content(proto.tensor_content, kind, shape, name)
    values = getattr(proto, _FIELDS[kind])
    if len(values) > count or (count and not len(values)):
        raise invalid(f"Input {name!r} has {len(values)} values, and its shape {shape} asks for {count}.")
    array = np.empty(count, object if kind == tf.string else kind.as_numpy_dtype)
    array[: len(values)] = values
    if len(values) < count:
        array[len(values) :] = values[-1]
    return array.reshape(shape)


def to_proto(array: np.ndarray) -> TensorProto:
    """The tensor of an array, its values in the field of their type, as TF Serving answers."""
    kind = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto = TensorProto(dtype=kind.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _FIELDS[kind]).extend(array.ravel().tolist())
    return proto


def _kind(number: int) -> Any:
    """The type of a number from the network; None for those that no field here holds."""
    try:
        kind = tf.as_dtype(number)
    except TypeError:
        return None
    return kind if kind in _FIELDS else None


def _of_content(content: bytes, kind: Any, shape: list[int], name: str) -> np.ndarray:
    expected = math.prod(shape) * np.dtype(kind.as_numpy_dtype).itemsize
    if len(content) != expected:
        raise invalid(f"Input {name!r} has {len(content)} bytes, and its shape {shape} asks for {expected}.")
    return np.frombuffer(content, kind.as_numpy_dtype).reshape(shape)
