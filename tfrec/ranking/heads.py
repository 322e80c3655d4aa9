"""Heads of a ranker: what is predicted of a candidate, a probability or a rating, and the loss that it learns by."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.retrieval.tfrs_objective import recommenders

# Probabilities between which the area under the ROC curve is summed up: alike in logits, 0.03 apart, down to 3e-7.
THRESHOLDS = 1 / (1 + np.exp(-np.linspace(-15, 15, 999)))


class Head(keras.layers.Layer):
    """A number a candidate, from what the interactions found; `value` makes of it what is predicted.

    The loss is that of `tfrs.tasks.Ranking`, a mean over the candidates whose label is known.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (..., W)."""
        self.dense = keras.layers.Dense(1, dtype="float32", name="logit")
        self.dense.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        """Float [B, C, W] -> logits, float32 [B, C]."""
        return ops.squeeze(self.dense(x), axis=-1)

    @abc.abstractmethod
    def value(self, logits: Any) -> Any:
        """What is predicted, float32, of the shape of `logits`."""

    @abc.abstractmethod
    def start(self, labels: np.ndarray, *, expected: bool = False) -> None:
        """Let the head begin at the mean of the labels in training, float [N].

        Args:
            labels: the labels.
            expected: whether the last input is the logit of what is expected already: it begins there then.

        Raises:
            ValueError: nothing can be learnt from them.
        """

    @abc.abstractmethod
    def loss(self, labels: Any, logits: Any) -> Any:
        """Mean loss, float32 [], of N known labels, float32 [N]; 0 where N is 0."""

    @abc.abstractmethod
    def metrics(self, prefix: str = "") -> list[keras.metrics.Metric]:
        """Metrics of labels and predictions, their names after a prefix."""

    def _begin(self, logit: float, shift: float, *, expected: bool) -> None:
        """Begin at a logit, or at that of the last input, and what lies above it."""
        self.dense.bias.assign([shift if expected else logit + shift])
        if expected:
            kernel = self.dense.kernel.numpy()
            kernel[-1] = 1.0
            self.dense.kernel.assign(kernel)

    def _check(self, labels: np.ndarray) -> None:
        if not len(labels):
            raise ValueError(f"The label {self.name!r} is known of no event in training: there is nothing to learn.")


@keras.saving.register_keras_serializable(package="tfrec")
class BinaryHead(Head):
    """The probability of a yes: a click, a purchase; binary cross-entropy.

    Where a yes counts `positive_weight` times, the logits are learnt too high by its logarithm; predictions are lowered
    by that, so that they stay probabilities. Source: King and Zeng, "Logistic regression in rare events data" (2001).
    """

    def __init__(self, positive_weight: float = 1.0, **kwargs: Any) -> None:
        """Build the head; its name is the label's.

        Args:
            positive_weight: how often an event with the label 1 counts.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: the weight is not positive.
        """
        super().__init__(**kwargs)
        if not positive_weight > 0:
            raise ValueError(f"`positive_weight` must be above 0; received {positive_weight}.")
        self.positive_weight = positive_weight
        self._task = ranking_task(_cross_entropy)

    def value(self, logits: Any) -> Any:
        """Probabilities, 0 to 1."""
        return ops.sigmoid(logits - float(np.log(self.positive_weight)))

    def start(self, labels: np.ndarray, *, expected: bool = False) -> None:
        """Begin at the share of yes; see `Head.start`.

        Raises:
            ValueError: all labels are the same.
        """
        self._check(labels)
        share = float(np.mean(labels))
        if share in (0.0, 1.0):
            raise ValueError(
                f"The label {self.name!r} is {int(share)} for all {len(labels)} events in training: a log that holds "
                "both is needed to tell them apart."
            )
        self._begin(np.log(share / (1 - share)), np.log(self.positive_weight), expected=expected)

    def loss(self, labels: Any, logits: Any) -> Any:
        """Binary cross-entropy, nats."""
        return self._task(labels, logits, 1.0 + (self.positive_weight - 1.0) * labels)

    def metrics(self, prefix: str = "") -> list[keras.metrics.Metric]:
        """Log loss in nats; area under the ROC curve, from thresholds that tell rare labels apart, too."""
        return [
            keras.metrics.BinaryCrossentropy(name=prefix + "log_loss"),
            keras.metrics.AUC(thresholds=THRESHOLDS.tolist(), name=prefix + "auc"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "positive_weight": self.positive_weight}


@keras.saving.register_keras_serializable(package="tfrec")
class RatingHead(Head):
    """A number in a range; mean squared error, in units of the whole range."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        """Build the head; its name is the label's.

        Args:
            low: the lowest rating.
            high: the highest one.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: the range is empty.
        """
        super().__init__(**kwargs)
        if not low < high:
            raise ValueError(f"`low` must be less than `high`; received {low} and {high}.")
        self.low, self.high = low, high
        self._task = ranking_task(tf.math.squared_difference)

    def value(self, logits: Any) -> Any:
        """Ratings, between `low` and `high`."""
        return self.low + (self.high - self.low) * ops.sigmoid(logits)

    def start(self, labels: np.ndarray, *, expected: bool = False) -> None:
        """Begin at the mean rating; see `Head.start`.

        Raises:
            ValueError: all ratings are the same.
        """
        self._check(labels)
        if np.min(labels) == np.max(labels):
            raise ValueError(
                f"The label {self.name!r} is {labels[0]:g} for all {len(labels)} events in training: there is nothing "
                "to tell apart."
            )
        share = np.clip((float(np.mean(labels)) - self.low) / (self.high - self.low), 0.01, 0.99)
        self._begin(np.log(share / (1 - share)), 0.0, expected=expected)

    def loss(self, labels: Any, logits: Any) -> Any:
        """Mean squared error; the range counts as 1."""
        return self._task((labels - self.low) / (self.high - self.low), ops.sigmoid(logits), tf.ones_like(labels))

    def metrics(self, prefix: str = "") -> list[keras.metrics.Metric]:
        """Root of the mean squared error and mean absolute error, in the units of the rating."""
        return [
            keras.metrics.RootMeanSquaredError(name=prefix + "rmse"),
            keras.metrics.MeanAbsoluteError(name=prefix + "mae"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "low": self.low, "high": self.high}


def checked_names(heads: Sequence[Head]) -> list[str]:
    """The labels of some heads, which outputs of an exported model will be called.

    Raises:
        ValueError: there is none, two of one name, or a name that is none.
    """
    names = [head.name for head in heads]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`heads` must hold one head a label, at least one; received {names}.")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(f"`heads`: a label's name is letters, digits, '_', '.' and '-'; received {name!r}.")
    return names


def ranking_task(losses: Callable[[Any, Any], Any]) -> Any:
    """`tfrs.tasks.Ranking` with a weighted mean of losses.

    Args:
        losses: (labels, predictions), float [N] -> float [N].

    Returns:
        (labels, predictions, weights), float32 [N] -> float32 []: sum of the weighted losses over N; 0 for N = 0.
    """

    def mean(y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        weighted = sample_weight * losses(y_true, y_pred)
        return tf.math.divide_no_nan(tf.reduce_sum(weighted), tf.cast(tf.size(weighted), weighted.dtype))

    task = recommenders().tasks.Ranking(loss=mean)
    # Keras 3 runs its steps without autograph, which the task needs.
    return tf.function(
        lambda labels, predictions, weights: task(labels, predictions, sample_weight=weights, compute_metrics=False)
    )


def _cross_entropy(labels: Any, logits: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
