"""Latent factors as an input of the ranker: samples of the items' factors, a user's folded in from the history."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrec.ranking.factor_sampling import FactorSamples
from tfrec.ranking.label_history import LabelHistory

# Users a history, up to which each one's sums are taken by themselves: one product of matrices, and not running sums.
FEW_STATES = 4


@keras.saving.register_keras_serializable(package="tfrec")
class LatentFactors(keras.layers.Layer):
    """Bayesian matrix factorisation: K samples of the items' biases and factors; a history gives its user's.

    Given a sample, the bias and the factors of a user have a normal distribution that the labels of the history say in
    closed form, so that new users and new labels are read without training; who the user is plays no part. An empty
    history gives the mean of all users. The weights are those of `sample_factors`; gradients do not change them.
    Source: Salakhutdinov and Mnih, "Bayesian probabilistic matrix factorization using Markov chain Monte Carlo" (2008).
    """

    def __init__(self, items: int, rank: int, samples: int, **kwargs: Any) -> None:
        """Build the layer; `start` then gives it the samples.

        Args:
            items: rows I of the catalogue, the padding row 0 included.
            rank: number R of factors.
            samples: number K of samples.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: one of them is below 1.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        for name, value in (("items", items), ("rank", rank), ("samples", samples)):
            if value < 1:
                raise ValueError(f"`{name}` must be 1 or more; received {value}.")
        self.items, self.rank, self.samples = items, rank, samples

    def build(self, input_shape: Any = None) -> None:
        """Create the weights, which do not train; the shapes are known from the constructor."""
        count, width = self.samples, 1 + self.rank
        shapes = {"center": (), "item_factors": (count, self.items, width), "precision": (count, width, width),
                  "mean": (count, width), "noise": (count,)}  # fmt: skip
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(shape, initializer="zeros", trainable=False, name=name))
        self.built = True

    @property
    def tables(self) -> list[Any]:
        """All variables."""
        return [self.center, self.item_factors, self.precision, self.mean, self.noise]

    def start(self, found: FactorSamples) -> None:
        """Take over the samples."""
        for weight, values in zip(
            self.tables, (found.center, found.items, found.precision, found.mean, found.noise), strict=True
        ):
            weight.assign(values)

    def call(self, past: LabelHistory, candidates: Any, after: Any, own: Any = None) -> Any:
        """What each candidate's label is expected to be.

        Args:
            past: the history and its labels, [B, T].
            candidates: int [B, C].
            after: int [B, C], how many of the events each candidate may read.
            own: float [B, C], the candidates' own labels where the samples have been drawn from them, NaN where they
                are not known; None where the samples have not. Samples then count by one over the density that they
                give to that label: the expectation is that of samples drawn without it, so that other parts of a model
                do not learn to trust what has seen the answer. Source: Gelfand, Dey and Chang, "Model determination
                using predictive distributions" (1992).

        Returns:
            float32 [B, C].
        """
        stride = tf.shape(past.labels)[1] + 1
        keys = tf.range(tf.shape(after)[0])[:, None] * stride + after
        distinct, places = tf.unique(tf.reshape(keys, [-1]))  # Candidates that read the same events share a user.
        states = tf.stack([distinct // stride, distinct % stride], axis=1)
        places = tf.reshape(places, tf.shape(after))

        def one(sample: Any) -> tuple[Any, Any]:
            return self._expected(sample, past, candidates, (states, places))

        kinds = (tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, None), tf.float32))
        found, variance = tf.map_fn(one, tf.range(self.samples), fn_output_signature=kinds)
        if own is None:
            return tf.reduce_mean(found, axis=0)
        surprise = 0.5 * (tf.math.log(variance) + tf.square(own - found) / variance)
        weights = tf.nn.softmax(tf.where(tf.math.is_nan(surprise), tf.zeros_like(surprise), surprise), axis=0)
        return tf.reduce_sum(weights * found, axis=0)

    def _expected(self, sample: Any, past: LabelHistory, candidates: Any, asked: tuple[Any, Any]) -> tuple[Any, Any]:
        """Mean and variance of the candidates' labels given one sample, float32 [B, C] each."""
        states, places = asked
        user, covariance = self._users(sample, past, states)
        judged = self._rows(sample, candidates)
        read = tf.concat([tf.ones_like(judged[..., :1]), judged[..., 1:]], axis=-1)
        found = self.center + judged[..., 0] + tf.reduce_sum(read * tf.gather(user, places), axis=-1)
        spread = tf.linalg.matvec(tf.gather(covariance, places), read)
        return found, 1.0 / self.noise.value[sample] + tf.reduce_sum(read * spread, axis=-1)

    def _users(self, sample: Any, past: LabelHistory, states: Any) -> tuple[Any, Any]:
        """Mean [S, 1 + R] and covariance [S, 1 + R, 1 + R] of the users after some events, (row, events) int [S, 2]."""
        width = 1 + self.rank
        events, known = self._rows(sample, past.items), past.known[..., None]
        read = known * tf.concat([tf.ones_like(events[..., :1]), events[..., 1:]], axis=-1)
        left = known * (past.labels[..., None] - self.center - events[..., :1])
        noise, precision = self.noise.value[sample], self.precision.value[sample]
        products, sums = _sums_before(read, left, states)
        vector = noise * sums + tf.linalg.matvec(precision, self.mean.value[sample])
        roots = tf.linalg.cholesky(noise * products + precision)
        covariance = tf.linalg.cholesky_solve(roots, tf.eye(width, batch_shape=[tf.shape(states)[0]]))
        return tf.linalg.matvec(covariance, vector), covariance

    def _rows(self, sample: Any, items: Any) -> Any:
        """Biases and factors of some items in a sample, [..., 1 + R]."""
        place = tf.stack([tf.broadcast_to(sample, tf.shape(items)), items], axis=-1)
        return tf.ensure_shape(tf.gather_nd(self.item_factors.value, place), (None, None, 1 + self.rank))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **{name: getattr(self, name) for name in ("items", "rank", "samples")}}


def _sums_before(read: Any, left: Any, states: Any) -> tuple[Any, Any]:
    """Sums over the first events of a row: of outer products, and of products with what is left.

    Args:
        read: float [B, T, W].
        left: float [B, T, 1].
        states: int [S, 2], row and number of events.

    Returns:
        float [S, W, W] and [S, W].
    """
    width = read.shape[-1]

    def few() -> tuple[Any, Any]:
        there = tf.cast(tf.range(tf.shape(read)[1]) < states[:, 1:], tf.float32)[..., None]
        events, values = tf.gather(read, states[:, 0]) * there, tf.gather(left, states[:, 0])
        return tf.matmul(events, events, transpose_a=True), tf.matmul(events, values, transpose_a=True)[..., 0]

    def many() -> tuple[Any, Any]:
        products = tf.reshape(read[..., :, None] * read[..., None, :], (*tf.unstack(tf.shape(read)[:2]), width**2))
        both = tf.concat([products, read * left], axis=-1)
        sums = tf.gather_nd(tf.pad(tf.cumsum(both, axis=1), ((0, 0), (1, 0), (0, 0))), states)
        return tf.reshape(sums[:, : width**2], (-1, width, width)), sums[:, width**2 :]

    return tf.cond(tf.shape(states)[0] <= FEW_STATES * tf.shape(read)[0], few, many)
