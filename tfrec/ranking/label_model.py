"""What a model of labels learns and measures, whatever it makes its logits from; the base of the ranker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import CANDIDATES, PAD, label_feature
from tfrec.ranking.heads import Head, checked_names
from tfrec.ranking.weighting import LossWeights
from tfrec.retrieval.compiling import check_compile, without_xla
from tfrec.retrieval.steps import check_adversarial, training_step

Encoder = Callable[[Any], Any] | None


class LabelModel(keras.Model):
    """A model with a head a label, which learns from batches of features alone, as TFRS models do.

    A model of this kind has `call(features, training, item_vectors)`, which gives logits float32 [B, C] by the label's
    name, an `item_tower`, `interactions`, which read it, and `collaborative`.
    """

    def __init__(self, heads: Sequence[Head], *, loss_weights: LossWeights | None = None, **kwargs: Any) -> None:
        """Take the heads.

        Args:
            heads: one a label, whose name it has; at least one.
            loss_weights: how the losses of the heads become one; each counts 1 where None.
            **kwargs: as for any Keras model.

        Raises:
            ValueError: no head, two heads of one name, or a name that is none.
        """
        super().__init__(**kwargs)
        names = checked_names(heads)
        self.heads, self.loss_weights = list(heads), loss_weights or LossWeights(names, {}, name="loss_weights")
        self._head_metrics = {head.name: head.metrics(f"{head.name}_" if names[1:] else "") for head in self.heads}

    @property
    def undecayed(self) -> list[Any]:
        """Weights that weight decay leaves alone: a bias, a norm or a logarithm that is 0 is no simpler model."""
        return [weight for weight in self.trainable_weights if len(weight.shape) < 2]

    def predictions(self, features: Mapping[str, Any], item_vectors: Encoder = None) -> dict[str, Any]:
        """What is predicted, by the label's name, float32 [B, C]: probabilities, ratings; arguments as for `call`."""
        logits = self(features, item_vectors=item_vectors)
        return {head.name: head.value(logits[head.name]) for head in self.heads}

    def start(self, labels: Mapping[str, np.ndarray]) -> None:
        """Let each head begin at the mean of its labels in training, float [N], or at what `collaborative` says.

        Raises:
            ValueError: nothing can be learnt from a label.
        """
        for head in self.heads:
            head.start(labels[head.name], expected=bool(self.collaborative))

    def compile(
        self,
        optimizer: Any = "adamw",
        *,
        jit_compile: bool = False,
        adversarial: float = 0.0,
        attack: str = "items",
        **kwargs: Any,
    ) -> None:
        """Choose the optimizer; the loss is that of the heads. The arguments are those of `TwoTower.compile`.

        Raises:
            ValueError: an optimizer of another library, a loss or a metric.
        """
        check_compile(optimizer, kwargs)
        if adversarial and not self.interactions:
            raise ValueError(
                "`adversarial` attacks the items' id vectors, which are not read: there is no interaction."
            )
        self.adversarial, self.attack = check_adversarial(self, adversarial, attack)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)  # Built by the first step, it would have it traced twice.

    def fit(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> Any:
        """As for any Keras model, but without `shuffle`: batches come shuffled."""
        return super().fit(*args, shuffle=shuffle, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, for a model that is saved."""
        config = super().get_compile_config()
        return {**config, "adversarial": self.adversarial, "attack": self.attack} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model as the saved one was."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The weighted loss over the candidates whose labels are known, from raw features `x`; the rest is unused."""
        logits, losses = self(x, training=training), {}
        for head in self.heads:
            labels = x[label_feature(head.name)]
            known = tf.logical_not(tf.math.is_nan(labels))
            losses[head.name] = head.loss(tf.boolean_mask(labels, known), tf.boolean_mask(logits[head.name], known))
        return self.loss_weights(losses)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch of features."""
        features = data[0] if isinstance(data, tuple) else data
        return training_step(self, features, features[CANDIDATES] != PAD)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The heads' metrics of a batch that carries labels."""
        features = data[0] if isinstance(data, tuple) else data
        found, results = self.predictions(features), {}
        for head in self.heads:
            labels = features[label_feature(head.name)]
            known = tf.logical_not(tf.math.is_nan(labels))
            labels, values = tf.boolean_mask(labels, known), tf.boolean_mask(found[head.name], known)
            for metric in self._head_metrics[head.name]:
                metric.update_state(labels[:, None], values[:, None])  # One by one: a row would count as one.
                results[metric.name] = metric.result()
        return results

    def make_test_function(self, force: bool = False) -> None:
        """Evaluation is never compiled by XLA."""
        with without_xla(self):
            super().make_test_function(force)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss and the heads' metrics, reset at each epoch."""
        tracker = getattr(self, "_loss_tracker", None)
        return [*([tracker] if tracker else []), *(one for each in self._head_metrics.values() for one in each)]
