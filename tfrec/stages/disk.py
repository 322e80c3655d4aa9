"""What is said where a disk takes nothing more in the middle of a stage: one line with the place, whoever met it."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfrec.stages.ledger import Run

# What the system says -> the number of the error; libraries pass on the words, and some of them the number.
WORDS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Read-only file system": errno.EROFS,
    "Input/output error": errno.EIO,
}
SENTENCES = {
    errno.EFBIG: "cannot be written: a file is larger than the system allows (`ulimit -f`, or the file system's own "
    "limit). Raise the limit",
    errno.EROFS: "cannot be written: the file system is read-only. Mount it for writing",
    errno.EIO: "cannot be read or written: the device fails (input/output error; the system's log says more). Mend it, "
    "or move the run to another disk",
}
LITTLE = 2**20  # Bytes that are left on a disk which is taken for full.


@contextlib.contextmanager
def disk_errors_told(run: Run, stage: str) -> Iterator[None]:
    """Turn an error of a disk, of whatever kind, into an `OSError` that says which, where, and what to do.

    Raises:
        OSError: the disk is full, fails or is read-only, or a file is too large.
    """
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        number = _number(error)
        if number is None:
            raise
        if number in SENTENCES:
            said = f"{_named(error) or run.out} {SENTENCES[number]}"
        else:
            place, free = _fullest(run, error)
            said = f"{place} cannot be written: the disk is full ({free / 2**20:.1f} MiB are free). Make room"
        raise OSError(f"{stage}: {said}, and run the same command again: it goes on from what was finished.") from error


def _number(error: BaseException) -> int | None:
    """The number of the disk's error that an error, or one that it came from, speaks of; None where none does."""
    if isinstance(error, OSError) and error.errno in WORDS.values():
        return error.errno
    found = (number for words, number in WORDS.items() if words in str(error))
    cause = error.__cause__ or error.__context__
    return next(found, None) or (None if cause is None else _number(cause))


def _named(error: BaseException) -> str | None:
    """The file that an error names, or one that it came from; of a copy it is the new one.

    TensorFlow's texts are like `FILE; File too large`, and shutil's errors hold what could not be copied.
    """
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][1])
    if isinstance(error, OSError) and error.filename is not None:
        return str(error.filename2 or error.filename)
    told = re.search(rf"(?:^|\s)(/[^;{{}}\n]*); (?:{'|'.join(WORDS)})", str(error))
    cause = error.__cause__ or error.__context__
    return told[1] if told else None if cause is None else _named(cause)


def _fullest(run: Run, error: BaseException) -> tuple[str, int]:
    """The place that is full and its free bytes: what the error names, else the fullest of the places in use."""
    named = getattr(error, "filename", None)
    if named is not None:
        return str(named), _free(Path(str(named)))
    places = [run.out, Path(run.pipeline.export.base_path), Path(tempfile.gettempdir())]
    free, place = min((_free(place), number) for number, place in enumerate(places))
    return (str(places[place]), free) if free < LITTLE else (str(run.out), _free(run.out))


def _free(place: Path) -> int:
    """Bytes that are free where a path lies, or will."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free
