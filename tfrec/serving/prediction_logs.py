"""Files of requests and answers as TensorFlow Serving logs them: `warmup` and `stored_answers` write and read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

Tensors = Mapping[str, np.ndarray]


def write(path: Path, asked: Iterable[tuple[str, Tensors, Tensors]]) -> None:
    """Write a file.

    Args:
        path: the file.
        asked: name of the signature, inputs by name, outputs by name; no outputs where nothing is known of the answer.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs, outputs in asked:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            for name, values in inputs.items():
                log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            for name, values in outputs.items():
                log.predict_log.response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
            writer.write(log.SerializeToString())


def read(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """What `write` wrote; texts as bytes.

    Raises:
        ValueError: the file is damaged.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
            sides = log.request.inputs, log.response.outputs
            inputs, outputs = ({name: tf.make_ndarray(value) for name, value in side.items()} for side in sides)
            yield log.request.model_spec.signature_name, inputs, outputs
    except (DecodeError, tf.errors.OpError) as error:
        raise ValueError(f"{path} is damaged; export the model again.") from error
