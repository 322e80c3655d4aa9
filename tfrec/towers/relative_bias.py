"""How far apart two events are, as a bias of attention; used by the attention blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrec.towers.time_embedding import GAP_BUCKETS, gap_buckets


@keras.saving.register_keras_serializable(package="tfrec")
class RelativeBias(keras.layers.Layer):
    """A learnt number per head for how many events lie between two, and for how much time where events have times.

    Distances are told one by one up to `max_length`, times by their doublings (`time_embedding.gap_buckets`). Only past
    events are compared, never the time of the one to be predicted, which no server knows.
    Source: T5, arXiv:1910.10683, which tells longer distances by their logarithm and has one table for all layers, and
    the relative attention bias of HSTU, arXiv:2402.17152, whose code has one number for all heads, time buckets of a
    factor of 1.35, and measures the time from the event to be predicted.
    """

    def __init__(self, heads: int, max_length: int, *, timestamps: bool = False, **kwargs: Any) -> None:
        """Build the layer.

        Args:
            heads: number H of heads.
            max_length: distances of this many events or more share one number.
            timestamps: whether events have times.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        self.heads, self.max_length, self.timestamps = heads, max_length, timestamps

    def build(self, input_shape: Any = None) -> None:
        """Create the tables."""
        self.distance = self.add_weight((self.heads, self.max_length), initializer="zeros", name="distance")
        if self.timestamps:
            self.gap = self.add_weight((self.heads, GAP_BUCKETS), initializer="zeros", name="gap")
        self.built = True

    def call(self, x: Any, times: Any = None) -> Any:
        """The events [B, T, D], and int64 [B, T] seconds where they have times -> [1 or B, H, T, T]."""
        far = ops.clip(between(ops.shape(x)[1]), 0, self.max_length - 1)
        bias = ops.take(self.distance, far, axis=1)[None]
        if self.timestamps and times is not None:
            gaps = gap_buckets(times[:, :, None], times[:, None, :])
            bias = bias + ops.transpose(ops.take(ops.transpose(self.gap), gaps, axis=0), (0, 3, 1, 2))
        return ops.cast(bias, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("heads", "max_length", "timestamps")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def between(length: Any) -> Any:
    """Int [T, T]: how many events after event s (column) event t (row) came; negative where s is the later one."""
    steps = ops.arange(length)
    return steps[:, None] - steps[None, :]
