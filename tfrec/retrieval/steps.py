"""A step of training, shared by the models of both stages: gradients of the loss, and of the loss under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrec.features import HISTORY, SHIFT
from tfrec.retrieval.replicas import total, totals
from tfrec.retrieval.slices import distinct_rows

ATTACKS = ("items", "history")


def training_step(model: Any, features: Mapping[str, Any], counted: Any, *, draws: bool = False) -> dict[str, Any]:
    """One step of the optimizer on a batch of features.

    Args:
        model: a compiled model with `compute_loss`, an `item_tower`, the share `adversarial` and what it attacks,
            `attack`.
        features: the batch.
        counted: bool tensor; how many of it are true is the weight of the batch's loss in the epoch's mean.
        draws: whether the objective draws items: replicas draw the same, whose gradients are then summed by row, or
            the norm by which an optimizer clips would depend on how many replicas there are.

    Where the batch is divided among replicas, each has its part of it, and all take the same step: that of the whole.

    Returns:
        The epoch's mean loss so far, as `loss`.
    """
    weights = model.trainable_weights
    if not model.adversarial:
        loss, gradients, _ = _gradients(model, features, weights)
    elif model.attack == "history":
        loss, gradients = _against_history(model, features, weights)
    else:
        loss, gradients = _against_items(model, features, weights)
    gradients = totals(gradients)
    if draws:
        gradients = [distinct_rows(each) if isinstance(each, tf.IndexedSlices) else each for each in gradients]
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    weight = tf.reduce_sum(tf.cast(counted, tf.float32))
    model._loss_tracker.update_state(total(loss), sample_weight=total(weight))
    return {"loss": model._loss_tracker.result()}


def bring_up_to_date(model: Any, rows: Any = None) -> None:
    """Let rows of the items' ids, int [N] or all, take the steps that they missed, where the optimizer updates by row.

    Such an optimizer (`tfrec.training.RowWiseAdamW`) leaves alone what a step does not read, and has two methods for
    before it is read: `catch_up` and `settle`.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and hasattr(optimizer, "catch_up"):
        optimizer.settle() if rows is None else optimizer.catch_up(model.item_tower.embedding, rows)


def check_adversarial(model: keras.Model, share: float, attack: str) -> tuple[float, str]:
    """The share by which vectors are attacked in training, and which.

    Raises:
        ValueError: the share is negative, the attack unknown, or the items have no id vectors that it could move.
    """
    if share < 0:
        raise ValueError(f"`adversarial` must be 0 or more; received {share}.")
    if attack not in ATTACKS:
        raise ValueError(f"`attack` must be one of {', '.join(ATTACKS)}; received {attack!r}.")
    if share and attack == "items" and not model.item_tower.ids:
        raise ValueError(
            "`adversarial` attacks the items' id vectors, and the item tower has none: `ids` is false. With "
            "attack='history' it needs none."
        )
    return share, attack


def _against_items(model: Any, features: Mapping[str, Any], weights: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The loss, and the mean of its gradients as it is and with the id vectors moved against it."""
    loss, gradients, _ = _gradients(model, features, weights)
    table = model.item_tower.embedding
    kept = tf.identity(table.value)
    length = model.adversarial * tf.reduce_mean(tf.norm(kept, axis=1))
    table.assign(kept + length * _direction(gradients[_place(table, weights)], kept.dtype))
    attacked = _gradients(model, features, weights)[1]
    table.assign(kept)
    return loss, [_mean(one, other) for one, other in zip(gradients, attacked, strict=True)]


def _against_history(model: Any, features: Mapping[str, Any], weights: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The same with the vectors of the history's events moved, each by the share of its own length."""
    nowhere = tf.zeros((*tf.unstack(tf.shape(features[HISTORY])), model.item_tower.dim))
    loss, gradients, slope = _gradients(model, {**features, SHIFT: nowhere}, weights, nowhere)
    shift = model.adversarial * _direction(slope, nowhere.dtype)
    attacked = _gradients(model, {**features, SHIFT: shift}, weights)[1]
    return loss, [_mean(one, other) for one, other in zip(gradients, attacked, strict=True)]


def shifted(vectors: Any, features: Mapping[str, Any]) -> Any:
    """The vectors of a history, float [B, T, D], under attack where the features carry `SHIFT`: in units of length."""
    shift = features.get(SHIFT)
    if shift is None:
        return vectors
    length = tf.stop_gradient(tf.norm(vectors, axis=-1, keepdims=True))
    return vectors + length * tf.cast(shift, vectors.dtype)


def _gradients(
    model: Any, features: Mapping[str, Any], weights: Sequence[Any], further: Any = None
) -> tuple[Any, list[Any], Any]:
    """The loss, its gradients in the weights, and that in a further tensor."""
    with tf.GradientTape() as tape:
        if further is not None:
            tape.watch(further)
        loss = model.compute_loss(features, training=True)
        scaled = model.optimizer.scale_loss(loss)
    found = tape.gradient(scaled, [*weights, *([] if further is None else [further])])
    return loss, found[: len(weights)], None if further is None else found[-1]


def _direction(slope: Any, dtype: Any) -> Any:
    """Unit vectors along which the loss grows fastest, [..., D]; zero where it has no gradient."""
    slope = tf.cast(tf.convert_to_tensor(slope), dtype)
    return tf.math.divide_no_nan(slope, tf.norm(slope, axis=-1, keepdims=True))


def _place(table: Any, weights: Sequence[Any]) -> int:
    return next(place for place, weight in enumerate(weights) if weight is table)


def _mean(one: Any, other: Any) -> Any:
    return None if one is None else (tf.convert_to_tensor(one) + tf.convert_to_tensor(other)) / 2
