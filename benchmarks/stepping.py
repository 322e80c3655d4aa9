"""Steps of training one at a time, as `fit` takes them, so that a clock can stand between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrec import build, config
from tfrec.data import Dataset, EpochPlan


def compiled(settings: config.Pipeline, data: Dataset) -> tuple[keras.Model, EpochPlan]:
    """The model of a pipeline as its training begins, and the plan of its batches."""
    training = build.decided_training(data, settings.training)
    noise = training.disturbed.model_dump() if training.disturbed is not None else {}
    plan = data.train_plan(training.tokens_per_batch, settings.seed, **noise)
    model = build.two_tower(data, settings.model, training=training, seed=settings.seed)
    optimizer = build.optimizer(training, len(plan), model=model)
    model.compile(optimizer, jit_compile=training.jit, adversarial=training.adversarial, attack=training.attack)
    return model, plan


def step(model: keras.Model) -> Any:
    """A function that takes one step on a batch, and returns when it is done."""
    traced = tf.function(model.train_step, reduce_retracing=True, jit_compile=model.jit_compile)
    return lambda batch: traced(batch)["loss"].numpy()


def played(plan: EpochPlan, count: int) -> Iterator[dict[str, tf.Tensor]]:
    """So many batches, of as many epochs as it takes."""
    left = count
    while left:
        for batch in plan.dataset().take(left):
            yield batch
            left -= 1
