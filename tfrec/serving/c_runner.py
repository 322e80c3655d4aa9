"""A SavedModel in a process without Python: `c_runner.c`, built here by the C compiler that the machine has.

TensorFlow Serving loads a version in the same way, through TensorFlow's C++ loader and with no operation but those that
its libraries register. What Python adds to a process, which `tfrec.serving.session` cannot keep out, is not there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shlex
import shutil
import stat
import struct
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from tfrec.features import cache_folder
from tfrec.serving.versions import SAVED_MODEL

SOURCE = Path(__file__).with_suffix(".c")
LONGEST_SECONDS = 300  # for loading a version and all its answers
_LIBRARIES = ("libtensorflow_cc", "libtensorflow_framework")


class NotBuilt(Exception):
    """There is no runner here: no compiler, or one that cannot build it; the message says which."""


class CModel:
    """A version that a runner has loaded: the same questions as to a `SessionModel`."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        """Hold a started runner and read the signatures of what it loads; see `open_runner`."""
        from tensorflow.core.protobuf import saved_model_pb2

        model = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL).read_bytes())
        self._definitions = model.meta_graphs[0].signature_def
        self._folder, self._process, self._log = folder, process, log

    def loaded(self) -> None:
        """Wait until the version is loaded.

        Raises:
            ValueError: it does not load.
        """
        self._check(f"{self._folder} does not load through TensorFlow's C API")

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature by name, texts as bytes.

        Raises:
            ValueError: it does not answer; the message has TensorFlow's.
        """
        definition = self._definitions[signature]
        feeds = [(definition.inputs[name].name, values) for name, values in inputs.items()]
        fetches = {name: tensor.name for name, tensor in definition.outputs.items()}
        parts = [_u32(len(feeds))]
        for name, values in feeds:
            parts += [_named(name), *_encoded(values)]
        parts += [_u32(len(fetches)), *map(_named, fetches.values())]
        try:
            self._writes.write(b"".join(parts))
            self._writes.flush()
        except BrokenPipeError:
            pass  # Its last words are an error, or nothing: `_check` says so.
        self._check(f"{self._folder}: {signature} does not answer through TensorFlow's C API")
        return {name: self._tensor() for name in fetches}

    @property
    def _writes(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _check(self, what: str) -> None:
        """Read whether the last step went well."""
        try:
            code = self._u32()
            said = self._read(self._u32()).decode(errors="replace") if code else ""
        except EOFError:
            status = self._process.wait()
            self._log.seek(0)
            last = (self._log.read().decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
            raise ValueError(f"{what}: the process ended with status {status} ({last[:300]}).") from None
        if code:
            raise ValueError(f"{what}: {said.strip().splitlines()[0][:300] if said.strip() else f'code {code}'}")

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _u32(self) -> int:
        return int(struct.unpack("=I", self._read(4))[0])

    def _tensor(self) -> np.ndarray:
        dtype = tf.dtypes.as_dtype(self._u32())
        shape = np.frombuffer(self._read(8 * self._u32()), np.int64)
        if dtype != tf.string:
            return np.frombuffer(self._read(self._u64()), dtype.as_numpy_dtype).reshape(shape)
        cells = [self._read(self._u64()) for _ in range(int(np.prod(shape)))]
        return np.array([*cells, None], object)[:-1].reshape(shape)

    def _u64(self) -> int:
        return int(struct.unpack("=Q", self._read(8))[0])


@contextmanager
def open_runner(folder: Path, libraries: Sequence[Path] = ()) -> Iterator[CModel]:
    """Load a SavedModel with the tag `serve` in a process of its own.

    Args:
        folder: the version.
        libraries: those of the operations that are not TensorFlow's own.

    Raises:
        NotBuilt: there is no runner here.
        ValueError: the folder holds no SavedModel that loads.
    """
    command = [str(built()), str(folder), *map(str, libraries)]
    with tempfile.TemporaryFile() as log, _started(command, log) as process:
        late = threading.Timer(LONGEST_SECONDS, process.kill)
        late.daemon = True
        late.start()
        try:
            model = CModel(folder, process, log)
            model.loaded()
            yield model
        finally:
            late.cancel()
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # What it did not read any more.
                process.communicate()


def _started(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The program at work; on the CPU, since this process may hold the memory of the GPU."""
    pipe = subprocess.PIPE
    try:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, env=environment)
    except OSError as error:
        raise NotBuilt(f"{command[0]} cannot be run: {error.strerror}") from error


def built() -> Path:
    """The program, built once for each TensorFlow and kept in the cache (`tfrec.features.cache_folder`).

    Raises:
        NotBuilt: there is no C compiler (`$CC`, or else `cc`), or it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        raise NotBuilt(f"there is no C compiler {compiler[0]!r}" if compiler else "CC is empty")
    place = Path(tf.sysconfig.get_lib())
    asked = "\n".join([SOURCE.read_text(encoding="utf-8"), tf.__version__, str(place), *compiler])
    program = _folder() / f"c_runner-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    if program.is_file() and _is_mine(program):
        return program
    libraries = [path for name in _LIBRARIES for path in sorted(place.glob(f"{name}.*"))]
    under = program.with_name(f"{program.name}.{uuid.uuid4().hex[:8]}")
    words = [*compiler, "-O1", "-std=c11", "-o", under, SOURCE, f"-I{tf.sysconfig.get_include()}", *libraries]
    run = subprocess.run([*map(str, words), f"-Wl,-rpath,{place}"], capture_output=True, text=True, check=False)
    if run.returncode:
        said = run.stderr.strip().splitlines() or [f"status {run.returncode}"]
        raise NotBuilt(f"{shlex.join(compiler)} could not build {SOURCE.name}: {said[0][:200]}")
    os.replace(under, program)
    return program


def _folder() -> Path:
    """The cache where it is the user's own, else a folder that goes with this process."""
    folder = Path(cache_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(_private().name)
    return folder if os.access(folder, os.W_OK) and _is_mine(folder) else Path(_private().name)


def _is_mine(path: Path) -> bool:
    """Whether nobody but the user can have put it there: a program is run from it."""
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def _private() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tfrec-")


def _named(name: str) -> bytes:
    return _u32(len(name.encode())) + name.encode()


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


def _encoded(values: Any) -> list[bytes]:
    """A tensor as the runner reads it."""
    values = np.asarray(values)
    dtype = tf.string if values.dtype.kind in "OSU" else tf.dtypes.as_dtype(values.dtype)
    head = struct.pack(f"=II{values.ndim}q", dtype.as_datatype_enum, values.ndim, *values.shape)
    if dtype != tf.string:
        return [head, struct.pack("=Q", values.nbytes), values.tobytes()]
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in values.ravel().tolist()]
    return [head, *(struct.pack("=Q", len(text)) + text for text in texts)]
