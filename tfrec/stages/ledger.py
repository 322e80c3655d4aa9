"""What of a run is finished, and under which key; the stages read it to know what need not be repeated."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import yaml

from tfrec import config

LEDGER = "stages.json"
CONFIG = "config.yaml"


class Run:
    """One pipeline in one output folder.

    A stage's key is a hash of its settings and of the key of what it reads, so that a change repeats exactly what
    depends on it. Figures that later stages report (seconds, memory) are kept beside the key.
    """

    def __init__(self, pipeline: config.Pipeline, out: Path) -> None:
        """Open the folder, or make it.

        Raises:
            ValueError: the folder is another pipeline's, or holds something else.
            OSError: it cannot be written.
        """
        self.pipeline, self.out = pipeline, Path(out)
        self._refuse_foreign()
        self.out.mkdir(parents=True, exist_ok=True)
        self._stages: dict[str, dict[str, Any]] = self._read()
        write_text(self.out / CONFIG, config.dump(pipeline))

    def path(self, *parts: str) -> Path:
        """A file or folder of the run."""
        return self.out.joinpath(*parts)

    def key(self, stage: str, reads: Any) -> str:
        """The key of a stage with these settings that reads `reads`."""
        text = json.dumps([stage, config.stage_settings(self.pipeline, stage), reads], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def done(self, stage: str, key: str) -> bool:
        """Whether the stage was finished under this key."""
        return self._stages.get(stage, {}).get("key") == key

    def finish(self, stage: str, key: str, **figures: Any) -> None:
        """Remember that the stage is done, and its figures."""
        self._stages[stage] = {"key": key, **figures}
        write_text(self.out / LEDGER, json.dumps(self._stages, indent=2))

    def forget(self, stage: str) -> None:
        """Count a stage as not done, before its files change."""
        if self._stages.pop(stage, None) is not None:
            write_text(self.out / LEDGER, json.dumps(self._stages, indent=2))

    def figures(self, stage: str) -> dict[str, Any]:
        """What was remembered of a stage; empty where it was never finished."""
        return {name: value for name, value in self._stages.get(stage, {}).items() if name != "key"}

    def _read(self) -> dict[str, dict[str, Any]]:
        path = self.out / LEDGER
        if not path.exists():
            return {}
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not the ledger of a run ({error}). Remove it to do every stage again.") from None

    def _refuse_foreign(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out} is a file, and a run needs a folder. Name another one.")
        if not self.out.exists() or not any(self.out.iterdir()):
            return
        path = self.out / CONFIG
        try:
            owner = yaml.safe_load(path.read_text(encoding="utf-8"))["name"]
        except (OSError, yaml.YAMLError, TypeError, KeyError):
            raise ValueError(
                f"--out {self.out} holds files that are no run of tfrec. Name an empty folder, or one that is not there."
            ) from None
        if owner != self.pipeline.name:
            raise ValueError(
                f"--out {self.out} is the run of the pipeline {owner!r}, and this one is {self.pipeline.name!r}. "
                "Name another folder."
            )


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
