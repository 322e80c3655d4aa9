"""Stage 1: tables, or simulated ones, become a data set folder."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
from typing import Any

import pandas as pd

from tfrec import build
from tfrec.data import Dataset, Runner, content_hash, prepare
from tfrec.features import USER_ID
from tfrec.report import peak_memory_mb
from tfrec.stages.ledger import DATASET, Run, replaced
from tfrec.stages.stage import Stage

ORACLE = "oracle.parquet"


def open_dataset(run: Run) -> Dataset:
    """The prepared data set of a run."""
    return Dataset.open(run.path(DATASET))


def open_oracle(run: Run) -> pd.DataFrame | None:
    """The best answers known, of simulated data alone: see `build.made_up`."""
    path = run.path(ORACLE)
    return pd.read_parquet(path) if path.exists() else None


def _inputs(run: Run) -> str:
    data = run.pipeline.data
    if not data.made_up:
        return content_hash(*build.tables(data), options=build.prepare_options(data))
    counts = data.cold_items or data.cold_items_validation or data.simulated_ads is not None
    return content_hash(None, options=build.simulated_options(data)) if counts else "simulated"


def _recorded(run: Run) -> Any:
    """What `_inputs` was when the data set was prepared; of tables it is the content hash of the data set."""
    data = run.pipeline.data
    return run.figures("prepare").get("content_hash") if not data.made_up else _inputs(run)


def _complete(run: Run) -> bool:
    """Whether the folder holds the data set that the ledger speaks of; a crash may have come between the two."""
    try:
        return open_dataset(run).manifest["content_hash"] == run.figures("prepare").get("content_hash")
    except (OSError, ValueError):
        return False


def prepare_by(runner: Runner) -> Stage:
    """The stage, done by somebody else; what it leaves is the same, and under the same key.

    Raises:
        ValueError: when it is performed: the data is simulated.
    """
    return dataclasses.replace(prepare_stage, perform=functools.partial(_perform, runner=runner))


def _perform(run: Run, key: str, *, runner: Runner | None = None) -> None:
    if runner is not None and run.pipeline.data.made_up:
        raise ValueError("A runner prepares tables, and the data of this pipeline is simulated: leave --runner out.")
    start = time.perf_counter()
    _remove_damaged(run)
    with run.opened():
        if not run.pipeline.data.made_up:
            prepared = build.dataset(run.pipeline.data, run.path(DATASET), runner)
            run.path(ORACLE).unlink(missing_ok=True)
        else:
            prepared = _simulate(run)
    files = [run.path(DATASET), *([run.path(ORACLE)] if run.path(ORACLE).exists() else [])]
    figures: dict[str, Any] = {"seconds": time.perf_counter() - start, "peak_memory_mb": peak_memory_mb()}
    content = prepared.manifest["content_hash"]
    run.finish("prepare", key, files, content_hash=content, **figures, **prepared.manifest["counts"])


def _remove_damaged(run: Run) -> None:
    """Take away what is left of a data set without its manifest, where each file of it is known to be the run's."""
    folder = run.path(DATASET)
    left = {path for path in folder.rglob("*") if path.is_file()}
    if left and not _complete(run) and left <= set(run.files("prepare")):
        shutil.rmtree(folder)


def _simulate(run: Run) -> Dataset:
    """The data set of simulated tables, and beside it the best answers to its test."""
    made, options = build.made_up(run.pipeline.data), build.simulated_options(run.pipeline.data)
    prepared = prepare(made.events, made.items, made.users, options=options, folder=run.path(DATASET), replace=True)
    if made.oracle is not None:
        with replaced(run.path(ORACLE)) as temporary:
            made.oracle.astype({USER_ID: str}).to_parquet(temporary)
    else:
        run.path(ORACLE).unlink(missing_ok=True)
    return prepared


prepare_stage = Stage(_perform, inputs=_inputs, complete=_complete, recorded=_recorded)
