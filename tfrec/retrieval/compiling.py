"""What the models of both stages ask of their towers and of `compile`, and steps that XLA never compiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras


def check_width(item_tower: Any, behavior_tower: Any) -> None:
    """Refuse towers that cannot be joined.

    Raises:
        ValueError: their widths `dim` differ.
    """
    if item_tower.dim != behavior_tower.dim:
        raise ValueError(
            f"the towers must have one width `dim`; received {item_tower.dim} of the item tower and "
            f"{behavior_tower.dim} of the behaviour tower."
        )


def check_compile(optimizer: Any, given: Mapping[str, Any]) -> None:
    """Refuse what `compile` cannot use.

    Args:
        optimizer: a `keras.optimizers` optimizer, its name or its configuration.
        given: the other arguments of `compile`.

    Raises:
        ValueError: an optimizer of another library, a loss or a metric.
    """
    if not isinstance(optimizer, (str, dict, keras.optimizers.Optimizer)):
        kind = type(optimizer)
        name = kind.__name__ if hasattr(keras.optimizers, kind.__name__) else "AdamW"
        raise ValueError(
            f"`optimizer` must be an optimizer of Keras 3; received {kind.__module__}.{kind.__name__}. "
            f"Use keras.optimizers.{name}."
        )
    wrong = [name for name in ("loss", "loss_weights", "metrics", "weighted_metrics") if given.get(name)]
    if wrong:
        raise ValueError(f"`{wrong[0]}` must be left out: the model has a loss and metrics of its own.")


def build_optimizer(model: keras.Model) -> None:
    """Build a compiled model's optimizer: built by the first step, it would have it traced twice.

    One that updates tables by row (`tfrec.training.RowWiseAdamW`) is told that the items' ids are one.
    """
    if hasattr(model.optimizer, "by_row") and model.item_tower.ids:
        model.optimizer.by_row([model.item_tower.embedding])
    model.optimizer.build(model.trainable_variables)


@contextlib.contextmanager
def without_xla(model: Any) -> Iterator[None]:
    """Let the model make steps that XLA does not compile: batches with user ids, strings, of which XLA knows none."""
    compiled, model.jit_compile = model.jit_compile, False
    try:
        yield
    finally:
        model.jit_compile = compiled
