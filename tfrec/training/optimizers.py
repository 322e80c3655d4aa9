"""AdamW with a rate of its own for a pretrained part of the model; used where the text model trains with the towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfrec")
class TwoRateAdamW(keras.optimizers.AdamW):
    """AdamW; some variables have another learning rate and decay, under the same schedule.

    The rate of a slow variable is `slow_rate / learning_rate` times the current one, so that warm-up and decay of the
    rate hold for it too. Source: discriminative rates, Howard and Ruder, arXiv:1801.06146.
    """

    def __init__(
        self, learning_rate: Any = 1e-3, *, slow_factor: float = 1.0, slow_decay: float = 0.0, **kwargs: Any
    ) -> None:
        """Choose the rates; `slow` then names the variables.

        Args:
            learning_rate: number or schedule, of all other variables.
            slow_factor: rate of the slow variables, in units of `learning_rate`.
            slow_decay: weight decay of the slow variables.
            **kwargs: as for `keras.optimizers.AdamW`.

        Raises:
            ValueError: the factor is not positive, or the decay negative.
        """
        if slow_factor <= 0 or slow_decay < 0:
            raise ValueError(
                f"`slow_factor` must be positive and `slow_decay` 0 or more; received {slow_factor} and {slow_decay}."
            )
        super().__init__(learning_rate, **kwargs)
        self.slow_factor, self.slow_decay = slow_factor, slow_decay
        self._slow: frozenset[int] = frozenset()

    def slow(self, variables: Sequence[Any]) -> TwoRateAdamW:
        """Name the slow variables, before the optimizer is built; the optimizer."""
        self._slow = frozenset(self._var_key(variable) for variable in variables)
        return self

    def _use_weight_decay(self, variable: Any) -> bool:
        """Keras's hook: not for slow variables, whose decay `update_step` sees to; else as Keras was told."""
        return self._var_key(variable) not in self._slow and super()._use_weight_decay(variable)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable at its own rate."""
        if self._var_key(variable) in self._slow:
            learning_rate = learning_rate * self.slow_factor
            self.assign_sub(variable, variable * self.slow_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the variables are named anew."""
        return {**super().get_config(), "slow_factor": self.slow_factor, "slow_decay": self.slow_decay}
