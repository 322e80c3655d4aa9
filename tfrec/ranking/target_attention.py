"""Attention of a candidate over the history: what of the past speaks for it; an input of the ranker."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

DISTANCES = 12  # One bucket for each doubling of the events between, up to 2 ** 11.
MASKED = -1e9


@keras.saving.register_keras_serializable(package="tfrec")
class TargetAttention(keras.layers.Layer):
    """Multi-head scaled dot-product attention, the candidates asking, the events of the history answering.

    A learnt number per head tells how long ago an event was, by doublings of the events between. One more slot of
    weight exp(0) and value 0 lets a candidate find nothing, and stands alone where there is no history.
    Source: the target attention of Deep Interest Network, arXiv:1706.06978, with the dot product of "Attention is all
    you need" for its activation unit, so that 200 candidates over 200 events are one product of matrices.
    """

    def __init__(self, dim: int, heads: int = 2, dropout: float = 0.0, **kwargs: Any) -> None:
        """Build the layer.

        Args:
            dim: width D of candidates, events and outputs; a multiple of `heads`.
            heads: number H of heads.
            dropout: share of the outputs that training drops.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: `dim` is no multiple of `heads`.
        """
        super().__init__(**kwargs)
        if dim % heads:
            raise ValueError(f"`dim` must be a multiple of `heads`; received dim={dim}, heads={heads}.")
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any = None) -> None:
        """Create the weights; the shapes are known from the constructor."""
        policy, dim = self.dtype_policy, self.dim
        norm: dict[str, Any] = {"epsilon": 1e-6, "dtype": policy}
        self.candidate_norm = keras.layers.LayerNormalization(**norm, name="candidate_norm")
        self.event_norm = keras.layers.LayerNormalization(**norm, name="event_norm")
        self.query = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="query")
        self.key_value = keras.layers.Dense(2 * dim, use_bias=False, dtype=policy, name="key_value")
        self.out = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="out")
        for layer in (self.candidate_norm, self.event_norm, self.query, self.key_value, self.out):
            layer.build((None, None, dim))
        self.distance = self.add_weight((self.heads, DISTANCES), initializer="zeros", name="distance")
        self.built = True

    def call(self, candidates: Any, events: Any, after: Any, training: bool = False) -> Any:
        """What each candidate finds.

        Args:
            candidates: float [B, C, D].
            events: float [B, T, D], oldest first; what lies beyond `after` is not read.
            after: int [B, C], how many of the events each candidate may read.
            training: whether dropout is on.

        Returns:
            float [B, C, D].
        """
        query = self._heads(self.query(self.candidate_norm(candidates)))
        key, value = map(self._heads, ops.split(self.key_value(self.event_norm(events)), 2, axis=-1))
        ago = after[:, :, None] - 1 - ops.arange(ops.shape(events)[1], dtype=after.dtype)[None, None, :]
        logits = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
        bias = ops.transpose(ops.take(ops.transpose(self.distance), _doublings(ago), axis=0), (0, 3, 1, 2))
        past = (ago >= 0)[:, None]
        logits = ops.where(past, logits + ops.cast(bias, logits.dtype), ops.cast(MASKED, logits.dtype))
        nothing = ops.zeros_like(logits[..., :1])
        weights = ops.softmax(ops.concatenate([nothing, logits], axis=-1), axis=-1)[..., 1:]
        found = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.drop(self.out(ops.reshape(found, ops.shape(candidates))), training=training)

    def _heads(self, x: Any) -> Any:
        """[B, N, D] -> [B, H, N, D / H]."""
        shape = (-1, ops.shape(x)[1], self.heads, self.dim // self.heads)
        return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **{name: getattr(self, name) for name in ("dim", "heads", "dropout")}}


def _doublings(ago: Any) -> Any:
    """How often 1 doubles up to 1 + `ago`, int32, floored; 0 for what is not past."""
    far = ops.cast(ops.maximum(ago, 0), "float32")
    bucket = ops.cast(ops.floor(ops.log2(far + 1.001)), "int32")  # A little more: whole powers are at an edge.
    return ops.minimum(bucket, DISTANCES - 1)
