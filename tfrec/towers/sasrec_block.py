"""The attention block of SASRec; a block of `SelfAttentionEncoder`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrec.towers.attention_block import AttentionBlock, causal_attention


@keras.saving.register_keras_serializable(package="tfrec")
class SASRecBlock(AttentionBlock):
    """Pre-norm attention and a feed-forward part with ReLU of inner width `expansion` * D, each added as it is.

    Source: SASRec, arXiv:1808.09781, section 3. Unlike there, a bias of the distance takes the place of learnt
    positions, and what is attended to is projected once more. A part reads the norm of what it is added to, as in the
    paper; its code normalises the queries but neither keys nor values, adds each part to the norm, and drops attention
    weights too.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layers and their weights; `input_shape` is (B, T, D)."""
        policy, dim = self.dtype_policy, self.dim
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="attention_norm")
        self.feed_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="feed_norm")
        self.attention_in = keras.layers.Dense(3 * dim, use_bias=False, dtype=policy, name="attention_in")
        self.attention_out = keras.layers.Dense(dim, dtype=policy, name="attention_out")
        self.feed_in = keras.layers.Dense(self.inner, activation="relu", dtype=policy, name="feed_in")
        self.feed_out = keras.layers.Dense(dim, dtype=policy, name="feed_out")
        for layer in (self.attention_norm, self.feed_norm, self.attention_in, self.attention_out, self.feed_in):
            layer.build(input_shape)
        self.feed_out.build((*input_shape[:-1], self.inner))
        self.bias.build()
        self.built = True

    def call(self, x: Any, times: Any = None, training: bool = False) -> Any:
        """[B, T, D] and the times, int64 [B, T], -> [B, T, D]; position t reads positions 0..t."""
        query, key, value = ops.split(self.attention_in(self.attention_norm(x)), 3, axis=-1)
        attended = causal_attention(query, key, value, self.heads, self.bias(x, times))
        x = x + self.drop(self.attention_out(attended), training=training)
        return x + self.drop(self.feed_out(self.feed_in(self.feed_norm(x))), training=training)
