"""A training may start from a finished run with frozen text: its towers, taken over before the training begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from keras import ops

from tfrec import config
from tfrec.build.text import SAME_VECTOR, decided_text
from tfrec.data import Dataset
from tfrec.retrieval import TwoTower, load_model
from tfrec.towers.text_files import file_hash

MODEL, CONFIG, DATASET = Path("checkpoints") / "model.keras", Path("checkpoints") / "config.yaml", "dataset"


def mark(run: str | Path) -> str:
    """A hash of the trained model of a run.

    Raises:
        ValueError: there is none.
    """
    path = Path(run) / MODEL
    missing = next((name for name in (MODEL, CONFIG) if not (Path(run) / name).is_file()), None)
    if missing is not None:
        raise ValueError(
            f"model.text.start is {str(run)!r}, which holds no trained model ({missing} is not there): name the folder "
            "of a finished run, or train it first with `tfrec train`."
        )
    return file_hash(path)


def take_over(model: TwoTower, run: str, data: Dataset, settings: config.Model) -> None:
    """Give a model the weights of a run's trained one.

    Args:
        model: freshly built for `data`.
        run: folder of the run.
        data: the data set of this training; the other's must be the same.
        settings: the section `model` of this training; the other's may differ in how its text is tuned alone.

    Raises:
        ValueError: there is no trained model, or it is one of other data, other settings, or tuned itself.
    """
    mark(run)
    trained = config.load(Path(run) / CONFIG).model
    trained = trained.model_copy(update={"text": decided_text(trained.text, data)})
    if trained.text.tuning != "frozen":
        raise ValueError(
            f"model.text.start: the text model of {run!r} was tuned itself ({trained.text.tuning}), and its towers fit "
            "no other: start from a run with tuning: frozen."
        )
    if trained.untuned() != settings.untuned():
        name = min(key for key, value in trained.untuned().items() if value != settings.untuned()[key])
        raise ValueError(
            f"model.text.start: {run!r} was trained with another model.{name}: of the section `model`, only how "
            "the text is tuned may differ."
        )
    if Dataset.open(Path(run) / DATASET).manifest["content_hash"] != data.manifest["content_hash"]:
        raise ValueError(
            f"model.text.start: the run {run!r} was trained on other data than this pipeline prepares: train a frozen "
            "model on the same tables and settings of `data` first."
        )
    try:
        found = load_model(Path(run) / MODEL)
    except ValueError as error:
        raise ValueError(f"model.text.start: {error}: train it again.") from error
    if model.item_tower.text_width:
        ours, theirs = (ops.convert_to_numpy(each.item_tower.text) for each in (model, found))
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > SAME_VECTOR:
            raise ValueError(
                f"model.text.start: {run!r} was trained on other vectors of the texts: its text model, "
                f"{settings.text.source!r}, has changed since. Train a frozen model with this one first."
            )
    for left, right in zip(found.trainable_variables, model.trainable_variables, strict=True):
        right.assign(left)
