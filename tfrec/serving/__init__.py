"""Serving: the trained model as a SavedModel, checked, published, and asked for answers.

Names are loaded when they are first used: asking an exported model needs neither Keras nor the training side.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "export": "tfrec.serving.exporter",
    "ExportOptions": "tfrec.serving.options",
    "export_text": "tfrec.serving.text_exporter",
    "publish": "tfrec.serving.publisher",
    "rollback": "tfrec.serving.rollbacks",
    "Limits": "tfrec.serving.gate",
    "RunningServer": "tfrec.serving.waiting",
    "load": "tfrec.serving.answers",
    "load_ranker": "tfrec.serving.exported_ranker",
    "recommend_file": "tfrec.serving.answers",
    "predict_file": "tfrec.serving.prediction_files",
    "ExportedModel": "tfrec.serving.answers",
    "ExportedRanker": "tfrec.serving.exported_ranker",
    "Contract": "tfrec.serving.contract",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'tfrec.serving' has no attribute {name!r}")
