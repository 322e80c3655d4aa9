"""What speaks for a candidate besides its score: numbers from tables of the catalogue; inputs of the second stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.features import PAD

VECTORS, UNIT_TEXT = "vectors", "text"  # Tables of the catalogue, float32 [I, ...]; see `TwoStage.item_tables`.
RECENT, DECAY = 10, 0.8  # Events that candidates are compared with, the newest ones, and what each further one counts.


@keras.saving.register_keras_serializable(package="tfrec")
class Evidence(keras.layers.Layer):
    """Numbers of a candidate: its score, its popularity, and how near it is to what the user had last.

    Nearness is the cosine of the item vectors, the cosine of the texts, and how often users had both near one another;
    each as that to the last event, the most to one of the last `RECENT`, and the sum over these, `DECAY` a step.
    All are standardised by `adapt`, and 0 where they are not known.
    """

    def __init__(self, items: int, near: int, *, text: bool, dim: int | None = None, **kwargs: Any) -> None:
        """Build the layer; `set_tables` then gives it the catalogue.

        Args:
            items: rows I of the catalogue, the padding row included.
            near: length M of the lists of neighbours.
            text: whether items have texts.
            dim: width D of item vectors, where those of the table have an entry more, which carries a bonus.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        self.items, self.near, self.text, self.dim = items, near, text, dim

    @property
    def width(self) -> int:
        """Number of inputs W."""
        return 3 + 3 * (3 if self.text else 2)

    def build(self, input_shape: Any = None) -> None:
        """Create the tables; the shapes are known from the constructor."""
        self.popularity = self._table("popularity", (self.items,))
        self.neighbours = self._table("neighbours", (self.items, self.near), dtype="int32")
        self.strengths = self._table("strengths", (self.items, self.near))
        self.mean = self._table("mean", (self.width,))
        self.deviation = self._table("deviation", (self.width,), initializer="ones")
        self.built = True

    def _table(self, name: str, shape: tuple[int, ...], initializer: str = "zeros", dtype: str = "float32") -> Any:
        return self.add_weight(shape, initializer=initializer, dtype=dtype, trainable=False, name=name)

    def set_tables(self, counts: np.ndarray, neighbours: np.ndarray, strengths: np.ndarray) -> None:
        """Give the layer its catalogue.

        Args:
            counts: [I] training events of each item.
            neighbours: int [I, M] rows; PAD where there are fewer.
            strengths: float [I, M].
        """
        self.popularity.assign(np.log1p(counts).astype(np.float32))
        self.neighbours.assign(neighbours)
        self.strengths.assign(strengths)

    def adapt(self, values: np.ndarray) -> None:
        """Standardise by candidates that are known, float [N, W], as `raw` gives them."""
        self.mean.assign(values.mean(axis=0))
        self.deviation.assign(np.maximum(values.std(axis=0), 1e-3))

    def call(self, tables: Mapping[str, Any], history: Any, rows: Any, scores: Any) -> Any:
        """Standardised numbers, float32 [B, C, W].

        Args:
            tables: see `TwoStage.item_tables`.
            history: int [B, T], right-padded.
            rows: int [B, C], the candidates.
            scores: float [B, C], logarithms of their shares among what was recalled.
        """
        return (self.raw(tables, history, rows, scores) - self.mean) / self.deviation

    def raw(self, tables: Mapping[str, Any], history: Any, rows: Any, scores: Any) -> Any:
        """The same as `call`, as it is."""
        recent = newest(history, RECENT)
        known = recent != PAD
        length = ops.log1p(ops.sum(ops.cast(history != PAD, "float32"), axis=1, keepdims=True))
        parts = [scores, ops.take(self.popularity, rows, axis=0), length + ops.zeros_like(scores)]
        weights = ops.cast(known, "float32") * DECAY ** ops.arange(RECENT, dtype="float32")
        likeness = [cosines(tables[VECTORS], recent, rows, self.dim), self._together(recent, rows)]
        if self.text:
            likeness.append(cosines(tables[UNIT_TEXT], recent, rows))
        for one in likeness:
            most = ops.max(ops.where(known[:, :, None], one, -1.0), axis=1)
            most = ops.where(known[:, :1], most, 0.0)
            parts += [one[:, 0] * ops.cast(known[:, :1], "float32"), most]
            parts.append(ops.sum(one * weights[:, :, None], axis=1))
        return ops.stack(parts, axis=-1)

    def _together(self, recent: Any, rows: Any) -> Any:
        """How often users had each candidate near each recent event, float32 [B, RECENT, C]."""
        near, strengths = ops.take(self.neighbours, recent, axis=0), ops.take(self.strengths, recent, axis=0)
        same = near[..., None] == ops.cast(rows, "int32")[:, None, None, :]
        return ops.sum(ops.where(same, strengths[..., None], 0.0), axis=2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "items": self.items, "near": self.near, "text": self.text, "dim": self.dim}


def newest(history: Any, count: int) -> Any:
    """The last events, newest first, int32 [B, count] of right-padded [B, T]; PAD where there are fewer."""
    length = ops.sum(ops.cast(history != PAD, "int32"), axis=1, keepdims=True)
    place = length - 1 - ops.arange(count, dtype="int32")[None, :]
    found = tf.gather(history, ops.maximum(place, 0), batch_dims=1)
    return ops.cast(ops.where(place >= 0, found, PAD), "int32")


def cosines(table: Any, recent: Any, rows: Any, dim: int | None = None) -> Any:
    """Cosines, float32 [B, L, C], of the rows `recent` [B, L] and `rows` [B, C] of a table [I, W], of `dim` columns."""
    one, other = (tf.math.l2_normalize(tf.gather(table, some)[..., :dim], axis=-1) for some in (recent, rows))
    return tf.matmul(one, other, transpose_b=True)
