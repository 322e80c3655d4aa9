"""The labels of a history: what a user thought of the events of the past, read from a column of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, PAD, event_feature


class LabelHistory(NamedTuple):
    """A history and its labels.

    Attributes:
        items: int [B, T].
        labels: float32 [B, T]; 0 where it is not known.
        known: float32 [B, T], 1 where it is.
    """

    items: Any
    labels: Any
    known: Any


@keras.saving.register_keras_serializable(package="tfrec")
class LabelReader(keras.layers.Layer):
    """Reads the labels of a history from the codes of an event column; an event whose code is missing has none."""

    def __init__(self, column: str, codes: int, **kwargs: Any) -> None:
        """Build the layer; `start` then gives it the label of each code.

        Args:
            column: a categorical column of the events.
            codes: size V of its vocabulary, the 0 of "missing" included.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.column, self.codes = column, codes

    def build(self, input_shape: Any = None) -> None:
        """Create the weights, which do not train: label and whether it is known, of each code."""
        self.table = self.add_weight((self.codes, 2), initializer="zeros", trainable=False, name="labels")
        self.built = True

    def start(self, labels: np.ndarray) -> None:
        """Take over the label of each code, float [V]; NaN where a code has none."""
        known = ~np.isnan(labels)
        known[PAD] = False
        self.table.assign(np.stack([np.where(known, labels, 0.0), known], axis=1))

    def call(self, features: Mapping[str, Any]) -> LabelHistory:
        """A batch of features -> the labels of its history."""
        history = features[HISTORY]
        codes = features.get(event_feature(self.column))
        if codes is None:
            codes = tf.zeros_like(history)
        found = tf.gather(self.table.value, codes)
        known = found[..., 1] * tf.cast(history != PAD, tf.float32)
        return LabelHistory(history, found[..., 0] * known, known)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "column": self.column, "codes": self.codes}
