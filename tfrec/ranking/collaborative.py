"""Collaborative filtering for one head of the ranker: a label as users' labels of the past let one expect it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrec.features import CANDIDATES
from tfrec.ranking.factors import LatentFactors
from tfrec.ranking.label_history import LabelReader
from tfrec.ranking.neighbourhood import Neighbourhood

# Expected labels are kept so far within their range, in shares of it: beyond, logits have no end.
EDGE = 0.001
PARTS = ("reader", "factors", "neighbourhood")


@keras.saving.register_keras_serializable(package="tfrec")
class Collaborative(keras.layers.Layer):
    """A mean of what latent factors and neighbours expect of a label, its weights learnt, as a logit of the range."""

    def __init__(
        self,
        reader: LabelReader,
        low: float,
        high: float,
        *,
        factors: LatentFactors | None = None,
        neighbourhood: Neighbourhood | None = None,
        **kwargs: Any,
    ) -> None:
        """Join the paths.

        Args:
            reader: reads the labels of the history.
            low: the lowest label.
            high: the highest one.
            factors: a path; None for none.
            neighbourhood: another; None for none.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: neither path, or no range.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        if not low < high:
            raise ValueError(f"`low` must be less than `high`; received {low} and {high}.")
        if factors is None and neighbourhood is None:
            raise ValueError("one of `factors` and `neighbourhood` must be a layer; received none.")
        self.reader, self.low, self.high = reader, low, high
        self.factors, self.neighbourhood = factors, neighbourhood

    @property
    def paths(self) -> list[Any]:
        """The paths there are."""
        return [path for path in (self.factors, self.neighbourhood) if path is not None]

    @property
    def tables(self) -> list[Any]:
        """The variables that do not train."""
        return [self.reader.table, *(table for path in self.paths for table in path.tables)]

    def build(self, input_shape: Any = None) -> None:
        """Create the weights of all parts."""
        for part in (self.reader, *self.paths):
            if not part.built:
                part.build()
        if len(self.paths) > 1:
            self.shares = self.add_weight((len(self.paths),), initializer="zeros", name="shares")
        self.built = True

    def call(self, features: Mapping[str, Any], after: Any, own: Any = None) -> Any:
        """The logit of each candidate's label.

        Args:
            features: a batch, `HISTORY`, `CANDIDATES` and the column of the history's labels.
            after: int [B, C], how many of the events each candidate may read.
            own: float [B, C], the candidates' own labels in training, where the paths have been started from them, NaN
                where they are not known; None elsewhere.

        Returns:
            float32 [B, C]; the sigmoid of it is the label, the range counting as 0 to 1.
        """
        past = self.reader(features)
        found = tf.stack([path(past, features[CANDIDATES], after, own) for path in self.paths], axis=-1)
        weights = ops.softmax(self.shares) if len(self.paths) > 1 else tf.ones(1)
        share = (tf.linalg.matvec(found, weights) - self.low) / (self.high - self.low)
        share = tf.clip_by_value(share, EDGE, 1 - EDGE)
        return tf.math.log(share) - tf.math.log1p(-share)

    def get_config(self) -> dict[str, Any]:
        """Range and parts."""
        parts = {part: getattr(self, part) for part in PARTS if getattr(self, part) is not None}
        parts = {part: keras.saving.serialize_keras_object(layer) for part, layer in parts.items()}
        return {**super().get_config(), "low": self.low, "high": self.high, **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Collaborative:
        """Rebuild the layer and its parts, their weights at their initial values."""
        parts = {part: keras.saving.deserialize_keras_object(config[part]) for part in PARTS if part in config}
        return cls(**{**config, **parts})
