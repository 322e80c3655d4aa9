"""Cross-validation: a run a fold, each of its stages a process, then mean and spread of every figure."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tfrec import config
from tfrec.report.cross_validation import as_markdown, summarized
from tfrec.report.results import plain
from tfrec.stages.child import perform
from tfrec.stages.comparison import locked
from tfrec.stages.evaluate_ranker import METRICS
from tfrec.stages.ledger import Run, write_text
from tfrec.stages.run import pending

PIPELINE, RESULT, PAGE = "pipeline.yaml", "cross_validation.json", "cross_validation.md"
LAST = "evaluate"

logger = logging.getLogger(__name__)


def cross_validate(pipeline: config.Pipeline, out: str | Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Train and measure each fold that is not done yet, and write what they reached together.

    Fold k is a run in `<out>/fold_<k>`. Run again, it repeats nothing: an interrupted training goes on.

    Args:
        pipeline: one whose `data.split` is `folds_events` or `folds_users`; its `fold` does not count.
        out: the folder; `runs/<pipeline name>_folds` where None.

    Returns:
        Name of the model or baseline -> figure -> `mean`, `spread` and `folds`, as in `cross_validation.json`.

    Raises:
        ValueError: another split, the folder is something else's, or a fold could not be trained.
        OSError: a file cannot be read or written.
    """
    split = pipeline.data.split
    if not split.kind.startswith("folds"):
        raise ValueError(
            f"data.split.kind is {split.kind}, and a cross-validation needs folds_events or folds_users: "
            "--set data.split=folds_users."
        )
    out = Path(out) if out is not None else Path("runs") / f"{pipeline.name}_folds"
    folds = [_fold(pipeline, fold) for fold in range(split.folds)]
    for fold, each in enumerate(folds):  # Reads every table and folder before anything is written.
        pending(each, out / f"fold_{fold}", LAST)
    with locked(out):
        write_text(out / PIPELINE, config.dump(folds[0]))
        for fold, each in enumerate(folds):
            _train(each, out, fold)
        documents = [
            json.loads(Run(each, out / f"fold_{fold}").path(METRICS).read_text(encoding="utf-8"))
            for fold, each in enumerate(folds)
        ]
        found = summarized(documents)
        write_text(out / RESULT, json.dumps(plain(found), indent=2) + "\n")
        write_text(out / PAGE, as_markdown(pipeline.name, found, documents))
    return found


def _fold(pipeline: config.Pipeline, fold: int) -> config.Pipeline:
    data = pipeline.data
    split = data.split.model_copy(update={"fold": fold})
    return pipeline.model_copy(update={"data": data.model_copy(update={"split": split})})


def _train(pipeline: config.Pipeline, out: Path, fold: int) -> None:
    label, folder = f"fold {fold}", out / f"fold_{fold}"
    left = pending(pipeline, folder, LAST)
    logger.info("%s of %d: %s", label, pipeline.data.split.folds, f"{', '.join(left)} ..." if left else "done before")
    for stage in left:
        reason = perform(stage, out / PIPELINE, folder, [f"data.split.fold={fold}"], label)
        if reason is not None:
            raise ValueError(f"{label} of {out}: {reason}")
