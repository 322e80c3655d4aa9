"""Randomness that follows from (seed, epoch) alone, so that a resumed training equals an undisturbed one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class EpochSeeds(keras.callbacks.Callback):
    """Sets the shuffle and every dropout and sampling seed at the start of each epoch.

    Keras's generators count on from draw to draw, and a dataset's shuffle from pass to pass: after a restart both
    would begin anew. Here the state at the start of an epoch is a function of the seed and the epoch.
    """

    def __init__(self, plan: Any, seed: int) -> None:
        """Take the epoch plan of the training data (`Dataset.train_plan`) and the run's seed."""
        super().__init__()
        self.plan, self.seed = plan, seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set the plan's epoch, and each generator's state."""
        self.plan.epoch = epoch
        states = [v for v in self.model.non_trainable_variables if v.name == "seed_generator_state"]
        for number, state in enumerate(states):
            draw = np.random.SeedSequence((self.seed, epoch, number)).generate_state(2)
            state.assign(draw.astype(state.dtype))
