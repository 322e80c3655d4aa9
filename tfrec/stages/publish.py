"""Stage 5: the exported version moves to where the server looks, and becomes the stable one."""

from __future__ import annotations

from pathlib import Path

from tfrec import serving
from tfrec.serving import server_config
from tfrec.serving.versions import text_folder
from tfrec.stages.export import EXPORT, EXPORT_TEXT
from tfrec.stages.ledger import Run
from tfrec.stages.stage import Stage


def _inputs(run: Run) -> int | None:
    return run.figures("export").get("version")


def _complete(run: Run) -> bool:
    return (Path(run.pipeline.export.base_path) / server_config.FILE).is_file()


def _perform(run: Run, key: str) -> None:
    settings, version = run.pipeline.export, run.figures("export")["version"]
    reads_text = bool(run.figures("export").get("text"))
    folder = serving.publish(
        run.path(EXPORT, str(version)),
        Path(settings.base_path),
        run.pipeline.name,
        keep=settings.keep,
        label=settings.label,
        server=serving.RunningServer(settings.server, settings.settle_seconds),
        limits=serving.Limits(settings.max_slowdown, settings.max_growth),
        text_folder=run.path(EXPORT_TEXT, str(version)) if reads_text else None,
    )
    written = [folder, *([text_folder(folder)] if reads_text else [])]
    run.finish("publish", key, written, folder=str(folder))


publish_stage = Stage(_perform, reads="export", inputs=_inputs, complete=_complete)
