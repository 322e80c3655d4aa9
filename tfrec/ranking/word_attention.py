"""Attention between the words of the user's text and those of a candidate's text; an input of the ranker."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.features import PAD
from tfrec.ranking.target_attention import MASKED
from tfrec.towers.text_projection import TextProjection

# Pairs of user and candidate that are looked at together where nothing trains: 100 MB at 16 words, 128 wide.
PAIRS_AT_ONCE = 1024


@keras.saving.register_keras_serializable(package="tfrec")
class WordAttention(keras.layers.Layer):
    """Multi-head cross-attention in both directions: each text asks, word by word, and the words of the other answer.

    Words are states of a frozen text model, those of the items a table that the layer holds. One projection makes both
    kinds as wide as the model. What the words of a text find is averaged over them; since that is linear, the weights
    are averaged before the values are summed. One more slot of weight exp(0) and value 0 lets a word find nothing, so
    that how much is found counts too. A text without words, an unknown item or a user of whom no text is known finds
    exactly zero. Source: the co-attention of Lu et al., "Hierarchical question-image co-attention for visual question
    answering", arXiv:1606.00061, with the scaled dot-product attention of Vaswani et al., "Attention is all you need",
    arXiv:1706.03762.
    """

    def __init__(
        self,
        dim: int,
        items: int,
        width: int,
        words: int = 16,
        *,
        heads: int = 2,
        dropout: float = 0.0,
        hidden: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Build the layer; `set_words` then gives it the words of the catalogue.

        Args:
            dim: width D of the output; a multiple of `heads`.
            items: rows I of the catalogue, the padding row 0 included.
            width: width W of a word.
            words: words K of an item's text at most.
            heads: number H of heads.
            dropout: share of the outputs that training drops.
            hidden: probability that training hides a user's words.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: `dim` is no multiple of `heads`.
        """
        super().__init__(**kwargs)
        if dim % heads:
            raise ValueError(f"`dim` must be a multiple of `heads`; received dim={dim}, heads={heads}.")
        self.dim, self.items, self.width, self.words = dim, items, width, words
        self.heads, self.dropout, self.hidden = heads, dropout, hidden
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.hide = keras.layers.Dropout(hidden, name="hidden")

    def build(self, input_shape: Any = None) -> None:
        """Create the weights; the shapes are known from the constructor."""
        policy, dim = self.dtype_policy, self.dim
        table: dict[str, Any] = {"dtype": "float16", "autocast": False, "trainable": False}  # Cast row by row.
        self.item_words = self.add_weight(
            (self.items, self.words, self.width), initializer="zeros", name="item_words", **table
        )
        self.projection = TextProjection(dim, dtype=policy, name="projection")
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="norm")
        self.of_user = keras.layers.Dense(3 * dim, use_bias=False, dtype=policy, name="of_user")
        self.of_item = keras.layers.Dense(3 * dim, use_bias=False, dtype=policy, name="of_item")
        self.out = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="out")
        self.projection.build((None, self.width))
        for layer in (self.norm, self.of_user, self.of_item):
            layer.build((None, None, dim))
        self.out.build((None, None, 2 * dim))
        self.built = True

    @property
    def tables(self) -> list[Any]:
        """The variable that holds the words of the catalogue; training does not change it."""
        return [self.item_words]

    def set_words(self, words: np.ndarray) -> None:
        """Give the layer the words of the catalogue, float [I, K, W], zeros beyond the last one, and start from them.

        Raises:
            ValueError: another shape.
        """
        if not self.built:
            self.build()
        shape = (self.items, self.words, self.width)
        if words.shape != shape:
            raise ValueError(f"`words` must have the shape {shape}; received {words.shape}.")
        self.item_words.assign(words)
        self.projection.fit(words.reshape(-1, self.width))

    def call(self, candidates: Any, user_words: Any = None, training: bool = False) -> Any:
        """What the words of each candidate and those of the user find in one another.

        Args:
            candidates: int [B, C], item rows.
            user_words: float [B, Q, W], zeros where a text has no further word; None where no text is known.
            training: whether dropout is on.

        Returns:
            float [B, C, D].
        """
        if user_words is None:
            return ops.zeros((*ops.shape(candidates), self.dim), self.compute_dtype)
        if training and self.hidden:
            kept = self.hide(ops.ones((ops.shape(user_words)[0], 1, 1)), training=True) > 0
            user_words = user_words * ops.cast(kept, user_words.dtype)
        flat = tf.concat([[tf.cast(PAD, candidates.dtype)], tf.reshape(candidates, [-1])], axis=0)
        rows, places = tf.unique(flat)  # Each item is projected once, and place 0 is that of no item.
        places = tf.reshape(places[1:], tf.shape(candidates))
        user = self._mapped(user_words, self.of_user)
        items = self._mapped(ops.take(self.item_words, rows, axis=0), self.of_item)
        attended = self._attended if training else self._in_parts
        return self.drop(self.out(attended(user, items, places)), training=training)

    def _mapped(self, words: Any, layer: keras.layers.Layer) -> tuple[Any, Any]:
        """Queries, keys and values side by side of words [N, K, W], [N, K, 3 D], and which there are, bool [N, K]."""
        return layer(self.norm(self.projection(words))), ops.any(words != 0, axis=-1)

    def _in_parts(self, user: tuple[Any, Any], items: tuple[Any, Any], places: Any) -> Any:
        """As `_attended`, some candidates of each row at a time."""
        rows, count = ops.shape(places)[0], ops.shape(places)[1]
        size = tf.clip_by_value(PAIRS_AT_ONCE // tf.maximum(rows, 1), 1, tf.maximum(count, 1))
        parts = tf.maximum(1, -(-count // size))
        padded = tf.pad(places, [[0, 0], [0, parts * size - count]])
        some = tf.transpose(tf.reshape(padded, [rows, parts, size]), [1, 0, 2])
        spec = tf.TensorSpec([None, None, 2 * self.dim], self.compute_dtype)
        found = tf.map_fn(
            lambda part: self._attended(user, items, part), some, fn_output_signature=spec, parallel_iterations=1
        )
        return tf.reshape(tf.transpose(found, [1, 0, 2, 3]), [rows, parts * size, 2 * self.dim])[:, :count]

    def _attended(self, user: tuple[Any, Any], items: tuple[Any, Any], places: Any) -> Any:
        """What the words of the user find, beside what those of the candidates do.

        Args:
            user: what `_mapped` gives of the users' words, [B, Q, 3 D] and [B, Q].
            items: and of those of U items, [U, K, 3 D] and [U, K].
            places: int [B, C], which of the items the candidates are.

        Returns:
            float [B, C, 2 D].
        """
        rows, count, width = ops.shape(places)[0], ops.shape(places)[1], self.dim // self.heads
        maps, told = (ops.take(part, places, axis=0) for part in items)
        asked, keys, values = self._heads(ops.reshape(maps, (rows, count * self.words, 3 * self.dim)))
        user_asked, user_keys, user_values = self._heads(user[0])
        said = ops.shape(user[0])[1]

        logits = ops.matmul(user_asked, ops.transpose(keys, (0, 1, 3, 2)))
        logits = ops.reshape(logits, (rows, self.heads, said, count, self.words))
        weights = _mean(_shares(logits, told[:, None, None]), user[1][:, None, :, None, None], axis=2)
        values = ops.reshape(values, (rows, self.heads, count, self.words, width))
        by_user = ops.einsum("bhck,bhckd->bchd", weights, values)

        shares = _shares(ops.matmul(asked, ops.transpose(user_keys, (0, 1, 3, 2))), user[1][:, None, None, :])
        shares = ops.reshape(shares, (rows, self.heads, count, self.words, said))
        weights = _mean(shares, told[:, None, :, :, None], axis=3)
        by_item = ops.transpose(ops.matmul(weights, user_values), (0, 2, 1, 3))
        return ops.reshape(ops.concatenate([by_user, by_item], axis=-1), (rows, count, 2 * self.dim))

    def _heads(self, maps: Any) -> tuple[Any, Any, Any]:
        """[B, N, 3 D] -> queries, in units of the softmax, keys and values, [B, H, N, D / H] each."""
        width, (rows, count) = self.dim // self.heads, ops.shape(maps)[:2]
        parts = ops.transpose(ops.reshape(maps, (rows, count, 3, self.heads, width)), (2, 0, 3, 1, 4))
        return parts[0] * width**-0.5, parts[1], parts[2]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "items", "width", "words", "heads", "dropout", "hidden")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _shares(logits: Any, there: Any) -> Any:
    """The softmax over what is there, bool, and a slot that says nothing, along the last axis; without that slot."""
    logits = ops.where(there, logits, ops.cast(MASKED, logits.dtype))
    return ops.softmax(ops.concatenate([ops.zeros_like(logits[..., :1]), logits], axis=-1), axis=-1)[..., 1:]


def _mean(values: Any, counted: Any, axis: int) -> Any:
    """The mean of those that count, bool, along an axis; 0 where there is none."""
    counted = ops.cast(counted, values.dtype)
    return ops.sum(values * counted, axis=axis) / ops.maximum(ops.sum(counted, axis=axis), 1.0)
