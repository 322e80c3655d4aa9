"""One training from first epoch to best weights: `fit` with the callbacks that a run needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrec.retrieval import TextTunedTwoTower
from tfrec.training.checkpoint import TrainingCheckpoint
from tfrec.training.seeding import EpochSeeds

logger = logging.getLogger(__name__)


def train(
    model: keras.Model,
    plan: Any,
    validation: tf.data.Dataset,
    checkpoint: TrainingCheckpoint,
    *,
    epochs: int,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> list[dict[str, float]]:
    """Train until the epochs are over or patience is; the model then has its best epoch's weights.

    Args:
        model: compiled.
        plan: the epoch plan of the training data, with `epoch` and `dataset()`.
        validation: batches with `RELEVANT`.
        checkpoint: where the state lies; a training that was interrupted goes on from there.
        epochs: at most so many, those of an earlier start included.
        seed: dropout and shuffling follow from it and the epoch.
        callbacks: further Keras callbacks; they see each epoch before it is stored.
        verbose: as for `fit`.

    Returns:
        The logs of each epoch, the resumed ones included.

    Raises:
        ValueError: `epochs` is below 1, the training diverges, or the checkpoint is damaged or another model's.
    """
    if epochs < 1:
        raise ValueError(f"`epochs` must be 1 or more; received {epochs}.")
    first = checkpoint.restore(model)
    if first and isinstance(model, TextTunedTwoTower):
        model.refresh()  # The vectors are no part of a checkpoint; every epoch ends with fresh ones.
    if first and not checkpoint.stopped:
        logger.info("training goes on after epoch %d", first)
    if first < epochs and not checkpoint.stopped:
        model.fit(
            plan.dataset(),
            validation_data=validation,
            epochs=epochs,
            initial_epoch=first,
            callbacks=[EpochSeeds(plan, seed), *callbacks, checkpoint],
            verbose=verbose,
            shuffle=False,
        )
    checkpoint.restore_best(model)
    return checkpoint.history
