"""The ranker: candidates judged in the light of a history, a Keras model that learns from raw features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.features import AFTER, CANDIDATES, HISTORY, PAD, context_feature, event_feature, label_feature
from tfrec.ranking.candidate_context import CandidateContext
from tfrec.ranking.collaborative import Collaborative
from tfrec.ranking.heads import Head, checked_names
from tfrec.ranking.target_attention import TargetAttention
from tfrec.ranking.weighting import LossWeights
from tfrec.retrieval.compiling import check_compile, check_width, without_xla
from tfrec.retrieval.steps import check_adversarial, shifted, training_step
from tfrec.towers import BehaviorTower, ItemTower

PARTS = ("item_tower", "behavior_tower", "target_attention", "context", "loss_weights")  # Each is configured by itself.
LISTS = ("heads", "interactions", "collaborative")

Encoder = Callable[[Any], Any] | None


@keras.saving.register_keras_serializable(package="tfrec")
class Ranker(keras.Model):
    """Predicts what a user will do with a candidate: click it, buy it, rate it.

    A candidate's vector, the user's state after the events that it may be judged by, their product, what the candidate
    finds in the history (`target_attention`) and its context go through `interactions`, whose results each head reads.
    So it does what collaborative filtering says of its label (`collaborative`), which may stand alone: without an
    interaction the towers are not read and do not train.

    `fit` takes batches of features alone (see `tfrec.features`): the loss is computed from them, as TFRS models do.
    """

    def __init__(
        self,
        item_tower: ItemTower,
        behavior_tower: BehaviorTower,
        heads: Sequence[Head],
        *,
        interactions: Sequence[keras.layers.Layer] = (),
        collaborative: Sequence[Collaborative] = (),
        target_attention: TargetAttention | None = None,
        context: CandidateContext | None = None,
        loss_weights: LossWeights | None = None,
        **kwargs: Any,
    ) -> None:
        """Join the towers; their weights exist afterwards.

        Args:
            item_tower: rows -> vectors, of histories and candidates.
            behavior_tower: vectors of a history -> states.
            heads: one a label, whose name it has; at least one.
            interactions: layers, [B, C, W] -> [B, C, any width], side by side; none only where there is
                `collaborative`.
            collaborative: one a head, in their order; empty for none.
            target_attention: see the class; None for none.
            context: of the candidates' events; None for none.
            loss_weights: how the losses of the heads become one; each counts 1 where None.
            **kwargs: as for any Keras model.

        Raises:
            ValueError: no head, nothing for it to read, two heads of one name, a name that is none, or towers of two
                widths.
        """
        super().__init__(**kwargs)
        names = checked_names(heads)
        if not interactions and (not collaborative or target_attention is not None):
            raise ValueError("`interactions` must hold at least one layer; received none.")
        if collaborative and len(collaborative) != len(names):
            raise ValueError(
                f"`collaborative` must hold one layer a head, {len(names)}; received {len(collaborative)}."
            )
        check_width(item_tower, behavior_tower)
        self.item_tower, self.behavior_tower, self.target_attention = item_tower, behavior_tower, target_attention
        self.heads, self.interactions, self.collaborative = list(heads), list(interactions), list(collaborative)
        self.context, self.loss_weights = context, loss_weights or LossWeights(names, {}, name="loss_weights")
        self._build()
        self._head_metrics = {head.name: head.metrics(f"{head.name}_" if names[1:] else "") for head in self.heads}
        self.built = True

    def _build(self) -> None:
        """Create the weights of all parts that have none yet."""
        dim = self.item_tower.dim
        parts = 3 + (self.target_attention is not None) + len(self.context.embedded if self.context else ())
        parts = parts if self.interactions else 0
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{place}") for place in range(parts)]
        joined = (None, None, parts * dim)
        single = (self.item_tower, self.loss_weights, self.target_attention, self.context, *self.collaborative)
        shapes: list[tuple[Any, Any]] = [(part, None) for part in single if part is not None]
        shapes += [(self.behavior_tower, (None, None, dim)), *((norm, (None, None, dim)) for norm in self.norms)]
        shapes += [(layer, joined) for layer in self.interactions]
        width = sum(layer.compute_output_shape(joined)[-1] for layer in self.interactions)
        shapes += [(head, (None, None, width + bool(self.collaborative))) for head in self.heads]
        if not self.interactions:
            self.item_tower.trainable = self.behavior_tower.trainable = False
        for layer, shape in shapes:
            if not layer.built:
                layer.build(shape)

    # -- the forward pass -------------------------------------------------------------------------------------------

    @property
    def tables(self) -> list[Any]:
        """Variables that hold the catalogue; training changes none of them, and checkpoints do not store them."""
        return [*self.item_tower.tables, *(table for each in self.collaborative for table in each.tables)]

    @property
    def left_behind(self) -> list[keras.layers.Layer]:
        """Parts that predictions from given item vectors do not read."""
        return [self.item_tower, self.loss_weights]

    @property
    def input_spec_dict(self) -> dict[str, tf.TensorSpec]:
        """The features that predictions are made from, those that training knew."""
        spec = self.behavior_tower.input_spec_dict
        for name in (event_feature(each.reader.column) for each in self.collaborative):
            spec[name] = tf.TensorSpec([None, None], tf.int32, name)
        context = self.context.columns if self.context else {}
        for name in (CANDIDATES, AFTER, *map(context_feature, context)):
            spec[name] = tf.TensorSpec([None, None], tf.int32, name)
        return spec

    def call(self, features: Mapping[str, Any], training: bool = False, item_vectors: Encoder = None) -> dict[str, Any]:
        """Logits of each candidate by the label's name, float32 [B, C].

        Args:
            features: `HISTORY` int [B, T], right-padded, `CANDIDATES` int [B, C], and any of the other trained inputs;
                an absent one is missing. Without `AFTER`, candidates are judged by the whole history.
            training: whether dropout is on.
            item_vectors: rows int [N] -> vectors float [N, D], such as an export stores; the item tower where None.
        """
        history, candidates = features[HISTORY], features[CANDIDATES]
        after = features.get(AFTER)
        if after is None:
            length = ops.sum(ops.cast(history != PAD, "int32"), axis=1, keepdims=True)
            after = ops.broadcast_to(length, ops.shape(candidates))
        embedded, shift = self.context(features, training=training) if self.context else ([], None)
        found = []
        if self.interactions:
            encode = item_vectors or (lambda rows: self.item_tower(rows, training=training))
            vectors = self._vectors(history, candidates, encode)
            found = self._interacting(features, vectors, after, embedded, training)
        logits = {}
        for place, head in enumerate(self.heads):
            read = [*found, *self._expected(place, features, after, training)]
            logits[head.name] = head(ops.concatenate([ops.cast(part, "float32") for part in read], axis=-1))
            if shift is not None:
                logits[head.name] = logits[head.name] + shift[..., place]
        return logits

    def _interacting(
        self, features: Mapping[str, Any], vectors: tuple[Any, Any], after: Any, context: Sequence[Any], training: bool
    ) -> list[Any]:
        """What each interaction makes of the inputs, [B, C, its width]; `vectors` are those of `_vectors`."""
        past, judged = vectors
        past = shifted(past, features)
        events, times = self.behavior_tower.events(past, features, training)
        states = self.behavior_tower.states(events, times, features, training)
        user = tf.gather(states, after, batch_dims=1)
        parts = [user, judged, user * judged]
        if self.target_attention is not None:
            parts.append(self.target_attention(judged, events, after, training=training))
        parts += context
        parts = [norm(ops.cast(part, norm.compute_dtype)) for norm, part in zip(self.norms, parts, strict=True)]
        joined = ops.concatenate(parts, axis=-1)
        return [layer(joined, training=training) for layer in self.interactions]

    def _expected(self, place: int, features: Mapping[str, Any], after: Any, training: bool) -> list[Any]:
        """What collaborative filtering says of a head's label, [B, C, 1]; in training as if it had not seen it."""
        if not self.collaborative:
            return []
        own = features.get(label_feature(self.heads[place].name)) if training else None
        return [ops.expand_dims(self.collaborative[place](features, after, own), axis=-1)]

    def _vectors(self, history: Any, candidates: Any, encode: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Item vectors of the histories and of the candidates, [B, T, D] and [B, C, D]; each row is encoded once."""
        rows = tf.concat([tf.reshape(history, [-1]), tf.reshape(candidates, [-1])], axis=0)
        distinct, places = tf.unique(rows)
        vectors = tf.gather(tf.cast(encode(distinct), self.item_tower.compute_dtype), places)
        past, judged = tf.split(vectors, [tf.size(history), tf.size(candidates)])
        dim = self.item_tower.dim
        shapes = (tf.concat([tf.shape(one), [dim]], axis=0) for one in (history, candidates))
        past, judged = (tf.reshape(part, shape) for part, shape in zip((past, judged), shapes, strict=True))
        return tf.ensure_shape(past, (None, None, dim)), tf.ensure_shape(judged, (None, None, dim))

    def predictions(self, features: Mapping[str, Any], item_vectors: Encoder = None) -> dict[str, Any]:
        """What is predicted, by the label's name, float32 [B, C]: probabilities, ratings; arguments as for `call`."""
        logits = self(features, item_vectors=item_vectors)
        return {head.name: head.value(logits[head.name]) for head in self.heads}

    # -- learning ---------------------------------------------------------------------------------------------------

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
                metric.update_state(labels, values)
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

    # -- saving -----------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights."""
        serialized = keras.saving.serialize_keras_object
        parts = {part: serialized(getattr(self, part)) for part in PARTS if getattr(self, part) is not None}
        lists = {name: [serialized(layer) for layer in getattr(self, name)] for name in LISTS}
        return {**super().get_config(), **parts, **lists}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Ranker:
        """Rebuild the model, its weights at their initial values."""
        made = keras.saving.deserialize_keras_object
        parts = {part: made(config[part], custom_objects) for part in PARTS if part in config}
        lists = {name: [made(layer, custom_objects) for layer in config[name]] for name in LISTS}
        return cls(**{**config, **parts, **lists})
