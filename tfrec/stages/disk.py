"""What is said where a disk is full in the middle of a stage: one line with the place, whatever library met it."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfrec.stages.ledger import Run

FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = ("No space left on device", "Disk quota exceeded")
LITTLE = 2**20  # Bytes that are left on a disk which is taken for full.


@contextlib.contextmanager
def fullness_told(run: Run, stage: str) -> Iterator[None]:
    """Turn an error of a full disk, of whatever kind, into an `OSError` that says which, and what to do.

    Raises:
        OSError: the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        if not _is_full(error):
            raise
        place, free = _fullest(run, error)
        raise OSError(
            f"{stage}: {place} cannot be written: the disk is full ({free / 2**20:.1f} MiB are free). Make room, and "
            "run the same command again: it goes on from what was finished."
        ) from error


def _is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that a disk is full; libraries word it in ways of their own."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    cause = error.__cause__ or error.__context__
    return any(words in str(error) for words in WORDS) or (cause is not None and _is_full(cause))


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
