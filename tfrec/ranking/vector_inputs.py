"""The vectors of a user and a candidate as inputs of the second stage, and what the candidate finds in the history."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrec.features import PAD
from tfrec.ranking.target_attention import TargetAttention


@keras.saving.register_keras_serializable(package="tfrec")
class VectorInputs(keras.layers.Layer):
    """User's state, candidate and their product, and the target attention, each normalised; from frozen towers."""

    def __init__(self, dim: int, *, products: bool, attention: TargetAttention | None = None, **kwargs: Any) -> None:
        """Build the layer.

        Args:
            dim: width D of the vectors.
            products: whether state, candidate and product are inputs.
            attention: of a candidate over the history; None for none.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: there is no input.
        """
        super().__init__(**kwargs)
        if not products and attention is None:
            raise ValueError("`products` is false and there is no `attention`: there is no input.")
        self.dim, self.products, self.attention = dim, products, attention

    @property
    def width(self) -> int:
        """Number of inputs W."""
        return self.dim * (3 * self.products + (self.attention is not None))

    def build(self, input_shape: Any = None) -> None:
        """Create the weights; the shapes are known from the constructor."""
        count = self.width // self.dim
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{place}") for place in range(count)]
        for norm in self.norms:
            norm.build((None, None, self.dim))
        if self.attention is not None and not self.attention.built:
            self.attention.build()
        self.built = True

    def call(self, state: Any, judged: Any, events: Any, history: Any, training: bool = False) -> Any:
        """Inputs float32 [B, C, W].

        Args:
            state: float [B, D], of the user.
            judged: float [B, C, D], of the candidates.
            events: float [B, T, D], of the history.
            history: int [B, T], its rows, right-padded.
            training: whether dropout is on.
        """
        parts = []
        if self.products:
            user = ops.broadcast_to(state[:, None, :], ops.shape(judged))
            parts += [user, judged, user * judged]
        if self.attention is not None:
            length = ops.sum(ops.cast(history != PAD, "int32"), axis=1, keepdims=True)
            after = ops.broadcast_to(length, ops.shape(judged)[:2])
            parts.append(self.attention(judged, events, after, training=training))
        return ops.concatenate([norm(part) for norm, part in zip(self.norms, parts, strict=True)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        attention = None if self.attention is None else keras.saving.serialize_keras_object(self.attention)
        own = {"dim": self.dim, "products": self.products, "attention": attention}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VectorInputs:
        """Rebuild the layer and its attention."""
        attention = config["attention"]
        made = None if attention is None else keras.saving.deserialize_keras_object(attention)
        return cls(**{**config, "attention": made})
