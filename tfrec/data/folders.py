"""A dataset's folder: its manifest, the checks before it is written or opened, and the writing, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tfrec.data.options import PrepareOptions
from tfrec.data.tables import Source, missing_file

MANIFEST = "manifest.json"
KIND = "tfrec dataset"
# Raised whenever a folder of before could be read wrongly, and LABELLED where one with labels could be alone.
VERSION, LABELLED = 2, 3
CHECKED = (".tfrecord", ".gz")  # Files whose own format has checksums, which whoever reads them looks at.


def content_hash(
    events: Source | None,
    items: Source | None = None,
    users: Source | None = None,
    *,
    options: PrepareOptions | None = None,
) -> str:
    """A hash of the tables' content and the options: equal ones give the same dataset.

    Args:
        events: path or DataFrame; a file counts with its bytes, not its name. None for those made from a seed.
        items: likewise.
        users: likewise.
        options: what `prepare` would be given.

    Returns:
        64 hexadecimal digits.

    Raises:
        FileNotFoundError: a table is not there.
    """
    options = options or PrepareOptions()
    plain, version = options.as_json(), LABELLED if options.events and options.events.labels else VERSION
    sources: dict[str, Any] = {"events": events, "items": items, "users": users}
    for name in ("hold_out_items", "hold_out_validation_items"):
        ids = getattr(options, name)
        if isinstance(ids, (str, os.PathLike)):
            sources[name], plain[name] = ids, "a table"
        else:
            sources[name] = None
    digest = hashlib.sha256(f"{KIND} {version} {json.dumps(plain, sort_keys=True)}".encode())
    for name, source in sources.items():
        digest.update(b"\0" + (b"" if source is None else _source_hash(source, name)))
    return digest.hexdigest()


def check_destination(folder: Path, content: str, *, replace: bool) -> None:
    """Refuse a folder that is not to be written to, before any work is done; take away what killed processes left.

    Args:
        folder: where a dataset is to go.
        content: its content hash.
        replace: whether a dataset of other content may be replaced.

    Raises:
        ValueError: it holds another dataset, or something else.
        PermissionError: it cannot be written.
    """
    try:
        _check_place(folder)
        recover(folder.absolute())
        _check_contents(folder, content, replace=replace)
    except PermissionError as error:
        raise PermissionError(f"The output folder {folder} cannot be written: {error}. Give another.") from error


def _check_contents(folder: Path, content: str, *, replace: bool) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        there = _manifest_or_none(folder)
        if there is None:
            raise ValueError(f"The output folder {folder} holds something else than a dataset: give another folder.")
        alien = sorted({path.name for path in folder.iterdir()} - _own_names(there))
        if alien:
            raise ValueError(
                f"The output folder {folder} holds {alien[0]!r}, no part of the dataset there, which would be lost:"
                " move it away, or give another folder."
            )
        if there.get("content_hash") != content and not replace:
            raise ValueError(
                f"The output folder {folder} holds another dataset (content {str(there.get('content_hash'))[:12]},"
                f" now {content[:12]}): give another folder, or replace=True to replace it."
            )


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"The output folder {folder} is a file: give another folder.")
    parent = folder.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"The output folder {folder} cannot be made: {parent} is a file. Give another folder.")
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(f"no right to write in {parent}")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write to, which takes its place at the end, or vanishes on an error.

    Raises:
        PermissionError: the folder cannot be made.
        ValueError: the disk is full.
    """
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise PermissionError(f"The output folder {folder} cannot be written: {error.strerror}.") from error
    try:
        with _locked(partial):
            yield partial
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
    except BaseException as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ValueError(f"The output folder {folder} cannot be written: the disk is full. Make room.") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Take away what killed processes left of their work on a data set's folder; what one had moved away comes back."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        with contextlib.suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    for old in folder.parent.glob(f".{glob.escape(folder.name)}.*.old"):
        if not old.with_suffix(".partial").exists():  # Else a process is at work on it.
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, which ends with the process; BlockingIOError where another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, last of all files, with the size of each of the others, and a digest of most."""
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path.stat().st_size for name, path in paths.items()}
    digests = {name: _digest(path) for name, path in paths.items() if not name.endswith(CHECKED)}
    whole = {"kind": KIND, "version": _version(manifest), **manifest, "files": files, "digests": digests}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset's folder, after a check that all of its files are there and whole.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no dataset's, of another version, or a file is missing, cut short or changed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no dataset folder {folder}: prepare the data first, or correct the path.")
    manifest = _manifest_or_none(folder)
    if manifest is None:
        raise ValueError(f"{folder} is not the folder of a dataset: it has no {MANIFEST} of one. Prepare the data.")
    if manifest.get("version") != _version(manifest):
        raise ValueError(
            f"{folder} holds a dataset of version {manifest.get('version')!r}, and this tfrec reads"
            f" {_version(manifest)}: prepare the data anew."
        )
    for name, size in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            what = "is missing" if not path.is_file() else f"has {path.stat().st_size} bytes instead of {size}"
            raise ValueError(f"The dataset in {folder} is damaged: {name} {what}. {rebuilding(folder)}")
    for name, digest in manifest.get("digests", {}).items():
        if _digest(folder / name) != digest:
            raise ValueError(
                f"The dataset in {folder} is damaged: {name} has other content than was written. {rebuilding(folder)}"
            )
    return manifest


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rebuilding(folder: Path) -> str:
    """What to do where a file of a dataset is damaged."""
    return f"Remove {folder} and prepare the data anew: `tfrec prepare PIPELINE.yaml`, as it was prepared before."


def _manifest_or_none(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("kind") == KIND else None


def _version(manifest: dict[str, Any]) -> int:
    return LABELLED if manifest.get("labels") else VERSION


def _own_names(manifest: dict[str, Any]) -> set[str]:
    return {MANIFEST, *(Path(name).parts[0] for name in manifest.get("files", ()))} | {"vocabularies"}


def _source_hash(source: Any, name: str) -> bytes:
    digest = hashlib.sha256()
    if isinstance(source, pd.DataFrame):
        try:
            rows = pd.util.hash_pandas_object(source, index=False)
        except TypeError as error:
            raise ValueError(f"The table {name!r}: a column holds lists or the like ({error}): remove it.") from error
        digest.update(repr([(str(name), str(dtype)) for name, dtype in source.dtypes.items()]).encode())
        digest.update(rows.to_numpy().tobytes())
    elif isinstance(source, (str, os.PathLike)):
        if not Path(source).is_file():
            raise missing_file(Path(source), name)
        return bytes.fromhex(_digest(Path(source)))
    else:
        raise ValueError(f"{name} must be a path or a pandas DataFrame; got {type(source).__name__}.")
    return digest.digest()
