"""The attention block of HSTU; a block of `SelfAttentionEncoder`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrec.towers.attention_block import AttentionBlock, join_heads, split_heads
from tfrec.towers.relative_bias import between


@keras.saving.register_keras_serializable(package="tfrec")
class HSTUBlock(AttentionBlock):
    """Pointwise attention: each pair of events is weighted by SiLU on its own, without a softmax over the past.

    A gate of the attended values, both `expansion` * D wide, takes the place of the feed-forward part.
    Source: HSTU, arXiv:2402.17152, equations 1 to 3. The sum over the past is divided by the number of its events
    rather than by the longest length; the norm that follows makes them alike, as long as the variance of what it reads
    is well above its epsilon. Meta's code has dropout before the last projection rather than after it, time buckets of
    a factor of 1.35 (the logarithm of the seconds over 0.301) rather than doublings, one bias for all heads, and learnt
    positions added to the inputs, which the bias of distances stands for here.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the layers and their weights; `input_shape` is (B, T, D)."""
        policy, inner = self.dtype_policy, self.inner
        if inner % self.heads:
            raise ValueError(f"`dim * expansion` must be a multiple of `heads`; received {inner}, heads={self.heads}.")
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="norm")
        self.project_in = keras.layers.Dense(2 * inner + 2 * self.dim, activation="silu", dtype=policy, name="in")
        self.attended_norm = keras.layers.LayerNormalization(
            epsilon=1e-6, center=False, scale=False, dtype=policy, name="attended_norm"
        )
        self.project_out = keras.layers.Dense(self.dim, dtype=policy, name="out")
        for layer in (self.norm, self.project_in):
            layer.build(input_shape)
        for layer in (self.attended_norm, self.project_out):
            layer.build((*input_shape[:-1], inner))
        self.bias.build()
        self.built = True

    def call(self, x: Any, times: Any = None, training: bool = False) -> Any:
        """[B, T, D] and the times, int64 [B, T], -> [B, T, D]; position t reads positions 0..t."""
        sizes = [self.inner, 2 * self.inner, 2 * self.inner + self.dim]
        gate, value, query, key = ops.split(self.project_in(self.norm(x)), sizes, axis=-1)
        query, key, value = (split_heads(part, self.heads) for part in (query, key, value))
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + self.bias(x, times)
        past = ops.cast(between(ops.shape(x)[1]) >= 0, logits.dtype)
        weights = ops.silu(logits) * past / ops.sum(past, axis=-1, keepdims=True)
        attended = self.attended_norm(join_heads(ops.matmul(weights, value)))
        return x + self.drop(self.project_out(gate * attended), training=training)
