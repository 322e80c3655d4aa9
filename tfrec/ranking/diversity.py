"""Lists of items unlike one another: maximal marginal relevance and caps per category, the last step of an answer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import PAD
from tfrec.retrieval.ranks import REMOVED

# Added to what a cap holds back, to what may not be shown, and to what is in the list, which comes last.
CAPPED, BARRED, TAKEN = -1e3, -1e4, -1e6


@keras.saving.register_keras_serializable(package="tfrec")
class Diversity(keras.layers.Layer):
    """Chooses items one after the other: those with good scores that are not like what is in the list already.

    The next item has the most of (1 - t) * relevance - t * (largest cosine to an item in the list); relevance is the
    score, from 0 for the worst to 1 for the best of the list. Source: Carbonell and Goldstein, "The use of MMR" (1998).
    Of a category with `most` items in the list another one comes only where nothing else is left.

    All users of a batch go through the same k steps at once, by stock TensorFlow operations: evaluation and the
    exported graph run the same code.
    """

    def __init__(self, trade_off: float, *, most: int | None = None, shape: tuple[int, int] = (0, 0), **kwargs: Any):
        """Build the layer; with `most`, `set_categories` then gives it the catalogue.

        Args:
            trade_off: t, from 0 (the scores alone) to 1 (unlikeness alone).
            most: most items of a category; None for no cap.
            shape: rows of the catalogue, and categories of an item at most.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: a trade-off outside 0 to 1, or a cap below 1.
        """
        super().__init__(**kwargs)
        if not 0 <= trade_off <= 1:
            raise ValueError(f"`trade_off` must be from 0 to 1; received {trade_off}.")
        if most is not None and most < 1:
            raise ValueError(f"`most` must be 1 or more, or None for no cap; received {most}.")
        self.trade_off, self.most, self.shape = trade_off, most, tuple(shape)
        if most is not None:
            self.codes = self.add_weight(self.shape, initializer="zeros", dtype="int32", trainable=False, name="codes")
        self.built = True

    def set_categories(self, codes: np.ndarray) -> None:
        """Give the layer the categories of each item, int [I, M], 0 = none."""
        self.codes.assign(codes)

    def call(self, vectors: Any, rows: Any, scores: Any, k: Any) -> tuple[Any, Any]:
        """The chosen items.

        Args:
            vectors: float [I, D], the items' vectors.
            rows: int [B, R], what may be chosen.
            scores: float [B, R]; what is removed is chosen last.
            k: how many are chosen, at most R.

        Returns:
            Rows int32 [B, k] and their scores float32 [B, k], in the order in which they were chosen.
        """
        rows = tf.cast(rows, tf.int32)
        unit = tf.math.l2_normalize(tf.gather(vectors, rows), axis=-1)
        value = (1 - self.trade_off) * _relevance(scores) + tf.where(scores > REMOVED / 2, 0.0, BARRED)
        nearest = tf.zeros_like(value)
        held = (
            tf.gather(self.codes, rows)
            if self.most is not None
            else tf.zeros([*tf.unstack(tf.shape(rows)), 1], tf.int32)
        )
        used, taken = tf.zeros_like(held), tf.zeros_like(value)

        def step(place: Any, nearest: Any, used: Any, taken: Any, chosen: Any) -> tuple[Any, ...]:
            full = (
                tf.reduce_any(used >= (self.most or 1), axis=-1)
                if self.most is not None
                else tf.zeros_like(taken, bool)
            )
            worth = value - self.trade_off * nearest + TAKEN * taken + tf.where(full, CAPPED, 0.0)
            best = tf.argmax(worth, axis=1, output_type=tf.int32)
            near = tf.einsum("brd,bd->br", unit, tf.gather(unit, best, batch_dims=1))
            nearest = tf.cond(place > 0, lambda: tf.maximum(nearest, near), lambda: near)
            own = tf.gather(held, best, batch_dims=1)
            same = tf.reduce_any((held[:, :, :, None] == own[:, None, None, :]) & (held != PAD)[..., None], axis=-1)
            taken = tf.maximum(taken, tf.one_hot(best, tf.shape(taken)[1]))
            return place + 1, nearest, used + tf.cast(same, tf.int32), taken, chosen.write(place, best)

        chosen = tf.TensorArray(tf.int32, size=k, element_shape=[None])
        *_, chosen = tf.while_loop(
            lambda place, *_: place < k, step, (tf.constant(0), nearest, used, taken, chosen)
        )  # fmt: skip
        places = tf.transpose(chosen.stack())
        return tf.gather(rows, places, batch_dims=1), tf.gather(scores, places, batch_dims=1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"trade_off": self.trade_off, "most": self.most, "shape": list(self.shape)}
        return {**super().get_config(), **own}


def _relevance(scores: Any) -> Any:
    """Scores from 0 to 1 in each list, float [B, R]; 0 for what is removed."""
    known = scores > REMOVED / 2
    best = tf.reduce_max(scores, axis=1, keepdims=True)
    worst = tf.reduce_min(tf.where(known, scores, best), axis=1, keepdims=True)
    return tf.where(known, tf.math.divide_no_nan(scores - worst, best - worst), 0.0)
