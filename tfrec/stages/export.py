"""Stage 4: the trained model becomes a checked SavedModel version in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrec import serving
from tfrec.serving import server_config, versions
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.stage import Stage
from tfrec.stages.train import open_model

EXPORT = "export"


def published(run: Run) -> Path:
    """The folder of the pipeline's published versions."""
    return Path(run.pipeline.export.base_path) / run.pipeline.name


def _perform(run: Run, key: str) -> None:
    folder = serving.export(
        open_model(run),
        open_dataset(run),
        run.path(EXPORT),
        k_max=run.pipeline.export.k_max,
        base_path=published(run),
        about={"settings": run.pipeline.model_dump(mode="json"), "validation": _validation(run)},
    )
    run.finish("export", key, [folder], version=int(folder.name))
    versions.prune(run.path(EXPORT), run.pipeline.export.keep, server_config.labels(run.out, EXPORT).values())


def _validation(run: Run) -> dict[str, Any]:
    """The validation figures of the epoch that is exported."""
    trained = run.figures("train")
    chosen = trained["history"][trained["best_epoch"] - 1]
    return {name.removeprefix("val_"): value for name, value in chosen.items() if name.startswith("val_")}


export_stage = Stage(_perform, reads="train")
