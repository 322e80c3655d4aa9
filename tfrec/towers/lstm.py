"""A recurrent encoder of a behaviour sequence; one of the encoders that the behaviour tower runs in parallel."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfrec")
class LSTMEncoder(keras.layers.Layer):
    """Stacked LSTMs, each on a normalised input and added to it through a projection.

    Source: GRU4Rec, arXiv:1511.06939. Unlike there, the cells are LSTMs (Hochreiter and Schmidhuber, 1997) rather than
    GRUs, and a layer has a norm before it and adds to its input.
    """

    def __init__(
        self, dim: int, layers: int = 1, units: int | None = None, dropout: float = 0.2, **kwargs: Any
    ) -> None:
        """Build the stack.

        Args:
            dim: width D of inputs and outputs.
            layers: number of LSTM layers.
            units: width of the recurrent state; D where None.
            dropout: share of each layer's output that training drops.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.dim, self.layers, self.units, self.dropout = dim, layers, units or dim, dropout
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"norm_{i}") for i in range(layers)
        ]
        self.cells = [
            keras.layers.LSTM(self.units, return_sequences=True, dtype=policy, name=f"lstm_{i}") for i in range(layers)
        ]
        self.projections = [keras.layers.Dense(dim, dtype=policy, name=f"projection_{i}") for i in range(layers)]
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, D)."""
        for norm, cell, projection in zip(self.norms, self.cells, self.projections, strict=True):
            norm.build(input_shape)
            cell.build(input_shape)
            projection.build((*input_shape[:-1], self.units))
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """[B, T, D] -> [B, T, D], causal.

        Right-padded rows need no mask: the recurrence meets the padding after the last event, and nobody reads the
        steps that follow it.
        """
        for norm, cell, projection in zip(self.norms, self.cells, self.projections, strict=True):
            x = x + self.drop(projection(cell(norm(x))), training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "layers", "units", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
