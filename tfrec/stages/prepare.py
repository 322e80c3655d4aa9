"""Stage 1: tables, or the simulated shop, become a data set folder."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from tfrec import build
from tfrec.data import Dataset, content_hash, prepare
from tfrec.features import USER_ID
from tfrec.report import peak_memory_mb
from tfrec.stages.ledger import Run
from tfrec.stages.stage import Stage

DATASET = "dataset"
ORACLE = "oracle.parquet"


def open_dataset(run: Run) -> Dataset:
    """The prepared data set of a run."""
    return Dataset.open(run.path(DATASET))


def open_oracle(run: Run) -> pd.DataFrame | None:
    """The best answers known for the test users, of simulated data alone."""
    path = run.path(ORACLE)
    return pd.read_parquet(path) if path.exists() else None


def _key(run: Run, before: str) -> str:
    data = run.pipeline.data
    if data.simulated is not None:
        return run.key("prepare", "simulated")
    tables = [section and data.path(section.path) for section in (data.events, data.items, data.users)]
    return run.key("prepare", content_hash(*tables, options=build.prepare_options(data)))


def _complete(run: Run) -> bool:
    return run.path(DATASET, "manifest.json").exists()


def _perform(run: Run, key: str) -> dict[str, Any]:
    start, data, folder = time.perf_counter(), run.pipeline.data, run.path(DATASET)
    run.path(ORACLE).unlink(missing_ok=True)
    if data.simulated is not None:
        from tfrec.data.simulated import shop

        made = shop(**data.simulated)
        prepared = prepare(
            made.events, made.items, made.users, options=build.simulated_options(data), folder=folder, replace=True
        )
        made.oracle.astype({USER_ID: str}).to_parquet(run.path(ORACLE))
    else:
        prepared = build.dataset(data, folder)
    return {"seconds": time.perf_counter() - start, "peak_memory_mb": peak_memory_mb(), **prepared.manifest["counts"]}


prepare_stage = Stage(_key, _complete, _perform)
