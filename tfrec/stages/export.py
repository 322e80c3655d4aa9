"""Stage 4: the trained model becomes a checked SavedModel version in the run's folder."""

from __future__ import annotations

import functools
import logging
import statistics
from pathlib import Path
from typing import Any

from tfrec import build, serving
from tfrec.data import Dataset, content_hash
from tfrec.retrieval import TwoTower
from tfrec.serving import server_config, versions
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.rank import open_two_stage
from tfrec.stages.stage import Stage
from tfrec.stages.train import embed_texts, open_model, open_ranker, text_encoder
from tfrec.towers.text import TextEncoder

EXPORT = "export"
EXPORT_TEXT = EXPORT + versions.TEXT_SUFFIX
CATALOGUE = "catalogue"

logger = logging.getLogger(__name__)


def published(run: Run) -> Path:
    """The folder of the pipeline's published versions."""
    return Path(run.pipeline.export.base_path) / run.pipeline.name


def export_of(items: Path | None) -> Stage:
    """The stage with the items of a table as the catalogue; with those of the pipeline where None."""
    return Stage(
        functools.partial(_perform, items=items),
        reads="train",
        inputs=lambda run: None if items is None else _content(items),
        recorded=lambda run: catalogue(run).get("content_hash"),
    )


def catalogue(run: Run) -> dict[str, Any]:
    """The table of items that the run was last exported with: `path`, `content_hash`; empty where the pipeline's."""
    return run.figures("export").get(CATALOGUE) or {}


def _content(items: Path) -> str:
    """A hash of the table: its bytes count, not its name."""
    return content_hash(None, items)


def _perform(run: Run, key: str, items: Path | None = None) -> None:
    data, told = open_dataset(run), {}
    model = _opened(run, data)
    if items is not None:
        told = {CATALOGUE: {"path": str(items.absolute()), "content_hash": _content(items)}}
        model, data = build.with_items(model, data, items, text=functools.partial(embed_texts, run))
    elif catalogue(run):
        path = catalogue(run)["path"]
        logger.warning("export: the pipeline's own items again; `tfrec export` with --items %s brings back those", path)
    about = {"settings": run.pipeline.model_dump(mode="json"), "validation": _validation(run), **told}
    recommends = run.pipeline.ranking is None or run.pipeline.two_stages
    encoder = text_encoder(run) if run.pipeline.export.text_model and recommends else None
    folder = serving.export(
        model,
        data,
        run.path(EXPORT),
        k_max=run.pipeline.export.k_max,
        version=None if encoder is None else _next_number(run),
        base_path=published(run),
        about=about,
        options=_options(run),
    )
    written = [folder]
    if encoder is not None:
        first = getattr(model, "retrieval", model)  # Words ask the first of two stages.
        written.append(_export_text(run, first, data, encoder, folder, about))
    run.finish("export", key, written, version=int(folder.name), text=encoder is not None, **told)
    for name in (EXPORT, EXPORT_TEXT):
        versions.prune(run.path(name), run.pipeline.export.keep, server_config.labels(run.out, name).values())


def _opened(run: Run, data: Dataset) -> Any:
    """The trained model that is exported: of two stages both as one."""
    if run.pipeline.two_stages:
        return open_two_stage(run, data)
    return open_model(run) if run.pipeline.ranking is None else open_ranker(run)


def _options(run: Run) -> serving.ExportOptions:
    chosen = run.pipeline.export
    return serving.ExportOptions(chosen.quantization, chosen.index, chosen.recall, chosen.text_weight)


def _next_number(run: Run) -> int:
    """The number that is free for the model and for its text model, here and where they are published."""
    folders = [run.path(EXPORT), published(run)]
    folders += [folder.with_name(folder.name + versions.TEXT_SUFFIX) for folder in folders]
    return versions.next_version(*folders)


def _export_text(
    run: Run, model: TwoTower, data: Dataset, encoder: TextEncoder, folder: Path, about: dict[str, Any]
) -> Path:
    """The text model of the version in `folder`; where it cannot be made, that version goes too."""
    settings = run.pipeline.export
    try:
        return serving.export_text(
            model,
            data,
            encoder,
            run.path(EXPORT_TEXT),
            k_max=settings.k_max,
            version=int(folder.name),
            about=about,
            options=_options(run),
        )
    except BaseException:
        versions.remove(folder)
        raise


def _validation(run: Run) -> dict[str, Any]:
    """The validation figures of the epoch that is exported; of an ensemble the means of its members'."""
    trained = run.figures("rank" if run.pipeline.two_stages else "train")
    chosen = trained.get("members") or [trained["history"][trained["best_epoch"] - 1]]
    names = [name for name in chosen[0] if name.startswith("val_")]
    return {name.removeprefix("val_"): statistics.fmean(each[name] for each in chosen) for name in names}


export_stage = export_of(None)
