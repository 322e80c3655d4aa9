"""A causal convolutional encoder of a behaviour sequence; one of the encoders of the behaviour tower."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfrec")
class ConvolutionEncoder(keras.layers.Layer):
    """Residual blocks of causal convolutions whose dilation doubles from block to block.

    A convolution is written as one matrix product over shifted copies of the row, which is the fast form on CPUs.
    Source: NextItNet, arXiv:1808.05163. A block here is a norm, one gated convolution (GLU, arXiv:1612.08083) and a
    projection; in its code it is two convolutions, each with a norm and ReLU after it. The dilation doubles up to the
    last block, where NextItNet repeats short cycles such as 1, 2, 4, 1, 2, 4.
    """

    def __init__(self, dim: int, blocks: int = 6, kernel: int = 3, dropout: float = 0.2, **kwargs: Any) -> None:
        """Build the stack.

        Args:
            dim: width D.
            blocks: number of blocks; together they read 1 + (kernel - 1) * (2 ** blocks - 1) events.
            kernel: events a convolution reads, the present one included.
            dropout: share of each block's output that training drops.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.dim, self.blocks, self.kernel, self.dropout = dim, blocks, kernel, dropout
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"norm_{i}") for i in range(blocks)
        ]
        self.convolutions = [keras.layers.Dense(2 * dim, dtype=policy, name=f"convolution_{i}") for i in range(blocks)]
        self.projections = [keras.layers.Dense(dim, dtype=policy, name=f"projection_{i}") for i in range(blocks)]
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, D)."""
        for norm, convolution, projection in zip(self.norms, self.convolutions, self.projections, strict=True):
            norm.build(input_shape)
            convolution.build((*input_shape[:-1], self.kernel * self.dim))
            projection.build(input_shape)
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """[B, T, D] -> [B, T, D], causal; right-padded rows need no mask."""
        for i, (norm, convolution, projection) in enumerate(
            zip(self.norms, self.convolutions, self.projections, strict=True)
        ):
            value, gate = ops.split(convolution(self._windows(norm(x), dilation=2**i)), 2, axis=-1)
            x = x + self.drop(projection(value * ops.sigmoid(gate)), training=training)
        return x

    def _windows(self, x: Any, dilation: int) -> Any:
        """[B, T, kernel * D]: each step beside the `kernel` - 1 before it, `dilation` apart, zeros before the row."""
        length, reach = ops.shape(x)[1], (self.kernel - 1) * dilation
        padded = ops.pad(x, ((0, 0), (reach, 0), (0, 0)))
        return ops.concatenate([padded[:, i * dilation : i * dilation + length] for i in range(self.kernel)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "blocks", "kernel", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
