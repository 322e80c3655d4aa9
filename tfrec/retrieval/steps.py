"""A step of training, shared by the models of both stages: gradients of the loss, and of the loss under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


def training_step(model: Any, features: Mapping[str, Any], counted: Any) -> dict[str, Any]:
    """One step of the optimizer on a batch of features.

    Args:
        model: a compiled model with `compute_loss`, an `item_tower` and the share `adversarial`.
        features: the batch.
        counted: bool tensor; how many of it are true is the weight of the batch's loss in the epoch's mean.

    Returns:
        The epoch's mean loss so far, as `loss`.
    """
    weights = model.trainable_weights
    loss, gradients = _gradients(model, features, weights)
    if model.adversarial:
        table = model.item_tower.embedding
        kept = tf.identity(table.value)
        table.assign(kept + _attack(kept, gradients[_place(table, weights)], model.adversarial))
        attacked = _gradients(model, features, weights)[1]
        table.assign(kept)
        gradients = [_mean(one, other) for one, other in zip(gradients, attacked, strict=True)]
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    model._loss_tracker.update_state(loss, sample_weight=tf.reduce_sum(tf.cast(counted, tf.float32)))
    return {"loss": model._loss_tracker.result()}


def check_adversarial(model: keras.Model, share: float) -> float:
    """The share by which id vectors are attacked in training.

    Raises:
        ValueError: it is negative, or the items have no id vectors.
    """
    if share < 0:
        raise ValueError(f"`adversarial` must be 0 or more; received {share}.")
    if share and not model.item_tower.ids:
        raise ValueError("`adversarial` attacks the items' id vectors, and the item tower has none: `ids` is false.")
    return share


def _gradients(model: Any, features: Mapping[str, Any], weights: Sequence[Any]) -> tuple[Any, list[Any]]:
    with tf.GradientTape() as tape:
        loss = model.compute_loss(features, training=True)
        scaled = model.optimizer.scale_loss(loss)
    return loss, tape.gradient(scaled, weights)


def _attack(table: Any, gradient: Any, share: float) -> Any:
    """What is added to each row so that the loss grows fastest, float [I, D]; rows without a gradient stay."""
    slope = tf.cast(tf.convert_to_tensor(gradient), table.dtype)
    length = share * tf.reduce_mean(tf.norm(table, axis=1))
    return length * tf.math.divide_no_nan(slope, tf.norm(slope, axis=1, keepdims=True))


def _place(table: Any, weights: Sequence[Any]) -> int:
    return next(place for place, weight in enumerate(weights) if weight is table)


def _mean(one: Any, other: Any) -> Any:
    return None if one is None else (tf.convert_to_tensor(one) + tf.convert_to_tensor(other)) / 2
