"""`models.config`: which versions TensorFlow Serving loads, and their labels; `publish` writes it, `answers` reads it.

Beside it lie what the server takes for batching and for monitoring, written once and then the operator's.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

FILE = "models.config"
MONITORING, README = "monitoring.config", "README.md"
STABLE = "stable"
_HEADER = """\
# Written by `tfrec publish`: the versions a server loads, and their labels. Start TensorFlow Serving with
#   tensorflow_model_server --model_config_file={path} \\
#       --allow_version_labels_for_unavailable_models=true --model_config_file_poll_wait_seconds=60
# and, if you like, --enable_batching --batching_parameters_file={folder}/batching_params.pbtxt
#       --rest_api_port=8501 --monitoring_config_file={folder}/monitoring.config
# TensorFlow Serving accepts absolute base paths only: after moving this folder, publish again or correct them.
"""
_DEFAULTS = {
    "batching_params.pbtxt": """\
# For --enable_batching --batching_parameters_file=: requests of one signature are answered together, and wait for one
# another a millisecond at most. A server merges tensors of equal shapes alone: with batching on, ask by the forms that
# end in `_delimited`, by `similar_items`, `embed_item` and `embed_text`, whose inputs have one dimension, or send rows
# of one fixed width. Leave padding by the server off: it would repeat the oldest item as if it were the newest.
# `num_batch_threads`: the cores of the machine. A request has at most `max_batch_size` rows.
max_batch_size { value: 256 }
batch_timeout_micros { value: 1000 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 1000 }
pad_variable_length_inputs: false
""",
    MONITORING: """\
# For --monitoring_config_file=, with --rest_api_port: metrics for Prometheus.
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
""",
}
_EXAMPLES = """\
# Published models

`models.config` says which versions a server loads, and their labels: `tfrec publish` and `tfrec rollback` write it.
Serve this folder with `tfrec serve .`, or with TensorFlow Serving as the head of `models.config` says.

REST, here with the version that is labelled `stable`; ids are strings, the oldest item of a history first:

    curl -d '{"inputs": {"history": [["id1", "id2"]]}}' localhost:8501/v1/models/<name>/labels/stable:predict
    curl -d '{"signature_name": "similar_items", "inputs": {"item_id": ["id1"]}}' \\
        localhost:8501/v1/models/<name>/labels/stable:predict
    curl localhost:8501/v1/models/<name>/metadata

gRPC, with `tensorflow-serving-api`:

    import grpc, tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.version_label = "<name>", "stable"
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["id1", "id2"]]))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
    print(tf.make_ndarray(stub.Predict(request, timeout=5).outputs["item_ids"]))

Or with retries, titles and histories of any lengths:

    import tfrec
    with tfrec.Client("localhost:8500", "<name>", label="stable", titles="<name>") as client:
        print(client.recommend([["id1", "id2"]], k=5))

Name a label: a request without one goes to the largest version, be it a canary. The signatures with their inputs and
outputs are listed in `<name>/VERSION/assets.extra/manifest.json`.
"""


def models(folder: Path) -> list[str]:
    """The models that the `models.config` of a folder names.

    Raises:
        ValueError: the file cannot be read.
    """
    return [model.name for model in _read(folder / FILE).model_config_list.config]


def base_path(folder: Path, name: str) -> Path | None:
    """Where the file says that a model lies; None where it names no such model.

    Raises:
        ValueError: the file cannot be read.
    """
    model = _model(_read(folder / FILE), name)
    return None if model is None else Path(model.base_path)


def labels(folder: Path, name: str) -> dict[str, int]:
    """The labels of a model in the `models.config` of a folder; none where it has no such file or model.

    Raises:
        ValueError: the file cannot be read.
    """
    model = _model(_read(folder / FILE), name)
    return {} if model is None else dict(model.version_labels)


def listed(folder: Path, name: str) -> list[int]:
    """The versions of a model that a server loads; none where the file names no such model.

    Raises:
        ValueError: the file cannot be read.
    """
    model = _model(_read(folder / FILE), name)
    return [] if model is None else list(model.model_version_policy.specific.versions)


def write(folder: Path, named: Mapping[str, Mapping[str, int]], also: int | None = None) -> None:
    """Set the labels of some models in one step; a server loads the labelled versions and no other.

    Args:
        folder: where the file lies; the versions of the model NAME are under `folder/NAME`.
        named: model -> label -> version. A model without any is taken out; one that is not named stays as it is.
        also: a further version to be loaded, of each of them.
    """
    config = _read(folder / FILE)
    models = config.model_config_list.config
    for name, chosen in named.items():
        versions = {*chosen.values(), *([] if also is None else [also])}
        model = _model(config, name)
        if not versions:
            if model is not None:
                models.remove(model)
            continue
        model = model or models.add(name=name)
        model.base_path = str((folder / name).resolve())
        model.model_platform = "tensorflow"
        model.model_version_policy.specific.versions[:] = sorted(versions)
        model.version_labels.clear()
        model.version_labels.update(chosen)
    _replace(folder, config)


def write_defaults(folder: Path, model: str) -> None:
    """Write the files for batching and monitoring, and examples of requests to a model, where they are not there."""
    for name, text in {**_DEFAULTS, README: _EXAMPLES.replace("<name>", model)}.items():
        with suppress(FileExistsError), open(folder / name, "x", encoding="utf-8") as file:
            file.write(text)


def _replace(folder: Path, config: ModelServerConfig) -> None:
    temporary = folder / f".{FILE}-{uuid.uuid4().hex[:12]}"
    try:
        header = _HEADER.format(path=(folder / FILE).resolve(), folder=folder.resolve())
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(header + text_format.MessageToString(config, as_utf8=True))
            file.flush()
            os.fsync(file.fileno())  # Else a machine that goes down may leave an empty file of the new name.
        os.replace(temporary, folder / FILE)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one publisher at a time change a folder."""
    with open(folder / f".{FILE}.lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _model(config: ModelServerConfig, name: str) -> Any:
    """What a file says of a model; None where it names no such model."""
    return next((model for model in config.model_config_list.config if model.name == name), None)


def _read(path: Path) -> ModelServerConfig:
    config = ModelServerConfig()
    if path.is_file():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} is not a model list that tfrec can keep: {reason}. Move it away.") from error
    return config
