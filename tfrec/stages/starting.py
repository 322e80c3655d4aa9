"""Tuning starts from a finished run with frozen text: its towers, taken over before the training begins."""

from __future__ import annotations

from pathlib import Path

import keras

from tfrec.data import Dataset
from tfrec.retrieval import TwoTower
from tfrec.towers.text_models import file_hash

MODEL, DATASET = Path("checkpoints") / "model.keras", "dataset"


def mark(run: str) -> str:
    """A hash of the trained model of a run.

    Raises:
        ValueError: there is none.
    """
    path = Path(run) / MODEL
    if not path.is_file():
        raise ValueError(
            f"model.text.start is {run!r}, which holds no trained model ({MODEL}): name the folder of a finished run, "
            "or train it first with `tfrec train`."
        )
    return file_hash(path)


def take_over(model: TwoTower, run: str, data: Dataset) -> None:
    """Give a model the weights of a run's trained one.

    Args:
        model: freshly built for `data`.
        run: folder of the run.
        data: the data set of this training; the other's must be the same.

    Raises:
        ValueError: there is no trained model, or it is one of other data or other settings of the towers.
    """
    mark(run)
    other = Dataset.open(Path(run) / DATASET)
    if other.manifest["content_hash"] != data.manifest["content_hash"]:
        raise ValueError(
            f"model.text.start: the run {run!r} was trained on other data than this pipeline prepares: train a frozen "
            "model on the same tables and settings of `data` first."
        )
    found = keras.saving.load_model(Path(run) / MODEL, compile=False)
    pairs = list(zip(found.trainable_variables, model.trainable_variables, strict=False))
    same = len(found.trainable_variables) == len(model.trainable_variables)
    if not same or any(left.shape != right.shape for left, right in pairs):
        raise ValueError(
            f"model.text.start: the model of {run!r} has other towers than the section `model` says: only `text` may "
            "differ in its tuning."
        )
    for left, right in pairs:
        right.assign(left)
