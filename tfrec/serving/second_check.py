"""What the second stage of a two-stage model makes of the first one's scores, without the graph; the check uses it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.retrieval.ranks import REMOVED


@dataclass(frozen=True)
class SecondCheck:
    """The second stage, asked eagerly.

    Attributes:
        model: the Keras model of both stages.
    """

    model: Any

    @property
    def diverse(self) -> bool:
        """Whether something else than the scores orders an answer."""
        return self.model.diversity is not None

    def judged(self, features: Mapping[str, np.ndarray], scores: np.ndarray) -> np.ndarray:
        """float32 [B, I]: the final scores of what is recalled, `REMOVED` for the rest.

        Args:
            features: the model's inputs.
            scores: float32 [B, I] of the first stage; what may not be shown has `REMOVED`.
        """
        found = np.full(scores.shape, REMOVED, np.float32)
        if len(scores):
            rows, judged = self._recalled(features, scores)
            np.put_along_axis(found, np.asarray(rows), np.asarray(judged), axis=1)
        return found

    def answer(self, features: Mapping[str, np.ndarray], scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Int [B, k] rows and float32 [B, k] scores of the answer; arguments as for `judged`."""
        rows, judged = self._recalled(features, scores)
        chosen, values = self.model.ordered(self._tables, rows, judged, k)
        return np.asarray(chosen), np.asarray(values)

    def _recalled(self, features: Mapping[str, np.ndarray], scores: np.ndarray) -> tuple[Any, Any]:
        top = tf.math.top_k(scores, min(self.model.recall, len(self.model.candidates)))
        tensors = {name: tf.constant(values) for name, values in features.items()}
        return top.indices, self.model.judged(self._tables, tensors, top.indices, top.values)

    @functools.cached_property
    def _tables(self) -> dict[str, Any]:
        return self.model.item_tables()
