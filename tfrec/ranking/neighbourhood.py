"""The neighbourhood of a candidate as an input of the ranker: what the user thought of items that are judged alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.ranking.factor_sampling import Ratings
from tfrec.ranking.label_history import LabelHistory

# Items of a catalogue up to which two whole matrices of pairs are kept, 8 bytes a pair: 800 MB.
MOST_ITEMS = 10_000
# Events that pull the biases of items and users to 0, as many as in Koren's baseline for a catalogue of this kind.
BIAS_COUNT = 5.0


@keras.saving.register_keras_serializable(package="tfrec")
class Neighbourhood(keras.layers.Layer):
    """Item-based neighbours: a mean of what is left of the history's labels, by the square of the items' correlation.

    A label is centre + item bias + user bias + what is left; two items correlate where the same users left the same.
    Sums of products and of users, a pair of items each, are weights that do not train, so that a training candidate's
    own part can be taken out of them. How much a correlation of few users shrinks, and how many neighbours it takes to
    be believed, is learnt. Source: Koren, "Factor in the neighbors: scalable and accurate collaborative filtering"
    (2010), sections 2 and 3.
    """

    def __init__(self, items: int, **kwargs: Any) -> None:
        """Build the layer; `start` then gives it the events.

        Args:
            items: rows I of the catalogue, the padding row 0 included.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: a catalogue of more items than pairs can be kept of.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        if items > MOST_ITEMS:
            raise ValueError(
                f"the neighbourhood keeps every pair of items, and takes {MOST_ITEMS} items at most; received {items}: "
                "leave it out, and take the factors."
            )
        self.items = items

    def build(self, input_shape: Any = None) -> None:
        """Create the weights; the shapes are known from the constructor."""
        fixed: dict[str, Any] = {"initializer": "zeros", "trainable": False}
        self.center = self.add_weight((), name="center", **fixed)
        self.bias = self.add_weight((self.items,), name="bias", **fixed)
        self.deviation = self.add_weight((self.items,), name="deviation", **{**fixed, "initializer": "ones"})
        self.products = self.add_weight((self.items, self.items), name="products", **fixed)
        self.shared = self.add_weight((self.items, self.items), name="shared", **fixed)
        start = keras.initializers.Constant
        self.log_shrinkage = self.add_weight((), initializer=start(np.log(50.0)), name="log_shrinkage")
        self.log_doubt = self.add_weight((), initializer=start(np.log(0.2)), name="log_doubt")
        self.built = True

    @property
    def tables(self) -> list[Any]:
        """The variables that do not train."""
        return [self.center, self.bias, self.deviation, self.products, self.shared]

    def start(self, ratings: Ratings) -> None:
        """Take over what the labelled events of training say of pairs of items.

        Raises:
            ValueError: there is none.
        """
        if not len(ratings.values):
            raise ValueError("`ratings` must hold at least one labelled event; received none.")
        center, count = float(np.mean(ratings.values)), ratings.item_count
        left = ratings.values - center
        bias = _shrunk_means(left, ratings.items, count)
        left = left - bias[ratings.items]
        left = left - _shrunk_means(left, ratings.users, ratings.user_count)[ratings.users]
        spread, events = np.bincount(ratings.items, left**2, count), np.bincount(ratings.items, minlength=count)
        variance = (spread + BIAS_COUNT * np.mean(left**2)) / (events + BIAS_COUNT)
        products, shared = _pairs(ratings, left)
        for weight, values in zip(self.tables, (center, bias, np.sqrt(variance), products, shared), strict=True):
            weight.assign(values)

    def call(self, past: LabelHistory, candidates: Any, after: Any, own: Any = None) -> Any:
        """What each candidate's label is expected to be.

        Args:
            past: the history and its labels, [B, T].
            candidates: int [B, C].
            after: int [B, C], how many of the events each candidate may read.
            own: float [B, C], the candidates' own labels where `start` has counted them, NaN where they are not known:
                their part of the pairs is taken out again. None where it has not.

        Returns:
            float32 [B, C].
        """
        reads = tf.cast(tf.range(tf.shape(past.items)[1]) < after[..., None], tf.float32) * past.known[:, None]
        left = past.labels - self.center - ops.take(self.bias, past.items)
        user = tf.linalg.matvec(reads, left) / (tf.reduce_sum(reads, axis=-1) + BIAS_COUNT)
        expected = self.center + ops.take(self.bias, candidates) + user
        left = left[:, None] - user[..., None]
        place = candidates[..., None] * self.items + past.items[:, None]
        products, shared = (tf.gather(tf.reshape(pairs.value, [-1]), place) for pairs in (self.products, self.shared))
        if own is not None:
            mine = tf.where(tf.math.is_nan(own), tf.zeros_like(own), own - expected)[..., None]
            counted = tf.cast(~tf.math.is_nan(own), tf.float32)[..., None]
            products, shared = products - mine * left, tf.maximum(shared - counted, 0.0)
        alike = products / (shared + ops.exp(self.log_shrinkage))
        alike = alike / (
            ops.take(self.deviation, candidates)[..., None] * ops.take(self.deviation, past.items)[:, None]
        )
        weights = reads * tf.square(tf.nn.relu(alike))
        total = tf.reduce_sum(weights, axis=-1) + ops.exp(self.log_doubt)
        return expected + tf.reduce_sum(weights * left, axis=-1) / total

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "items": self.items}


def _shrunk_means(values: np.ndarray, members: np.ndarray, count: int) -> np.ndarray:
    """Mean of each member's values, pulled to 0, float64 [count]."""
    return np.bincount(members, values, count) / (np.bincount(members, minlength=count) + BIAS_COUNT)


def _pairs(ratings: Ratings, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over users of products of what two items leave, and users of both, float32 [I, I] each; 0 of one item."""
    count = ratings.item_count
    products, shared = np.zeros((count, count), np.float32), np.zeros((count, count), np.float32)
    order = np.argsort(ratings.users, kind="stable")
    for events in np.split(order, np.cumsum(np.bincount(ratings.users, minlength=ratings.user_count))[:-1]):
        rows, values = ratings.items[events], left[events].astype(np.float32)
        np.add.at(products, np.ix_(rows, rows), np.outer(values, values))
        np.add.at(shared, np.ix_(rows, rows), 1.0)
    for pairs in (products, shared):
        np.fill_diagonal(pairs, 0.0)
    return products, shared
