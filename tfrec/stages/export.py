"""Stage 4: the trained model becomes a checked SavedModel version in the run's folder."""

from __future__ import annotations

from typing import Any

from tfrec import serving
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.stage import Stage
from tfrec.stages.train import open_model

EXPORT = "export"


def _key(run: Run, before: str) -> str:
    return run.key("export", before)


def _complete(run: Run) -> bool:
    return run.path(EXPORT, str(run.figures("export").get("version")), "saved_model.pb").exists()


def _perform(run: Run, key: str) -> dict[str, Any]:
    base = run.pipeline.export.base_path
    folder = serving.export(
        open_model(run),
        open_dataset(run),
        run.path(EXPORT),
        k_max=run.pipeline.export.k_max,
        also_taken=serving.published(base, run.pipeline.name),
        settings=run.pipeline.model_dump(mode="json"),
        metrics=run.figures("evaluate").get("metrics", {}),
    )
    return {"version": int(folder.name)}


export_stage = Stage(_key, _complete, _perform)
