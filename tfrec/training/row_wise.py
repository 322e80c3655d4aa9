"""AdamW that updates of a large table only the rows that a step read; used where the objective samples its negatives.

Keras's optimizers make of a sparse gradient a dense one: a step then takes longer the more items there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrec.retrieval.slices import distinct_rows

# Rows that are brought up to date at a time where all are: 32 MB of each table that is 128 wide.
ROWS_AT_ONCE = 2**16
_UNSUPPORTED = {"gradient_accumulation_steps": None, "use_ema": False, "clipvalue": None, "loss_scale_factor": None}


@keras.saving.register_keras_serializable(package="tfrec")
class RowWiseAdamW(keras.optimizers.AdamW):
    """AdamW; of some variables, the tables, a step touches only the rows that have a gradient.

    A row without one keeps its moments and its place until it is read again, and the steps that it missed are then made
    up for at once, as dense Adam would have taken them without a gradient: the moments decay, and the row moves on by
    what is left of its momentum, a geometric series. Learning rate and bias correction count as constant over the
    twenty steps or so that a momentum lasts. So it differs from the usual sparse Adam (`LazyAdam` of TensorFlow
    Addons), under which a row that is rarely read moves a tenth as far for each of its gradients. Weight decay is the
    exception: a row decays at the steps that touch it alone.

    Source: Adam, arXiv:1412.6980, algorithm 1; decoupled decay, arXiv:1711.05101; updates of sparse rows that are made
    up for in closed form at the next touch, Duchi and Singer, JMLR 10 (2009), section 6 ("lazy updates").
    """

    def __init__(self, learning_rate: Any = 1e-3, **kwargs: Any) -> None:
        """Choose the rates; `by_row` then names the tables, as `TwoTower.compile` does.

        Args:
            learning_rate: number or schedule.
            **kwargs: as for `keras.optimizers.AdamW`.

        Raises:
            ValueError: an argument that would touch all rows at each step, or `amsgrad`; momentum that outlasts the
                second moment, `beta_1 ** 2 >= beta_2`.
        """
        wrong = [name for name, off in _UNSUPPORTED.items() if kwargs.get(name, off) != off]
        wrong += ["amsgrad"] if kwargs.get("amsgrad") else []
        if wrong:
            raise ValueError(
                f"`{wrong[0]}` is not for row-wise updates, which leave most rows alone; received "
                f"{kwargs[wrong[0]]!r}. Use keras.optimizers.AdamW."
            )
        super().__init__(learning_rate, **kwargs)
        if self.beta_1**2 >= self.beta_2:
            raise ValueError(f"`beta_1` squared must be below `beta_2`; received {self.beta_1} and {self.beta_2}.")
        self._tables: list[Any] = []
        self._keys: frozenset[Any] = frozenset()

    def by_row(self, variables: Sequence[Any]) -> RowWiseAdamW:
        """Name the tables, of two dimensions, before the optimizer is built; the optimizer."""
        self._tables, self._keys = list(variables), frozenset(self._var_key(variable) for variable in variables)
        return self

    def build(self, variables: Sequence[Any]) -> None:
        """Create the moments, and for each row of a table the last step that it has taken."""
        if self.built:
            return
        super().build(variables)
        self._last = {
            self._var_key(table): self.add_variable((table.shape[0],), dtype="int64", name="last_step")
            for table in self._tables
        }

    def catch_up(self, variable: Any, rows: Any) -> None:
        """Let rows of a table, int [N], take the steps that they missed; before they are read. Nothing of others.

        Of several replicas, each moves in its own copy the rows that any of them names, in the same order: the last bit
        of a power depends on where in a tensor it is taken, and copies must stay alike to the last bit.
        """
        if not self.built or self._var_key(variable) not in self._keys:
            return
        table = variable.value if isinstance(variable, keras.Variable) else variable

        def move(copy: Any, rows: Any) -> None:
            self._write(copy, rows, *self._current(copy, rows), self.iterations)

        def move_all(strategy: Any, rows: Any) -> None:
            strategy.extended.update(table, move, args=(rows,), group=False)

        context = tf.distribute.get_replica_context()  # None where what is done is done to all copies.
        if context is None or context.num_replicas_in_sync == 1:
            move(table, rows)
        else:
            rows = tf.unique(context.all_gather(rows, axis=0)).y
            tf.__internal__.distribute.interim.maybe_merge_call(move_all, context.strategy, rows)

    def settle(self) -> None:
        """Let all rows of all tables take the steps that they missed; before the tables are read as they are."""
        if not self.built:
            return
        for table in self._tables:
            for start in range(0, table.shape[0], ROWS_AT_ONCE):
                self.catch_up(table, tf.range(start, min(start + ROWS_AT_ONCE, table.shape[0])))

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update the variables; gradients of tables keep to their rows, each once."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        kept = [self._reduced(one, variable) for one, variable in zip(grads, variables, strict=True)]
        super().apply(kept, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable, of a table the rows of the gradient."""
        if self._var_key(variable) not in self._keys:
            super().update_step(gradient, variable, learning_rate)
            return
        rows, values = gradient.indices, tf.cast(gradient.values, variable.dtype)
        places, momentum, velocity = self._current(variable, rows)
        momentum += (values - momentum) * (1 - self.beta_1)
        velocity += (tf.square(values) - velocity) * (1 - self.beta_2)
        rate = tf.cast(learning_rate, variable.dtype)
        if self.weight_decay is not None and super()._use_weight_decay(variable):
            places -= places * self.weight_decay * rate
        step = self._corrected(rate, tf.cast(self.iterations + 1, variable.dtype))
        places -= step * momentum / (tf.sqrt(velocity) + self.epsilon)
        self._write(variable, rows, places, momentum, velocity, self.iterations + 1)

    def _use_weight_decay(self, variable: Any) -> bool:
        """Keras's hook: not for tables, whose decay `update_step` sees to; else as Keras was told."""
        return self._var_key(variable) not in self._keys and super()._use_weight_decay(variable)

    def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
        """Keras's hook; the norm of a sparse gradient is that of its rows."""
        if not self.global_clipnorm:
            return super()._clip_gradients(grads)
        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0]

    def _reduced(self, gradient: Any, variable: Any) -> Any:
        """The gradient of a table as distinct rows, any other one as a whole."""
        if self._var_key(variable) not in self._keys:
            return None if gradient is None else tf.convert_to_tensor(gradient)
        if gradient is not None and not isinstance(gradient, tf.IndexedSlices):
            raise ValueError(
                f"{variable.path} is updated by row, and its gradient is of all {variable.shape[0]} rows: the step "
                "reads them all. Use keras.optimizers.AdamW, or an objective that samples."
            )
        return None if gradient is None else distinct_rows(gradient)

    def _current(self, variable: Any, rows: Any) -> tuple[Any, Any, Any]:
        """Rows of a table and of its moments, [N, D] each, as they are once they have taken the steps they missed."""
        table, momentum, velocity, last = self._parts(variable)
        taken, dtype = tf.gather(last, rows), table.dtype
        missed = tf.cast(self.iterations - taken, dtype)[:, None]
        kept, spread = tf.gather(momentum, rows), tf.gather(velocity, rows)
        ratio = self.beta_1 / self.beta_2**0.5
        series = ratio * (1 - tf.pow(tf.cast(ratio, dtype), missed)) / (1 - ratio)
        middle = tf.cast(taken, dtype)[:, None] + tf.clip_by_value((missed + 1) / 2, 1.0, 1 / (1 - ratio))
        rate = self._corrected(tf.cast(self.learning_rate, dtype), middle)
        moved = rate * series * kept / (tf.sqrt(spread) + self.epsilon)
        first, second = (tf.pow(tf.cast(beta, dtype), missed) for beta in (self.beta_1, self.beta_2))
        return tf.gather(table, rows) - moved, kept * first, spread * second

    def _corrected(self, rate: Any, step: Any) -> Any:
        """The rate with Adam's corrections for moments that began at 0, at a step counted from 1."""
        first, second = (1 - tf.pow(tf.cast(beta, step.dtype), step) for beta in (self.beta_1, self.beta_2))
        return rate * tf.sqrt(second) / first

    def _write(self, variable: Any, rows: Any, places: Any, momentum: Any, velocity: Any, step: Any) -> None:
        """Set rows of a table and of its moments, and up to which step they are; a row may come twice, alike."""
        steps = tf.fill(tf.shape(rows), tf.cast(step, tf.int64))
        for part, values in zip(self._parts(variable), (places, momentum, velocity, steps), strict=True):
            part.scatter_update(tf.IndexedSlices(values, rows))

    def _parts(self, variable: Any) -> tuple[Any, Any, Any, Any]:
        """A table, its moments and the steps of its rows, as variables of TensorFlow."""
        place, last = self._get_variable_index(variable), self._last[self._var_key(variable)]
        parts = variable, self._momentums[place], self._velocities[place], last
        return tuple(part.value if isinstance(part, keras.Variable) else part for part in parts)
