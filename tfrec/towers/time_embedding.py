"""Time features of events: how long after the one before, at what hour, on which day; used by the behaviour tower."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

GAP_BUCKETS = 34  # 0 = missing, then one bucket for each doubling of the seconds, up to 2 ** 32
HOURS = 25
DAYS = 8


@keras.saving.register_keras_serializable(package="tfrec")
class TimeEmbedding(keras.layers.Layer):
    """Embeds the gap to the event before (one bucket a doubling), the hour of the day and the day of the week, UTC.

    Only differences and cycles are used, never the date itself, so that a served model meets nothing it has not seen.
    Source: the log-bucketed time bias of HSTU, arXiv:2402.17152, here as an embedding.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        """Build the layer; `dim` is the width D."""
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape: Any = None) -> None:
        """Create the three tables."""
        scale = keras.initializers.RandomNormal(stddev=self.dim**-0.5 / 4)
        sizes = {"gap": GAP_BUCKETS, "hour": HOURS, "day": DAYS}
        self.tables = {  # A clone draws anew: one initializer gives every table the same rows.
            name: self.add_weight((size, self.dim), initializer=scale.clone(), name=name)
            for name, size in sizes.items()
        }
        self.built = True

    def call(self, times: Any) -> Any:
        """int64 [B, T] seconds since 1970, 0 = missing -> float [B, T, D]."""
        known = ops.cast(times > 0, "int64")
        codes = {
            "gap": gap_buckets(times, ops.pad(times[:, :-1], ((0, 0), (1, 0)))),
            "hour": (times // 3600 % 24 + 1) * known,
            "day": ((times // 86400 + 3) % 7 + 1) * known,
        }
        parts = [ops.take(self.tables[name], ops.cast(code, "int32"), axis=0) for name, code in codes.items()]
        return ops.cast(parts[0] + parts[1] + parts[2], self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim}


def gap_buckets(later: Any, earlier: Any) -> Any:
    """Int32, 1 + log2(1 + seconds between), floored; 0 where a time, int64 seconds, is missing (0).

    The two shapes are broadcast. What is not later than the other counts as at the same time.
    """
    known = ops.logical_and(later > 0, earlier > 0)
    seconds = ops.cast(ops.maximum(later - earlier, 0), "float64")
    # A half more: no whole number is then at an edge, where logarithms fall here on one machine and there on another.
    bucket = ops.cast(ops.floor(ops.log2(seconds + 1.5)), "int32") + 1
    return ops.where(known, ops.minimum(bucket, GAP_BUCKETS - 1), 0)
