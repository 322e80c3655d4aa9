"""How the losses of several heads become one: stated weights, or learnt ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfrec")
class LossWeights(keras.layers.Layer):
    """A weighted sum of losses.

    Learnt weights are those of homoscedastic uncertainty: sum of exp(-s) * loss + s / 2, s being a head's log variance.
    Source: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", arXiv:1705.07115.
    """

    def __init__(self, labels: Sequence[str], weights: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        """Build the layer.

        Args:
            labels: names of the heads.
            weights: name -> weight, 1 where it is not named; None where they are learnt.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: a weight of no head, or one that is not positive.
        """
        super().__init__(**kwargs)
        for name, weight in (weights or {}).items():
            if name not in labels:
                raise ValueError(f"`weights` names {name!r}; the heads are: {', '.join(map(repr, labels))}.")
            if not weight > 0:
                raise ValueError(f"`weights` must be above 0; received {weight} for {name!r}.")
        self.labels, self.stated = list(labels), None if weights is None else dict(weights)

    def build(self, input_shape: Any = None) -> None:
        """Create what is learnt."""
        if self.stated is None:
            self.log_variance = self.add_weight((len(self.labels),), initializer="zeros", name="log_variance")
        self.built = True

    def call(self, losses: Mapping[str, Any]) -> Any:
        """Losses by name, float [] -> float []."""
        if self.stated is not None:
            return sum(self.stated.get(name, 1.0) * losses[name] for name in self.labels)
        parts = ops.stack([losses[name] for name in self.labels])
        return ops.sum(ops.exp(-self.log_variance) * parts + 0.5 * self.log_variance)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "weights": self.stated}
