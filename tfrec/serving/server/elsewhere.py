"""Command lines that serve a folder with TensorFlow Serving itself, installed or in Docker; `tfrec serve` runs them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tfrec.serving import server_config
from tfrec.serving.server import wanted
from tfrec.serving.server.options import Options
from tfrec.serving.versions import SAVED_MODEL, TEXT_SUFFIX

PROGRAM, DOCKER, IMAGE = "tensorflow_model_server", "docker", "tensorflow/serving"
EVERYWHERE = "0.0.0.0"  # noqa: S104, what TensorFlow Serving listens at, whatever it is told


def tfserving(options: Options) -> list[str]:
    """The command line of an installed TensorFlow Serving.

    Raises:
        ValueError: it is not installed, it cannot serve the folder, or not at that address alone.
    """
    if options.host != EVERYWHERE:
        raise ValueError(
            f"TensorFlow Serving listens at all addresses of the machine, not at {options.host} alone: say so with "
            f"--host {EVERYWHERE}, or take --server docker or builtin."
        )
    ports = [f"--port={options.grpc_port}", f"--rest_api_port={options.rest_port}"]
    return [_installed(PROGRAM, "builtin or docker"), *ports, *_models(options)[0]]


def docker(options: Options) -> list[str]:
    """The command line of the official image.

    Raises:
        ValueError: Docker is not installed, or it cannot serve the folder.
    """
    arguments, folders = _models(options)
    host = f"[{options.host}]" if ":" in options.host else options.host
    ports = [f"--publish={host}:{options.grpc_port}:8500", f"--publish={host}:{options.rest_port}:8501"]
    # The folder is where the host has it: `models.config` holds absolute paths.
    mounts = [f"--volume={folder}:{folder}:ro" for folder in folders]
    return [_installed(DOCKER, "builtin"), "run", "--rm", *ports, *mounts, IMAGE, *arguments]


def _models(options: Options) -> tuple[list[str], Sequence[Path]]:
    """The arguments that say what to serve, and the folders that these name."""
    if 0 in (options.rest_port, options.grpc_port):
        raise ValueError("TensorFlow Serving takes no free port by itself: give --rest-port and --grpc-port a number.")
    wanted.look(options.model, options.name)
    folder = options.model.resolve()
    for root in (folder, folder.parent):
        named = server_config.models(root)
        if named and (root == folder or folder.name in named):
            if options.name is not None:
                raise ValueError(
                    f"{root / server_config.FILE} names the models for TensorFlow Serving: leave --name out, or take "
                    "--server builtin."
                )
            others = sorted({*named} - {folder.name, folder.name + TEXT_SUFFIX})
            if root != folder and others:
                raise ValueError(
                    f"{root / server_config.FILE} names {', '.join(others)} too, and TensorFlow Serving serves all "
                    f"that it names: say so, with {root}, or take --server builtin."
                )
            return _published(root, options), [root]
    if (folder / SAVED_MODEL).is_file():
        raise ValueError(f"TensorFlow Serving takes a folder of versions, and {options.model} is one version.")
    served = [f"--model_name={options.name or folder.name}", f"--model_base_path={folder}"]
    return [*served, f"--file_system_poll_wait_seconds={_seconds(options)}"], [folder]


def _published(root: Path, options: Options) -> list[str]:
    moved = [name for name in server_config.models(root) if server_config.base_path(root, name) != root / name]
    if moved:
        raise ValueError(
            f"{root / server_config.FILE} says that {moved[0]} is at "
            f"{server_config.base_path(root, moved[0])}, and it is "
            f"at {root / moved[0]} now. TensorFlow Serving reads the first: publish again, or correct the file."
        )
    return [
        f"--model_config_file={root / server_config.FILE}",
        f"--model_config_file_poll_wait_seconds={_seconds(options)}",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={root / server_config.MONITORING}",
    ]


def _seconds(options: Options) -> int:
    """Whole seconds between two looks, which is what it takes."""
    return max(1, round(options.poll_seconds))


def _installed(program: str, others: str) -> str:
    if shutil.which(program) is None:
        raise ValueError(f"{program} is not installed, or not on PATH: install it, or take --server {others}.")
    return program
