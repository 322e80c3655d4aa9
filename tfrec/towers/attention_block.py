"""What the blocks of self-attention share: their arguments, the bias, heads, and attention over the past."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from tfrec.towers.relative_bias import RelativeBias, between

MASKED = -1e9


class AttentionBlock(keras.layers.Layer):
    """A causal block, [B, T, D] and the times, int64 [B, T] or None, -> [B, T, D].

    The bias of `RelativeBias` takes the place of positions, so that the state after an event does not depend on how
    much of the row follows it.
    """

    EXPANSION: ClassVar[float] = 1.0  # Where none is said: what the block's paper has.

    def __init__(
        self,
        dim: int,
        heads: int,
        expansion: float | None = None,
        dropout: float = 0.2,
        max_length: int = 200,
        *,
        timestamps: bool = False,
        **kwargs: Any,
    ) -> None:
        """Build one block.

        Args:
            dim: width D of inputs and outputs; a multiple of `heads`.
            heads: number of attention heads.
            expansion: inner width of what is no attention, as a multiple of D; `EXPANSION` where None.
            dropout: share of what the block adds that training drops.
            max_length: distances of this many events or more share one bias.
            timestamps: whether the times of the events are read.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: a width is no multiple of `heads`.
        """
        super().__init__(**kwargs)
        if dim % heads:
            raise ValueError(f"`dim` must be a multiple of `heads`; received dim={dim}, heads={heads}.")
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.max_length, self.timestamps = max_length, timestamps
        self.expansion = self.EXPANSION if expansion is None else expansion
        self.inner = int(dim * self.expansion)
        policy = self.dtype_policy
        self.bias = RelativeBias(heads, max_length, timestamps=timestamps, dtype=policy, name="bias")
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "heads", "expansion", "dropout", "max_length", "timestamps")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def split_heads(x: Any, heads: int) -> Any:
    """[B, T, D] -> [B, H, T, D / H]."""
    return ops.transpose(ops.reshape(x, (-1, ops.shape(x)[1], heads, x.shape[-1] // heads)), (0, 2, 1, 3))


def join_heads(x: Any) -> Any:
    """[B, H, T, W] -> [B, T, H * W]."""
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, ops.shape(x)[2], x.shape[1] * x.shape[3]))


def causal_attention(query: Any, key: Any, value: Any, heads: int, bias: Any) -> Any:
    """Scaled dot-product attention over the past.

    Right-padded rows need no mask: what is padding comes later than every event, so no event reads it.

    Args:
        query: [B, T, D].
        key: [B, T, D].
        value: [B, T, D].
        heads: number H of heads.
        bias: [1 or B, H, T, T], added to the logits.

    Returns:
        [B, T, D].
    """
    query, key, value = (split_heads(part, heads) for part in (query, key, value))
    logits = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2))) + bias
    past = between(ops.shape(logits)[-1]) >= 0
    weights = ops.softmax(ops.where(past, logits, ops.cast(MASKED, logits.dtype)), axis=-1)
    return join_heads(ops.matmul(weights, value))
