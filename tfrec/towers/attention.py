"""Causal self-attention over a behaviour sequence; one of the encoders that the behaviour tower runs in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfrec")
class SelfAttentionEncoder(keras.layers.Layer):
    """A stack of causal blocks of self-attention: `LiGRBlock`, `HSTUBlock` or `SASRecBlock`.

    Source: SASRec, arXiv:1808.09781; each block names its own.
    """

    def __init__(self, blocks: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        """Stack the blocks.

        Args:
            blocks: layers ([B, T, D], times int64 [B, T] or None) -> [B, T, D], each reading the past alone; at least
                one.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: no block.
        """
        super().__init__(**kwargs)
        if not blocks:
            raise ValueError("`blocks` must hold at least one layer; received none.")
        self.blocks = list(blocks)

    @property
    def timestamps(self) -> bool:
        """Whether a block reads the times of the events."""
        return any(block.timestamps for block in self.blocks)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, D)."""
        for block in self.blocks:
            if not block.built:
                block.build(input_shape)
        self.built = True

    def call(self, x: Any, times: Any = None, training: bool = False) -> Any:
        """[B, T, D] and the times, int64 [B, T], -> [B, T, D], causal; right-padded rows need no mask."""
        for block in self.blocks:
            x = block(x, times, training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "blocks": [keras.saving.serialize_keras_object(block) for block in self.blocks]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SelfAttentionEncoder:
        """Rebuild the stack."""
        return cls(**{**config, "blocks": [keras.saving.deserialize_keras_object(block) for block in config["blocks"]]})
