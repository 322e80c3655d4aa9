"""The attention block of LiGR; a block of `SelfAttentionEncoder`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrec.towers.attention_block import AttentionBlock, causal_attention


@keras.saving.register_keras_serializable(package="tfrec")
class LiGRBlock(AttentionBlock):
    """Pre-norm attention and SwiGLU of inner width `expansion` * D, each added through a sigmoid gate; no biases.

    A gate is a linear map of the normalised input; before training it lets half of what is added through, on average.
    Source: "From Features to Transformers" (LiGR), arXiv:2502.03417. The code of eSASRec, arXiv:2508.06450, gates by a
    linear map with a bias of the input as it is, and drops attention weights too.
    """

    EXPANSION = 4.0

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layers and their weights; `input_shape` is (B, T, D)."""
        policy, dim, inner = self.dtype_policy, self.dim, self.inner
        norm: dict[str, Any] = {"epsilon": 1e-6, "center": False, "dtype": policy}
        self.attention_norm = keras.layers.LayerNormalization(**norm, name="attention_norm")
        self.feed_norm = keras.layers.LayerNormalization(**norm, name="feed_norm")
        self.attention_in = keras.layers.Dense(4 * dim, use_bias=False, dtype=policy, name="attention_in")
        self.attention_out = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="attention_out")
        self.feed_in = keras.layers.Dense(2 * inner + dim, use_bias=False, dtype=policy, name="feed_in")
        self.feed_out = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="feed_out")
        for layer in (self.attention_norm, self.feed_norm, self.attention_in, self.attention_out, self.feed_in):
            layer.build(input_shape)
        self.feed_out.build((*input_shape[:-1], inner))
        self.bias.build()
        self.built = True

    def call(self, x: Any, times: Any = None, training: bool = False) -> Any:
        """[B, T, D] and the times, int64 [B, T], -> [B, T, D]; position t reads positions 0..t."""
        query, key, value, gate = ops.split(self.attention_in(self.attention_norm(x)), 4, axis=-1)
        attended = causal_attention(query, key, value, self.heads, self.bias(x, times))
        x = x + self.drop(ops.sigmoid(gate) * self.attention_out(attended), training=training)
        value, swish, gate = ops.split(self.feed_in(self.feed_norm(x)), [self.inner, 2 * self.inner], axis=-1)
        return x + self.drop(ops.sigmoid(gate) * self.feed_out(value * ops.silu(swish)), training=training)
