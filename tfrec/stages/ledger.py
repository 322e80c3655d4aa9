"""What of a run is finished, and under which key; the stages read it to know what need not be repeated."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tfrec import config
from tfrec.config.yaml_rules import Loader
from tfrec.data.folders import recover

LEDGER = "stages.json"
DATASET = "dataset"
CONFIG = "config.yaml"
KEY, FILES = "key", "files"
APART = ("pretrain",)
FOLDERS = 3  # An exported version, with what is in it, lies so deep below where it was made.
# Temporary names: of folders, of files, and of versions that are being exported or removed. Those of the data set are
# the business of who writes it.
LEFTOVERS = (
    ".*.adopted",
    ".writing-*", "*/.writing-*", "*/*/.writing-*",
    "export*/.partial-*", "export*/.removed-*",
)  # fmt: skip


class Run:
    """One pipeline in one output folder.

    A stage's key is a hash of its settings, of its input's content and of the key of the stage that it reads, so that
    a change repeats exactly what depends on it. Beside the key lie the sizes of the stage's files, so that a missing or
    torn one repeats the stage, and the figures that later stages report (seconds, memory).
    """

    def __init__(self, pipeline: config.Pipeline, out: Path) -> None:
        """Look at the folder; nothing is written yet.

        Raises:
            ValueError: the folder is another pipeline's, or holds something else, or its ledger is damaged.
            OSError: it cannot be read.
        """
        self.pipeline, self.out = pipeline, Path(out)
        self._locks: list[int] = []
        self._refuse_foreign()
        self._stages: dict[str, dict[str, Any]] = self._read()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder, where it exists; a new one is locked once it is made.

        Raises:
            ValueError: another process is at work in it.
        """
        try:
            self._lock()
            if self._locks:
                recover(self.path(DATASET))
                sweep(self.out)
            yield
        finally:
            while self._locks:
                os.close(self._locks.pop())

    def _lock(self) -> None:
        """Lock the folder itself, so that no file of ours is left in it; the system frees it with the process."""
        if self._locks or not self.out.exists():
            return
        self._locks.append(os.open(self.out, os.O_RDONLY))
        try:
            fcntl.flock(self._locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--out {self.out}: another tfrec is at work in it. Wait for it, or name another folder."
            ) from None

    def path(self, *parts: str) -> Path:
        """A file or folder of the run."""
        return self.out.joinpath(*parts)

    def key(self, stage: str, reads: Any) -> str:
        """The key of a stage with these settings that reads `reads`."""
        text = json.dumps([stage, config.stage_settings(self.pipeline, stage), reads], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def done(self, stage: str, key: str) -> bool:
        """Whether the stage was finished under this key, and its files are still as long as they were."""
        return self._stages.get(stage, {}).get(KEY) == key and self._first_damage(stage) is None

    def damage(self, stage: str, key: str) -> str | None:
        """What is wrong with the first bad file of a stage that was finished under this key; None where nothing is."""
        return self._first_damage(stage) if self._stages.get(stage, {}).get(KEY) == key else None

    def _first_damage(self, stage: str) -> str | None:
        for path, size in self.files(stage).items():
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size} bytes instead of {size}"
        return None

    def files(self, stage: str) -> dict[Path, int]:
        """Files that a finished stage left, and their bytes."""
        return {self.out / name: size for name, size in self._stages.get(stage, {}).get(FILES, {}).items()}

    def figures(self, stage: str) -> dict[str, Any]:
        """What was remembered of a stage; empty where it was never finished."""
        return {name: value for name, value in self._stages.get(stage, {}).items() if name not in (KEY, FILES)}

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make a new folder this run's own for the time of a first stage.

        If that fails, nothing is left of it, but where a part of the stage's files is there: they stay the run's.
        """
        made, new = not self.out.exists(), not self.path(CONFIG).exists()
        if new:
            self._write_config()
            self._lock()
        try:
            yield
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                left = [path.name for path in self.out.iterdir() if not path.name.startswith(".")]
                if new and left == [CONFIG]:
                    self.path(CONFIG).unlink()
            if made:
                with contextlib.suppress(OSError):
                    self.out.rmdir()
            raise

    def begin(self, stage: str) -> None:
        """Say that the stage's files are about to change: it counts as not done until it is finished."""
        self._write_config(stage)
        if self._stages.pop(stage, None) is not None:
            self._write_ledger()

    def finish(self, stage: str, key: str, files: Iterable[Path], **figures: Any) -> None:
        """Remember that the stage is done, its files (a folder stands for all in it), and its figures.

        All of them are on the disk before the ledger says so, whatever becomes of the machine.
        """
        self._stages[stage] = {KEY: key, **figures, FILES: dict(self._sizes(files))}
        self._write_config(stage)
        _flush(self.files(stage))
        self._write_ledger()

    def adopt(self, stage: str, other: Run) -> None:
        """Take over what another run finished under the same settings: its files, as hard links, and its entry.

        A stage replaces its files and does not write into them, so that the links keep apart what changes later.

        Raises:
            OSError: a file cannot be linked or written.
        """
        waiting = self.path(f".{stage}.adopted")
        shutil.rmtree(waiting, ignore_errors=True)
        self._write_config()
        for file in other.files(stage):
            place = waiting / file.relative_to(other.out)
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(file, place)
        for part in sorted(waiting.iterdir()):
            os.replace(part, self.path(part.name))
        waiting.rmdir()
        self._stages[stage] = dict(other._stages[stage])
        _flush(self.files(stage))
        self._write_ledger()

    def _sizes(self, files: Iterable[Path]) -> Iterator[tuple[str, int]]:
        """Name, relative to the run where it lies in it, and bytes."""
        for path in files:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    inside = file.is_relative_to(self.out)
                    name = file.relative_to(self.out).as_posix() if inside else os.path.abspath(file)
                    yield name, file.stat().st_size

    def _write_config(self, stage: str | None = None) -> None:
        """Write the settings; a stage apart from the others leaves those that it finds."""
        if stage in APART and self.path(CONFIG).exists():
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(self.path(CONFIG), config.dump(self.pipeline))
        except OSError as error:
            message = f"--out {self.out} cannot be written: {error.strerror}. Name another folder."
            raise PermissionError(message) from error

    def _write_ledger(self) -> None:
        write_text(self.path(LEDGER), json.dumps(self._stages, indent=2))
        _flush([self.path(LEDGER)])

    def _read(self) -> dict[str, dict[str, Any]]:
        path = self.path(LEDGER)
        if not path.exists():
            return {}
        try:
            stages = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
                raise ValueError("a mapping of stages was expected")
        except ValueError as error:
            raise ValueError(f"{path}: not the ledger of a run ({error}). Remove it to do every stage again.") from None
        return stages

    def _refuse_foreign(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out} is a file, and a run needs a folder. Name another one.")
        if not self.out.exists() or all(path.name.startswith(".") for path in self.out.iterdir()):
            return
        try:
            owner = yaml.load(self.path(CONFIG).read_text(encoding="utf-8"), Loader=Loader)["name"]
        except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
            raise ValueError(
                f"--out {self.out} holds files that are no run of tfrec. Name an empty folder, or one not there yet."
            ) from None
        if owner != self.pipeline.name:
            raise ValueError(
                f"--out {self.out} is the run of the pipeline {owner!r}, and this one is {self.pipeline.name!r}. "
                "Name another folder."
            )


def sweep(out: Path) -> None:
    """Take away what processes that were killed left half written in a run, which nobody else is at work in."""
    for pattern in LEFTOVERS:
        for path in out.glob(pattern):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _link(file: Path, place: Path) -> None:
    """A second name for a file, or a copy where the file system knows none."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _flush(files: Iterable[Path]) -> None:
    """Wait until the disk has files and their names, and those of the folders that they may have been made with."""
    files = list(files)
    folders = {folder for file in files for folder in file.absolute().parents[:FOLDERS]}
    for place in [*files, *sorted(folders)]:
        try:
            handle = os.open(place, os.O_RDONLY)
        except PermissionError:  # A folder in which a new one may be made, and that may not be listed.
            continue
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # A file system that knows no such thing.
                raise
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write a file, which takes its place at the end, or vanishes on an error."""
    temporary = path.with_name(f".writing-{path.name}")
    try:
        yield temporary
        _flush([temporary])  # Else a machine that goes down may leave an empty file of the new name.
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
