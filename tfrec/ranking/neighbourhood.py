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

    A label is centre + item bias + user bias + what is left; two items correlate where the same users left the same. Of
    an item that a user met several times the mean is what is left. Sums of products and of users, a pair of items each,
    are weights that do not train, so that the part of a training candidate's user can be taken out of them. How much a
    correlation of few users shrinks, and how many neighbours it takes to be believed, is learnt. Source: Koren, "Factor
    in the neighbors: scalable and accurate collaborative filtering" (2010), sections 2 and 3.
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
        users, items, left = _by_item(ratings, left)
        spread, known = np.bincount(items, left**2, count), np.bincount(items, minlength=count)
        variance = (spread + BIAS_COUNT * np.mean(left**2)) / (known + BIAS_COUNT)
        products, shared = _pairs(users, items, left, count)
        for weight, values in zip(self.tables, (center, bias, np.sqrt(variance), products, shared), strict=True):
            weight.assign(values)

    def call(self, past: LabelHistory, candidates: Any, after: Any, own: Any = None) -> Any:
        """What each candidate's label is expected to be.

        Args:
            past: the history and its labels, [B, T].
            candidates: int [B, C].
            after: int [B, C], how many of the events each candidate may read.
            own: float [B, C], the candidates' own labels where `start` has counted them, NaN where they are not known:
                what the user left of the candidate's item, as far as the batch has it, is taken out of the pairs
                again. None where it has not.

        Returns:
            float32 [B, C].
        """
        reads = tf.cast(tf.range(tf.shape(past.items)[1]) < after[..., None], tf.float32) * past.known[:, None]
        left = past.labels - self.center - ops.take(self.bias, past.items)
        user = tf.linalg.matvec(reads, left) / (tf.reduce_sum(reads, axis=-1) + BIAS_COUNT)
        expected = self.center + ops.take(self.bias, candidates) + user
        place = candidates[..., None] * self.items + past.items[:, None]
        products, shared = (tf.gather(tf.reshape(pairs.value, [-1]), place) for pairs in (self.products, self.shared))
        if own is not None:
            counted = ~tf.math.is_nan(own)
            mine = tf.where(counted, own - self.center - ops.take(self.bias, candidates), tf.zeros_like(own))
            mine, other = _means_of_items(past, left, candidates, mine, counted, after)
            counted = tf.cast(counted, tf.float32)[..., None]
            part = (mine - user)[..., None] * (other[:, None] - user[..., None])
            products, shared = products - counted * part, tf.maximum(shared - counted, 0.0)
        left = left[:, None] - user[..., None]
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


def _by_item(ratings: Ratings, left: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and the mean of what is left of each pair of them that there is, [P] each, by user."""
    pairs, place, events = np.unique(
        ratings.users.astype(np.int64) * ratings.item_count + ratings.items, return_inverse=True, return_counts=True
    )
    return pairs // ratings.item_count, pairs % ratings.item_count, np.bincount(place, left) / events


def _pairs(users: np.ndarray, items: np.ndarray, left: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over users of products of what two items leave, and users of both, float32 [I, I] each; 0 of one item.

    Args:
        users: int [P], ascending.
        items: int [P], none twice of one user.
        left: float [P].
        count: number I of items.
    """
    products, shared = np.zeros((count, count), np.float32), np.zeros((count, count), np.float32)
    cuts = np.flatnonzero(np.diff(users)) + 1
    for rows, values in zip(np.split(items, cuts), np.split(left.astype(np.float32), cuts), strict=True):
        both = np.ix_(rows, rows)
        products[both] += np.outer(values, values)
        shared[both] += 1.0
    for pairs in (products, shared):
        np.fill_diagonal(pairs, 0.0)
    return products, shared


def _means_of_items(
    past: LabelHistory, left: Any, candidates: Any, own: Any, counted: Any, after: Any
) -> tuple[Any, Any]:
    """What the user's labels of each candidate's item and of each past item are above its bias, means over its events.

    The events of a user that a batch has are the candidates and, of the history, those before the first candidate:
    later ones are candidates themselves.

    Args:
        past: the history, [B, T].
        left: float32 [B, T], its labels above the biases.
        candidates: int [B, C].
        own: float32 [B, C], the candidates' labels above the biases; 0 where it is not known.
        counted: bool [B, C], where it is.
        after: int [B, C], how many of the events each candidate may read.

    Returns:
        float32 [B, C] and [B, T]; an item without such an event has the label of the history.
    """
    first = tf.reduce_min(tf.where(counted, after, tf.int32.max), axis=1, keepdims=True)
    earlier = tf.cast(tf.range(tf.shape(left)[1]) < first, tf.float32) * past.known
    weights = tf.concat([tf.cast(counted, tf.float32), earlier], axis=1)
    items, values = tf.concat([candidates, past.items], axis=1), tf.concat([own, left], axis=1)

    def means(asked: Any, otherwise: Any) -> Any:
        same = tf.cast(asked[..., None] == items[:, None], tf.float32) * weights[:, None]
        events = tf.reduce_sum(same, axis=-1)
        return tf.where(events > 0, tf.linalg.matvec(same, values) / tf.maximum(events, 1.0), otherwise)

    return means(candidates, own), means(past.items, left)
