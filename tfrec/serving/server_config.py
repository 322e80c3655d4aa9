"""`models.config`: which versions TensorFlow Serving loads, and their labels; `publish` writes it, `answers` reads it.

The file is a `ModelServerConfig` in protobuf text format. Its messages are declared here, field by field as in
TensorFlow Serving's model_server_config.proto, since that package is needed for nothing else.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

FILE = "models.config"
STABLE = "stable"
_PACKAGE = "tensorflow.serving"
_HEADER = """\
# Written by `tfrec publish`: the versions a server loads, and their labels. Start TensorFlow Serving with
#   tensorflow_model_server --model_config_file={path} \\
#       --allow_version_labels_for_unavailable_models=true --model_config_file_poll_wait_seconds=60
# TensorFlow Serving accepts absolute base paths only: after moving this folder, publish again or correct them.
"""
_F = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, list[tuple[str, int, int, str]]] = {
    "Latest": [("num_versions", 1, _F.TYPE_UINT32, "")],
    "All": [],
    "Specific": [("versions", 1, _F.TYPE_INT64, "*")],
    "ServableVersionPolicy": [("latest", 100, 0, "Latest"), ("all", 101, 0, "All"), ("specific", 102, 0, "Specific")],
    "Label": [("key", 1, _F.TYPE_STRING, ""), ("value", 2, _F.TYPE_INT64, "")],
    "ModelConfig": [
        ("name", 1, _F.TYPE_STRING, ""),
        ("base_path", 2, _F.TYPE_STRING, ""),
        ("model_platform", 4, _F.TYPE_STRING, ""),
        ("model_version_policy", 7, 0, "ServableVersionPolicy"),
        ("version_labels", 8, 0, "*Label"),
    ],
    "ModelConfigList": [("config", 1, 0, "*ModelConfig")],
    "ModelServerConfig": [("model_config_list", 1, 0, "ModelConfigList")],
}


def labels(folder: Path, name: str) -> dict[str, int]:
    """The labels of a model in the `models.config` of a folder; none where it has no such file or model.

    Raises:
        ValueError: the file cannot be read.
    """
    return next(
        (
            {label.key: label.value for label in model.version_labels}
            for model in _read(folder / FILE).model_config_list.config
            if model.name == name
        ),
        {},
    )


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
        model = next((model for model in models if model.name == name), None)
        if not versions:
            if model is not None:
                models.remove(model)
            continue
        model = model or models.add(name=name)
        model.base_path = str((folder / name).resolve())
        model.model_platform = "tensorflow"
        model.model_version_policy.specific.versions[:] = sorted(versions)
        del model.version_labels[:]
        for key, value in sorted(chosen.items()):
            model.version_labels.add(key=key, value=value)
    _replace(folder, config)


def _replace(folder: Path, config: Any) -> None:
    temporary = folder / f".{FILE}-{uuid.uuid4().hex[:12]}"
    try:
        header = _HEADER.format(path=(folder / FILE).resolve())
        temporary.write_text(header + text_format.MessageToString(config, as_utf8=True), encoding="utf-8")
        os.replace(temporary, folder / FILE)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one publisher at a time change a folder."""
    with open(folder / f".{FILE}.lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> Any:
    config = _message_class()()
    if path.is_file():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} is not a model list that tfrec can keep: {reason}. Move it away.") from error
    return config


def _message_class() -> Any:
    """The class of `ModelServerConfig`, in a pool of its own: the real package may be imported beside it."""
    file = descriptor_pb2.FileDescriptorProto(name="tfrec_models_config.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, modifier in fields:
            target = modifier.lstrip("*")
            added = message.field.add(name=field, number=number, type=kind or _F.TYPE_MESSAGE)
            added.label = _F.LABEL_REPEATED if modifier.startswith("*") else _F.LABEL_OPTIONAL
            if target:
                added.type_name = f".{_PACKAGE}.{target}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelServerConfig"))
