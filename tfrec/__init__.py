"""Sequential recommendation with two towers: Keras 3 trains it, TensorFlow Serving runs it.

The public names are loaded when they are first used, so that `import tfrec` costs next to nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# tensorflow-recommenders refuses to be imported unless this is set before `tf.keras` is first touched.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_ROOMS = (
    "build", "config", "data", "evaluation", "features", "ranking", "report",
    "retrieval", "serving", "stages", "towers", "training",
)  # fmt: skip
_NAMES = {
    "Client": "tfrec.serving.client",
    "Ranker": "tfrec.ranking",
    "TwoStage": "tfrec.ranking",
    "TwoTower": "tfrec.retrieval",
    "evaluate": "tfrec.stages",
    "export": "tfrec.serving",
    "load_model": "tfrec.retrieval",
    "load_ranker": "tfrec.ranking",
    "load_two_stage": "tfrec.ranking",
    "recommend": "tfrec.retrieval",
}


def check_backend() -> None:
    """Refuse to go on under a Keras backend that the models do not run on.

    Raises:
        ValueError: `KERAS_BACKEND` names another backend than TensorFlow.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ValueError(
            f"KERAS_BACKEND is {backend!r}, and tfrec's models run on TensorFlow only: "
            "unset the variable, or set it to 'tensorflow', before Keras is imported"
        )


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        check_backend()
        return importlib.import_module(f"tfrec.{name}")
    if name in _NAMES:
        check_backend()
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'tfrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS, *_NAMES])
