"""Gated fusion of encoders that ran in parallel; used by the behaviour tower."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfrec")
class GatedFusion(keras.layers.Layer):
    """A weighted sum of the encoders' outputs; the weights depend on the step and the dimension.

    Source: the gated multimodal unit, arXiv:1702.01992, with a softmax over any number of inputs, which are gated as
    they come: the paper takes each through a tanh layer of its own before.
    """

    def __init__(self, dim: int, encoders: int, **kwargs: Any) -> None:
        """Build the gate.

        Args:
            dim: width D.
            encoders: number E of outputs to fuse.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.dim, self.encoders = dim, encoders
        self.gate = keras.layers.Dense(encoders * dim, kernel_initializer="zeros", dtype=policy, name="gate")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, E * D)."""
        self.gate.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        """[B, T, E * D] (the outputs side by side) -> [B, T, D]; it starts as their mean."""
        shape = (-1, ops.shape(x)[1], self.encoders, self.dim)
        weights = ops.softmax(ops.reshape(self.gate(x), shape), axis=2)
        return ops.sum(weights * ops.reshape(x, shape), axis=2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim, "encoders": self.encoders}
