"""Version folders: integers under one folder, built under another name and renamed when they are whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

SAVED_MODEL = "saved_model.pb"
TEXT_SUFFIX = "_text"  # `NAME_text/3` is the text model of `NAME/3`.
PARTIAL, REMOVED = ".partial-", ".removed-"
ABANDONED_SECONDS = 24 * 3600
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def version_of(folder: Path) -> int | None:
    """The number that a folder's name is, spelled as a server reads it; None for any other name."""
    name = folder.name
    return int(name) if name.isascii() and name.isdecimal() and str(int(name)) == name else None


def versions(folder: Path) -> list[int]:
    """The versions that a folder holds, ascending."""
    if not folder.is_dir():
        return []
    found = [version_of(path) for path in folder.iterdir() if (path / SAVED_MODEL).is_file()]
    return sorted(version for version in found if version is not None)


def text_folder(version_folder: Path) -> Path:
    """Where the text model of a version lies."""
    folder = version_folder.absolute()
    return folder.parent.with_name(folder.parent.name + TEXT_SUFFIX) / folder.name


def next_version(*folders: Path) -> int:
    """One more than the largest number that any of the folders holds; 1 where there is none."""
    names = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return 1 + max((version_of(path) or 0 for path in names), default=0)


@contextmanager
def building(parent: Path) -> Iterator[Path]:
    """A new folder under `parent` with a name that no server reads; what is not renamed away is removed at the end.

    Raises:
        PermissionError: `parent` cannot be written.
        ValueError: `parent` is a file.
    """
    folder = parent / f"{PARTIAL}{uuid.uuid4().hex[:12]}"
    with writing(parent):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say which folder could not be written, and what to do."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{folder} cannot be a folder of versions: {error.filename} is a file.") from error
    except OSError as error:
        if error.errno not in _DENIED:
            raise
        raise PermissionError(
            f"{folder} cannot be written ({error.strerror}): change its permissions or choose another folder."
        ) from error


def place(built: Path, parent: Path, version: int | None, *beside: Path) -> Path:
    """Rename a finished folder to its version, in one step.

    Args:
        built: the finished folder, on the same disk as `parent`.
        parent: the folder of versions.
        version: the number; None takes the next one.
        *beside: further folders whose numbers are taken too.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists.
    """
    while True:
        target = parent / str(version or next_version(parent, *beside))
        try:
            os.rename(built, target)
            return target
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            if version is not None:
                raise ValueError(f"{target} exists already; a version is never overwritten.") from error


def real_file(version: Path) -> Path:
    """Where the answers to real histories lie while a version is where it was exported; see `stored_answers`."""
    return version.with_name(f"real_answers-{version.name}.tfrecord")


def remove(folder: Path) -> None:
    """Delete a version: it goes under a hidden name first, so that nobody finds half of it."""
    real_file(folder).unlink(missing_ok=True)
    hidden = folder.with_name(f"{REMOVED}{uuid.uuid4().hex[:12]}")
    os.rename(folder, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a process that was killed left half built or half deleted; nobody builds at a version for a day."""
    for left in [*folder.glob(f"{PARTIAL}*"), *folder.glob(f"{REMOVED}*")]:
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def prune(folder: Path, keep: int, labelled: Iterable[int] = ()) -> None:
    """Remove the versions that are neither labelled nor among the newest `keep`."""
    found = versions(folder)
    for version in set(found) - {*found[-keep:], *labelled}:
        remove(folder / str(version))
