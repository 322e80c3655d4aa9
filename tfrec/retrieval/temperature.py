"""What scores are divided by, fixed or learnt; used by the two-tower model."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

LEARNT = "learnt"
LEAST = 0.01  # A learnt one stays above it: the loss of what is ranked right already would shrink it without end.
_STARTS = {"dot": 1.0, "cosine": 0.07}


@keras.saving.register_keras_serializable(package="tfrec")
class Temperature(keras.layers.Layer):
    """Divides queries by a positive number.

    The weight of a learnt one is its logarithm. A constraint, which optimizers apply after each step, holds it at
    `LEAST` or above, where it has a gradient and may grow again; weight decay, which would draw it towards 1, leaves it
    alone (`tfrec.build.optimizer`). Source: CLIP, arXiv:2103.00020, section 2.5.
    """

    def __init__(self, start: float, *, learnt: bool = False, **kwargs: Any) -> None:
        """Build the layer; its weight exists afterwards.

        Args:
            start: the temperature; where it is learnt, before training.
            learnt: whether training changes it.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: `start` is not positive, or is to be learnt from below `LEAST`.
        """
        super().__init__(**{"autocast": False, **kwargs})  # Queries are float32 under any policy.
        if not start > 0:
            raise ValueError(f"`temperature` must be positive; received {start}.")
        if learnt and start < LEAST:
            raise ValueError(f"A learnt `temperature` must start at {LEAST} or above; received {start}.")
        self.start, self.learnt = start, learnt
        if learnt:
            first = keras.initializers.Constant(math.log(start))
            self.log = self.add_weight((), initializer=first, constraint=_not_below_least, name="log")
        self.built = True

    @classmethod
    def of(cls, temperature: float | str | None, similarity: str) -> Temperature:
        """A fixed one, `learnt`, or a fixed one that suits the similarity where None."""
        learnt = temperature == LEARNT
        if isinstance(temperature, str) and not learnt:
            raise ValueError(f"`temperature` must be a positive number or {LEARNT!r}; received {temperature!r}.")
        return cls(_STARTS[similarity] if learnt or temperature is None else float(temperature), learnt=learnt)

    @property
    def value(self) -> float:
        """What it is now."""
        return math.exp(float(self.log)) if self.learnt else self.start

    def call(self, queries: Any) -> Any:
        """Float [..., D] -> the same, divided."""
        if not self.learnt:
            return queries / self.start
        return queries / ops.exp(ops.cast(self.log, queries.dtype))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "start": self.start, "learnt": self.learnt}


def _not_below_least(log: Any) -> Any:
    return ops.maximum(log, math.log(LEAST))
