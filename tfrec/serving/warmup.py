"""Requests that TensorFlow Serving sends to a new version before anybody else may: no user waits for a first one.

Source of the format: https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tfrec.serving import prediction_logs

FILE = "tf_serving_warmup_requests"


def write(folder: Path, requests: Iterable[tuple[str, Mapping[str, np.ndarray]]]) -> None:
    """Write the requests of a version.

    Args:
        folder: its `assets.extra`.
        requests: name of the signature, inputs by name.
    """
    prediction_logs.write(folder / FILE, ((signature, inputs, {}) for signature, inputs in requests))
