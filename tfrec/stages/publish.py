"""Stage 5: the exported version moves to where the server looks, and becomes the stable one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrec import serving
from tfrec.stages.export import EXPORT
from tfrec.stages.ledger import Run
from tfrec.stages.stage import Stage


def _target(run: Run) -> Path:
    return Path(run.pipeline.export.base_path) / run.pipeline.name / str(run.figures("export").get("version"))


def _key(run: Run, before: str) -> str:
    return run.key("publish", [before, run.figures("export").get("version")])


def _complete(run: Run) -> bool:
    return (_target(run) / "saved_model.pb").exists()


def _perform(run: Run, key: str) -> dict[str, Any]:
    settings, version = run.pipeline.export, run.figures("export")["version"]
    folder = serving.publish(
        run.path(EXPORT, str(version)), Path(settings.base_path), run.pipeline.name, keep=settings.keep
    )
    return {"folder": str(folder)}


publish_stage = Stage(_key, _complete, _perform)
