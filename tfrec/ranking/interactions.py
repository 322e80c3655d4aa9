"""How a ranker lets its inputs interact: feature crosses beside a perceptron, from one vector a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfrec")
class CrossNetwork(keras.layers.Layer):
    """Explicit products of the inputs, one more degree a layer: x[l + 1] = x[0] * (W x[l] + b) + x[l].

    Source: DCN V2, arXiv:2008.13535; the layers are `keras_rs.layers.FeatureCross`.
    """

    def __init__(self, layers: int = 2, rank: int | None = None, **kwargs: Any) -> None:
        """Build the network.

        Args:
            layers: number of crosses, 1 or more.
            rank: W is the product of two matrices of this inner width; None for a whole W.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: no layer.
        """
        super().__init__(**kwargs)
        if layers < 1:
            raise ValueError(f"`layers` must be 1 or more; received {layers}.")
        self.layers, self.rank = layers, rank

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layers; `input_shape` is (..., W)."""
        from keras_rs.layers import FeatureCross  # Here, for it takes a second to import.

        self.crosses = [
            FeatureCross(projection_dim=self.rank, dtype=self.dtype_policy, name=f"cross_{place}")
            for place in range(self.layers)
        ]
        inner = (*input_shape[:-1], self.rank or input_shape[-1])
        for cross in self.crosses:
            cross.build(input_shape)
            if self.rank is not None:
                cross.down_proj_dense.build(input_shape)
            cross.dense.build(
                inner
            )  # Keras RS 0.4 leaves that to the first call: a loaded model would have no weights.
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """Float [..., W] -> [..., W]."""
        crossed = x
        for cross in self.crosses:
            crossed = cross(x, crossed)
        return crossed

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "layers": self.layers, "rank": self.rank}


@keras.saving.register_keras_serializable(package="tfrec")
class Perceptron(keras.layers.Layer):
    """Dense layers with swish and dropout between: interactions of any kind, learnt and not stated."""

    def __init__(self, units: Sequence[int] = (256, 128), dropout: float = 0.2, **kwargs: Any) -> None:
        """Build the layers.

        Args:
            units: width of each layer, at least one.
            dropout: share of each layer's outputs that training drops.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: no layer.
        """
        super().__init__(**kwargs)
        if not units:
            raise ValueError("`units` must name the width of at least one layer; received none.")
        self.units, self.dropout = list(units), dropout
        policy = self.dtype_policy
        self.dense = [
            keras.layers.Dense(width, activation="silu", dtype=policy, name=f"dense_{place}")
            for place, width in enumerate(self.units)
        ]
        self.drops = [
            keras.layers.Dropout(dropout, dtype=policy, name=f"dropout_{place}") for place in range(len(self.units))
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (..., W)."""
        for layer, width in zip(self.dense, [input_shape[-1], *self.units], strict=False):
            layer.build((*input_shape[:-1], width))
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """Float [..., W] -> [..., last of `units`]."""
        for dense, drop in zip(self.dense, self.drops, strict=True):
            x = drop(dense(x), training=training)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The last of `units` wide."""
        return (*input_shape[:-1], self.units[-1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}
