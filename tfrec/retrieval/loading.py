"""A saved two-tower model, read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tfrec.retrieval.two_tower import TwoTower


def load_model(path: str | Path) -> TwoTower:
    """The model that `TwoTower.save` wrote, or a run (`checkpoints/model.keras`); not compiled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else.
    """
    return load_saved(path, (TwoTower,), "two-tower model")


def load_saved(path: str | Path, kinds: tuple[type[Any], ...], called: str) -> Any:
    """A model of one of these kinds, which errors call by a name of its own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; a run keeps its model in checkpoints/model.keras.")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras, HDF5 and zipfile raise many kinds.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(f"{path} is damaged ({reason})") from error
    if not isinstance(model, kinds):
        raise ValueError(f"{path} holds a {type(model).__name__}, and no {called}")
    return model
