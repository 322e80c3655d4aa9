"""Causal self-attention over a behaviour sequence; one of the encoders that the behaviour tower runs in parallel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

MASKED = -1e9


@keras.saving.register_keras_serializable(package="tfrec")
class AttentionBlock(keras.layers.Layer):
    """A LiGR block: pre-norm attention and SwiGLU, each added through a sigmoid gate; no biases.

    The gate lets a block start near the identity, so that depth trains. Distance between two events enters as a
    learnt bias per head, hence the state after an event does not depend on how much of the row follows it.
    Source: "From Features to Transformers" (LiGR), arXiv:2502.03417; the relative bias is T5's, arXiv:1910.10683.
    """

    def __init__(self, dim: int, heads: int, expansion: float, dropout: float, max_length: int, **kwargs: Any) -> None:
        """Build one block.

        Args:
            dim: width D of inputs and outputs; a multiple of `heads`.
            heads: number of attention heads.
            expansion: inner width of the feed-forward part, as a multiple of D.
            dropout: share of the branch outputs that training drops.
            max_length: distances of this many steps or more share one bias.
            **kwargs: name, dtype and so on, as for any Keras layer.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        if dim % heads:
            raise ValueError(f"`dim` must be a multiple of `heads`; received dim={dim}, heads={heads}.")
        self.dim, self.heads, self.expansion, self.dropout, self.max_length = dim, heads, expansion, dropout, max_length
        inner = int(dim * expansion)
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=1e-6, center=False, dtype=policy, name="attention_norm"
        )
        self.feed_norm = keras.layers.LayerNormalization(epsilon=1e-6, center=False, dtype=policy, name="feed_norm")
        self.attention_in = keras.layers.Dense(4 * dim, use_bias=False, dtype=policy, name="attention_in")
        self.attention_out = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="attention_out")
        self.feed_in = keras.layers.Dense(2 * inner + dim, use_bias=False, dtype=policy, name="feed_in")
        self.feed_out = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="feed_out")
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, D)."""
        for layer in (self.attention_norm, self.feed_norm, self.attention_in, self.attention_out, self.feed_in):
            layer.build(input_shape)
        self.feed_out.build((*input_shape[:-1], int(self.dim * self.expansion)))
        self.distance_bias = self.add_weight((self.heads, self.max_length), initializer="zeros", name="distance_bias")
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """[B, T, D] -> [B, T, D]; position t reads positions 0..t.

        Right-padded rows need no mask: what is padding comes later than every event, so no event reads it.
        """
        gate, attended = self._attend(self.attention_norm(x))
        x = x + self.drop(ops.sigmoid(gate) * attended, training=training)
        inner = int(self.dim * self.expansion)
        value, swish, gate = ops.split(self.feed_in(self.feed_norm(x)), [inner, 2 * inner], axis=-1)
        return x + self.drop(ops.sigmoid(gate) * self.feed_out(value * ops.silu(swish)), training=training)

    def _attend(self, x: Any) -> tuple[Any, Any]:
        """The gate's logits and the attention's output, each [B, T, D]."""
        length, width = ops.shape(x)[1], self.dim // self.heads
        query, key, value, gate = ops.split(self.attention_in(x), 4, axis=-1)
        query, key, value = (
            ops.transpose(ops.reshape(part, (-1, length, self.heads, width)), (0, 2, 1, 3))
            for part in (query, key, value)
        )
        logits = ops.matmul(query * width**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        weights = ops.softmax(logits + self._bias(length, logits.dtype), axis=-1)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return gate, self.attention_out(ops.reshape(attended, (-1, length, self.dim)))

    def _bias(self, length: Any, dtype: Any) -> Any:
        """[heads, T, T]: the bias of each distance, and the causal mask."""
        steps = ops.arange(length)
        distance = steps[:, None] - steps[None, :]
        bias = ops.take(self.distance_bias, ops.clip(distance, 0, self.max_length - 1), axis=1)
        return ops.where(distance >= 0, ops.cast(bias, dtype), ops.cast(MASKED, dtype))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "heads", "expansion", "dropout", "max_length")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="tfrec")
class SelfAttentionEncoder(keras.layers.Layer):
    """A stack of causal self-attention blocks.

    Source: SASRec, arXiv:1808.09781, with the block of LiGR (see `AttentionBlock`).
    """

    def __init__(
        self,
        dim: int,
        blocks: int = 2,
        heads: int = 2,
        expansion: float = 4.0,
        dropout: float = 0.2,
        max_length: int = 200,
        **kwargs: Any,
    ) -> None:
        """Build the stack.

        Args:
            dim: width D.
            blocks: number of blocks.
            heads: attention heads a block.
            expansion: inner width of the feed-forward part, as a multiple of D.
            dropout: share dropped in training.
            max_length: distances of this many steps or more share one bias.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.dim, self.blocks, self.heads, self.expansion = dim, blocks, heads, expansion
        self.dropout, self.max_length = dropout, max_length
        self.stack = [
            AttentionBlock(dim, heads, expansion, dropout, max_length, dtype=policy, name=f"block_{i}")
            for i in range(blocks)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, D)."""
        for block in self.stack:
            block.build(input_shape)
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """[B, T, D] -> [B, T, D], causal; right-padded rows need no mask."""
        for block in self.stack:
            x = block(x, training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "blocks", "heads", "expansion", "dropout", "max_length")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
