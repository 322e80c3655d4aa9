"""What the model of a run reads, of its settings and of its data: records and experiments compare by it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tfrec import config
from tfrec.features import EVENTS_SCORED, ITEM_ID, TIMESTAMP, USER_ID

DATASET, ITEMS = "dataset", "items.parquet"
SPLITS = ["candidate", "trained", "held_out"]  # Of an item: what `prepare` decides about it.
ID_DROPOUT = "model.id_dropout"
ENCODERS = ("attention", "lstm", "convolution")
OBJECTIVE = "training.objective"
NEGATIVES = (f"{OBJECTIVE}.negatives", f"{OBJECTIVE}.calibration")
SEED, FOLD = "seed", "data.split.fold"
# Where tables and exports lie and what memory is given: whatever they are, the figures are the same.
PLACES = ("data.root", "data.memory", "export.base_path")


def plain(pipeline: config.Pipeline) -> dict[str, Any]:
    """The settings of a pipeline as a record holds them: of no seed, and without where tables and exports lie."""
    settings = pipeline.model_dump(mode="json")
    settings["data"].pop("root")
    settings["export"].pop("base_path")
    return {**settings, SEED: None}


def differing(one: config.Pipeline, other: config.Pipeline, free: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Each setting that two pipelines say otherwise, by dotted name, and what they say; None where one lacks it.

    Places, what nothing reads and the settings of `free` may differ.
    """
    told, others = (without_idle(flat(dict(pipeline))) for pipeline in (one, other))
    names = sorted({*told, *others} - {*PLACES, *free})
    return {name: (told.get(name), others.get(name)) for name in names if told.get(name) != others.get(name)}


def flat(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of settings, or their plain values, by dotted name; JSON values."""

    def pairs(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in settings.items():
            if isinstance(value, Mapping) and value:
                yield from pairs(f"{prefix}{name}.", value)
            else:
                yield prefix + name, value

    plain = {
        name: part.model_dump(mode="json") if hasattr(part, "model_dump") else part for name, part in sections.items()
    }
    return dict(pairs("", plain))


def without_idle(told: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, with the default for those that nothing reads.

    These are the settings of an encoder that the model lacks, those of the negatives where there are none, and
    `id_dropout`, 0, where nothing but its id describes an item: then none is hidden.
    """
    absent = tuple(f"model.{encoder}." for encoder in ENCODERS if encoder not in told["model.behavior"])
    defaults = flat({"model": config.Model()})
    if told.get(f"{OBJECTIVE}.name") in ("auto", "softmax"):
        absent, defaults = (*absent, *NEGATIVES), {**defaults, **flat({"training": config.Training()})}
    idle = {name: defaults[name] for name in told if name.startswith(absent) and name in defaults}
    if told["model.text.source"] == "none" and not told["model.item_features"]:
        idle[ID_DROPOUT] = 0.0
    return {**told, **idle}


def data_digest(run: Path, pipeline: config.Pipeline) -> str:
    """SHA-256 of what the model of a prepared run sees, whatever else the tables hold and however they are written.

    These are the items of each user in their order, with the times where the data set has some; of each candidate what
    the splits make of it, its text where there is a text model, and its categories where the model reads these.
    """
    folder = run / DATASET
    events = pd.read_csv(folder / EVENTS_SCORED, dtype=str, keep_default_na=False)
    events = events.sort_values(USER_ID, kind="stable")
    columns = [USER_ID, ITEM_ID, *([TIMESTAMP] if TIMESTAMP in events else [])]
    items = pd.read_parquet(folder / ITEMS)
    items = items[items["candidate"]].sort_values(ITEM_ID)
    read = [ITEM_ID, *SPLITS]
    if pipeline.model.text.source != "none":
        read.append("text")
    if pipeline.model.item_features and pipeline.data.items is not None:
        read += [*pipeline.data.items.categorical, *pipeline.data.items.numeric]
    digest = hashlib.sha256()
    for table in (events[columns], items[[column for column in read if column in items]]):
        digest.update(table.to_csv(index=False, lineterminator="\n").encode())
    return digest.hexdigest()
