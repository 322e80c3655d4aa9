"""The versions that a server holds: it follows the folder, loads what is new, and swaps when that is ready."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from tfrec.serving.server.loaded import LoadedVersion
from tfrec.serving.server.metrics import Metrics
from tfrec.serving.server.problems import ProblemError, invalid
from tfrec.serving.server.wanted import Wanted

logger = logging.getLogger(__name__)

LOADING, AVAILABLE = ModelVersionStatus.LOADING, ModelVersionStatus.AVAILABLE
UNLOADING, END = ModelVersionStatus.UNLOADING, ModelVersionStatus.END
PAUSES = (30.0, 600.0)  # seconds until a version that failed is tried again: at first, and at most
_ENDED = 5  # versions of a model whose end is still told


@dataclass
class Held:
    """A version and how far it is.

    Attributes:
        state: of `ModelVersionStatus`.
        loaded: what answers, while it is available.
        problem: why it is not, where loading failed.
        stamp: of its folder when it was loaded; another one is reason to try again what failed.
        pause: seconds until that is tried again in any case; the reason may have passed.
        again: when that is, on the monotonic clock.
    """

    state: Any = LOADING
    loaded: LoadedVersion | None = None
    problem: str = ""
    stamp: Any = None
    pause: float = 0.0
    again: float = 0.0


@dataclass
class Model:
    """The versions of a model by their number, its labels, and whether it ever answered."""

    versions: dict[int, Held] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    answered: bool = False

    def available(self) -> list[int]:
        """The versions that answer, ascending."""
        return sorted(number for number, held in self.versions.items() if held.loaded is not None)


class Repository:
    """What is held. All of it but loading and closing happens in the event loop.

    A version answers from when it is loaded and warm until nobody asks for it: a label moves only to one that answers,
    and what a label left is closed when its last request is done. What cannot be read or loaded changes nothing: the
    server says so in its log and goes on with what it has, also when the folder is gone.
    """

    def __init__(self, look: Callable[[], Mapping[str, Wanted]], metrics: Metrics) -> None:
        """Hold nothing yet; `refresh` loads what `look` asks for."""
        self._look, self._metrics = look, metrics
        self._models: dict[str, Model] = {}
        self._loader = ThreadPoolExecutor(1, "load")
        self._complaint = ""

    def find(self, name: str, version: int | None = None, label: str | None = None) -> LoadedVersion:
        """The version that answers a request; without a number or a label the largest, as in TF Serving.

        Raises:
            ProblemError: there is no such model, version or label.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        model = self._model(name)
        if label is not None:
            if label not in model.labels:
                raise invalid(f"Unrecognized servable version label: {label[:100]}")
            version = model.labels[label]
        if version is None:
            version = max(model.available(), default=None)
        held = None if version is None else model.versions.get(version)
        if held is None or held.loaded is None:
            asked = f"Latest({name[:100]})" if version is None else f"Specific({name[:100]}, {version})"
            raise ProblemError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return held.loaded

    def status(self, name: str, version: int | None = None, label: str | None = None) -> list[tuple[int, Held]]:
        """The states of a model's versions, or of one, the largest first.

        Raises:
            ProblemError: there is no such model, version or label.
        """
        model = self._model(name)
        if label is not None:
            version = self.find(name, label=label).number
        if version is not None and version not in model.versions:
            what = f"Could not find version {version} of model {name[:100]}"
            raise ProblemError(grpc.StatusCode.NOT_FOUND, what)
        if not model.versions:
            raise ProblemError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name[:100]}")
        numbers = sorted(model.versions, reverse=True) if version is None else [version]
        return [(number, model.versions[number]) for number in numbers]

    def holds(self, name: str) -> bool:
        """Whether there is a model of that name."""
        return name in self._models

    @property
    def ready(self) -> bool:
        """Whether every model that once answered does; one that is new and does not load takes nothing from others."""
        held = [model.available() for model in self._models.values() if model.answered]
        return bool(held) and all(held)

    @property
    def problems(self) -> list[str]:
        """Why versions are not there."""
        return [held.problem for model in self._models.values() for held in model.versions.values() if held.problem]

    async def follow(self, seconds: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # Whatever it is, the next look may see what is right.
                logger.exception("the look for versions failed; the server goes on with what it has")

    async def refresh(self) -> None:
        """Make what is held what is wanted."""
        try:
            wanted = await self._in_loader(self._look)
        except (OSError, ValueError) as error:
            self._complain(f"{error} The server goes on with what it has.")
            return
        lost = [name for name, each in wanted.items() if not each.labels and self._model(name).labels]
        if lost:  # Their newest version may be one that was never published, or that was gone back from.
            self._complain(f"{lost[0]} has lost its labels. The server goes on with what it has.")
            return
        self._complain("")
        for name, each in wanted.items():
            model = self._models.setdefault(name, Model())
            for number, folder in each.versions.items():
                await self._load(name, model, number, folder)
            model.labels = _moved(model, each.labels)
        for name, model in list(self._models.items()):
            await self._retire(name, model, wanted.get(name))
            if name not in wanted:
                del self._models[name]
        self._metrics.versions({name: (model.available(), model.labels) for name, model in self._models.items()})

    async def close(self) -> None:
        """Close all versions, whoever holds them."""
        for model in self._models.values():
            for held in model.versions.values():
                if held.loaded is not None:
                    await self._in_loader(held.loaded.close)
        self._loader.shutdown()

    async def _load(self, name: str, model: Model, number: int, folder: Path) -> None:
        """Load a version, unless it is there, or failed a moment ago and is still the same."""
        stamp, now = await self._in_loader(lambda: _stamp(folder)), time.monotonic()
        held = model.versions.get(number)
        if held is not None:
            failed = held.problem and held.stamp == stamp and now < held.again
            if held.loaded is not None or failed:
                return
        pause = PAUSES[0] if held is None or held.stamp != stamp else min(2 * held.pause, PAUSES[1])
        held = model.versions[number] = Held(stamp=stamp, pause=pause)
        try:
            held.loaded = await self._in_loader(lambda: LoadedVersion(name, number, folder))
        except Exception as error:  # Whatever is wrong with a version, the others are served on.
            held.state, held.problem, held.again = END, str(error), time.monotonic() + pause
            logger.error("%s/%d was not loaded: %s", name, number, error)
            self._metrics.load(name, "failed")
        else:
            held.state, model.answered = AVAILABLE, True
            logger.info("%s/%d answers", name, number)
            self._metrics.load(name, "loaded")

    async def _retire(self, name: str, model: Model, wanted: Wanted | None) -> None:
        """Close what is neither wanted nor labelled any more, once there is something in its place; all when None."""
        kept = set() if wanted is None else {*wanted.versions, *model.labels.values()}
        if wanted is not None and kept.isdisjoint(model.available()):
            return
        for number in [number for number in model.available() if number not in kept]:
            held = model.versions[number]
            loaded, held.loaded, held.state = held.loaded, None, UNLOADING
            while loaded is not None and loaded.in_use:
                await asyncio.sleep(0.02)
            if loaded is not None:
                await self._in_loader(loaded.close)
            loaded = None
            await self._in_loader(gc.collect)  # Graphs hold themselves; by itself Python would find them late.
            held.state = END
            logger.info("%s/%d was closed", name, number)
        ended = sorted(number for number, held in model.versions.items() if held.state == END and number not in kept)
        for number in ended[:-_ENDED]:
            del model.versions[number]

    def _model(self, name: str) -> Model:
        return self._models.get(name, Model())

    def _complain(self, what: str) -> None:
        """Log a complaint once, not at every look."""
        if what and what != self._complaint:
            logger.warning("%s", what)
        self._complaint = what

    async def _in_loader(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._loader, work)


def _moved(model: Model, labels: Mapping[str, int]) -> dict[str, int]:
    """The labels as wanted, as far as their versions answer; a label whose new one does not stays where it was."""
    there = model.available()
    moved = {label: number if number in there else model.labels.get(label) for label, number in labels.items()}
    return {label: number for label, number in moved.items() if number is not None}


def _stamp(folder: Path) -> Any:
    """What tells a folder from what it was: its files, their sizes and times."""
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    except OSError:
        return None
