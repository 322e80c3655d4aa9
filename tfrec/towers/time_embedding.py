"""Time features of events: how long after the one before, at what hour, on which day; used by the behaviour tower."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

GAP_BUCKETS = 34  # 0 = missing, then one bucket for each doubling of the seconds, up to 2 ** 32
GAP_STARTS = [2**k - 1 for k in range(1, GAP_BUCKETS - 1)]  # Of the buckets from 2 on; bucket 1 is "no time between".
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
            "gap": self._gap(times),
            "hour": (times // 3600 % 24 + 1) * known,
            "day": ((times // 86400 + 3) % 7 + 1) * known,
        }
        parts = [ops.take(self.tables[name], ops.cast(code, "int32"), axis=0) for name, code in codes.items()]
        return ops.cast(parts[0] + parts[1] + parts[2], self.compute_dtype)

    def _gap(self, times: Any) -> Any:
        """Buckets, int [B, T]: 1 + log2(1 + seconds since the event before), floored; 0 where a time is missing."""
        before = ops.pad(times[:, :-1], ((0, 0), (1, 0)))
        both = ops.logical_and(times > 0, before > 0)
        # Whole numbers are compared: a float logarithm puts 2 ** k - 1 here on one machine and there on another.
        starts = ops.convert_to_tensor(GAP_STARTS, "int64")
        bucket = 1 + ops.sum(ops.cast((times - before)[:, :, None] >= starts, "int32"), axis=-1)
        return ops.where(both, bucket, 0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim}
