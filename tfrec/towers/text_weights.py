"""What tuning made of a text model, in a folder apart from the backbone: factors and adapters unmerged, a few MB."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrec.towers import text_files
from tfrec.towers.text_models import TextModel
from tfrec.towers.text_tuning import Tuning, tune

ABOUT, WEIGHTS = "tuning.json", "weights.npz"
FORMAT = 2


def save(model: TextModel, tuning: Tuning, folder: str | Path) -> Path:
    """Write the weights that tuning changed; the folder appears whole, in place of what it held.

    Args:
        model: what `tune` returned, after training.
        tuning: what it was given.
        folder: where to.

    Returns:
        The folder.

    Raises:
        ValueError: `folder` holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / ABOUT).is_file():
        raise ValueError(f"{folder} holds something else than tuned text weights: name another folder.")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with open(partial / WEIGHTS, "wb") as file:
        values: dict[str, Any] = {name: np.asarray(variable.value) for name, variable in _changed(model).items()}
        np.savez(file, **values)
    about = {
        "format": FORMAT,
        "reading": text_files.READING,
        "kind": tuning.kind,
        "size": tuning.size,
        "source": model.source,
        "backbone": text_files.source_mark(model.source),
        "pooling": model.pooling,
        "max_tokens": model.max_tokens,
        "sha256": text_files.file_hash(partial / WEIGHTS),
    }
    (partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    return folder


def read(folder: str | Path) -> dict[str, Any]:
    """What a folder says of itself: `kind`, `size`, `source`, `pooling`, `max_tokens` and more.

    Raises:
        ValueError: it holds no tuned text weights, or damaged ones.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"of format {about['format']!r}, and this tfrec reads {FORMAT}")
        if about["reading"] != text_files.READING:
            raise ValueError("tuned when texts were read in another way")
        if text_files.file_hash(folder / WEIGHTS) != about["sha256"]:
            raise ValueError(f"the SHA-256 of {WEIGHTS} is not the one in {ABOUT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "there is no such file" if isinstance(error, OSError) else str(error)
        raise ValueError(f"{folder} holds no whole tuned text weights ({reason}): train them again.") from error
    return about


def load(model: TextModel, folder: str | Path) -> TextModel:
    """A freshly loaded model with tuned weights put on.

    Args:
        model: what `text_models.load` returned; its backbone's layers are used.
        folder: what `save` wrote.

    Raises:
        ValueError: the folder is none of `save`'s or is damaged, or its weights belong to another backbone.
    """
    about = read(folder)
    if about["backbone"] != text_files.source_mark(model.source):
        raise ValueError(
            f"{folder} was tuned on the text model {about['source']!r}, and model.text.source is {model.source!r}, "
            "another one: its weights mean nothing there. Name the model that they were tuned on."
        )
    for name in ("pooling", "max_tokens"):
        if about[name] != getattr(model, name):
            raise ValueError(
                f"{folder} was tuned with model.text.{name}: {about[name]}, and here it is {getattr(model, name)}: "
                "set it alike."
            )
    tuned = tune(model, Tuning(about["kind"], about["size"]))
    try:
        with np.load(Path(folder) / WEIGHTS) as stored:
            _assign(_changed(tuned), {name: stored[name] for name in stored.files})
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder}: its weights do not fit {model.source!r} ({error}): train them again.") from error
    return tuned


def _changed(model: TextModel) -> dict[str, Any]:
    """Place and name -> variable; places alone are unique, names alone are read."""
    return {f"{place}:{variable.name}": variable for place, variable in enumerate(model.backbone.trainable_variables)}


def _assign(variables: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
    here = {name: tuple(variable.shape) for name, variable in variables.items()}
    there = {name: value.shape for name, value in values.items()}
    if here != there:
        raise ValueError(f"other variables: {min(set(here.items()) ^ set(there.items()))[0]!r}")
    for name, variable in variables.items():
        variable.assign(values[name])
