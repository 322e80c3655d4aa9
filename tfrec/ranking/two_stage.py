"""Two stages as one: a trained two-tower model recalls, a ranker orders what it recalls; a Keras model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.features import CANDIDATES, HISTORY, NEXT, NORMALISER, PAD, RELEVANT, STATE, label_feature
from tfrec.ranking.diversity import Diversity
from tfrec.ranking.evidence import UNIT_TEXT, VECTORS, Evidence
from tfrec.ranking.list_losses import list_loss
from tfrec.ranking.vector_inputs import VectorInputs
from tfrec.retrieval import TwoTower
from tfrec.retrieval.compiling import check_compile, without_xla
from tfrec.retrieval.ranks import REMOVED, ranking_metrics
from tfrec.retrieval.steps import training_step

PARTS = ("retrieval", "evidence", "vectors", "diversity")  # Each is configured by itself.


@keras.saving.register_keras_serializable(package="tfrec")
class TwoStage(keras.Model):
    """Recalls items by the product of state and item vector, then orders them by all that is known of each.

    A candidate's logit is its retrieval score (the logarithm of its share among what was recalled) and what the
    interactions make of the inputs, which is nothing before training: it starts at the order of the first stage. The
    retrieval model does not train.

    `fit` takes batches of `CandidatePlan`; validation batches are those of the retrieval model.
    """

    def __init__(
        self,
        retrieval: TwoTower,
        evidence: Evidence,
        interactions: Sequence[keras.layers.Layer],
        *,
        vectors: VectorInputs | None = None,
        recall: int = 200,
        rank: int = 10,
        loss: str = "softmax",
        diversity: Diversity | None = None,
        **kwargs: Any,
    ) -> None:
        """Join the stages; `retrieval` is frozen from then on.

        Args:
            retrieval: the first stage, trained.
            evidence: numbers of each candidate.
            interactions: layers, [B, C, W] -> [B, C, any width], side by side; at least one.
            vectors: vectors of user and candidate as further inputs; None for none.
            recall: items that the first stage hands on; fewer where the catalogue is exhausted.
            rank: items that an answer holds.
            loss: see `list_loss`.
            diversity: what chooses among the ordered items; None for the best ones.
            **kwargs: as for any Keras model.

        Raises:
            ValueError: no interaction, an unknown loss, or `recall` is less than `rank`.
        """
        super().__init__(**kwargs)
        if not interactions:
            raise ValueError("`interactions` must hold at least one layer; received none.")
        if not 1 <= rank <= recall:
            raise ValueError(f"`rank` must be from 1 to `recall`; received rank={rank}, recall={recall}.")
        self.retrieval, self.evidence, self.vectors, self.diversity = retrieval, evidence, vectors, diversity
        self.interactions = list(interactions)
        self.recall, self.rank, self.loss_name = recall, rank, loss
        self.retrieval.trainable = False
        self._list_loss = list_loss(loss)
        self._constants = SimpleNamespace(tables=None)  # Held so that no weight comes of it.
        self._build()
        names = (f"{name}@{retrieval.cutoff}" for name in ("hr", "ndcg", "mrr"))
        self._trackers = [keras.metrics.Mean(name=name) for name in names]
        self.built, self.adversarial = True, 0.0

    def _build(self) -> None:
        """Create the weights of all parts that have none yet."""
        width = self.evidence.width + (self.vectors.width if self.vectors else 0)
        joined = (None, None, width)
        self.last = keras.layers.Dense(1, kernel_initializer="zeros", name="last")
        shapes: list[tuple[Any, Any]] = [(self.evidence, None), *((layer, joined) for layer in self.interactions)]
        shapes += [(self.vectors, None)] if self.vectors else []
        found = sum(layer.compute_output_shape(joined)[-1] for layer in self.interactions)
        for layer, shape in [*shapes, (self.last, (None, None, found))]:
            if not layer.built:
                layer.build(shape)

    # -- what it shares with its first stage ------------------------------------------------------------------------

    @property
    def item_tower(self) -> Any:
        """The item tower of the first stage."""
        return self.retrieval.item_tower

    @property
    def candidates(self) -> list[int]:
        """The rows that may be recommended."""
        return self.retrieval.candidates

    @property
    def input_spec_dict(self) -> dict[str, tf.TensorSpec]:
        """The features that describe a history, those that training knew."""
        return self.retrieval.input_spec_dict

    @property
    def tables(self) -> list[Any]:
        """Variables that training leaves alone, and checkpoints do not store."""
        return self.retrieval.variables

    @property
    def undecayed(self) -> list[Any]:
        """Weights that weight decay leaves alone: biases and norms."""
        return [weight for weight in self.trainable_weights if len(weight.shape) < 2]

    def item_vectors(self, rows: Any = None) -> Any:
        """The item vectors of the first stage."""
        return self.retrieval.item_vectors(rows)

    # -- the forward pass -------------------------------------------------------------------------------------------

    def item_tables(self) -> dict[str, Any]:
        """What the stages read of the items, a row an item: `vectors` [I, D], and `text` [I, W], unit vectors."""
        tables = {VECTORS: self.retrieval.item_vectors()}
        if self.evidence.text:
            text = ops.cast(self.item_tower.text, "float32")
            there = ops.cast(ops.any(text != 0, axis=1, keepdims=True), "float32")
            mean = ops.sum(text, axis=0) / ops.maximum(ops.sum(there), 1.0)
            tables[UNIT_TEXT] = tf.math.l2_normalize((text - mean) * there, axis=1)
        return tables

    def recalled(self, tables: Mapping[str, Any], features: Mapping[str, Any]) -> tuple[Any, Any]:
        """The first stage: rows int32 [B, R] and scores float32 [B, R], best first, far below the rest if removed."""
        return self.retrieval.top(tables[VECTORS], features, self.recall)

    def judged(self, tables: Mapping[str, Any], features: Mapping[str, Any], rows: Any, scores: Any) -> Any:
        """The second stage: logits float32 [B, R] of recalled rows, from their scores; what is removed stays so."""
        logits = self.logits(tables, features, rows, scores - normaliser(scores)[:, None])
        return tf.where(scores > REMOVED / 2, logits, tf.constant(REMOVED, logits.dtype))

    def ordered(self, tables: Mapping[str, Any], rows: Any, scores: Any, k: int) -> tuple[Any, Any]:
        """The answer: the k best of judged rows, or those that `diversity` chooses; int32 and float32 [B, k]."""
        if self.diversity is not None:
            return self.diversity(tables[VECTORS], rows, scores, k=k)
        top = tf.math.top_k(scores, k)
        return tf.gather(rows, top.indices, batch_dims=1), top.values

    def top(self, tables: Mapping[str, Any], features: Mapping[str, Any], k: int) -> tuple[Any, Any]:
        """Both stages: the k best rows int32 [B, k] and their scores; at most as many as are recalled."""
        rows, scores = self.recalled(tables, features)
        k = min(k, self.recall, len(self.candidates))
        return self.ordered(tables, rows, self.judged(tables, features, rows, scores), k)

    def call(self, features: Mapping[str, Any], training: bool = False) -> tuple[Any, Any]:
        """The answer to a batch of features: rows int32 [B, rank] and scores float32 [B, rank]."""
        return self.top(self.item_tables(), features, self.rank)

    def logits(
        self, tables: Mapping[str, Any], features: Mapping[str, Any], rows: Any, scores: Any, training: bool = False
    ) -> Any:
        """Float32 [B, C]: how likely each candidate comes next.

        Args:
            tables: see `item_tables`.
            features: `HISTORY` and the other inputs.
            rows: int [B, C].
            scores: float32 [B, C], logarithms of their shares among what was recalled.
            training: whether dropout is on.
        """
        joined = self.evidence(tables, features[HISTORY], rows, scores)
        if self.vectors is not None:
            dim = self.item_tower.dim
            state = self._state(tables[VECTORS], features)[:, :dim]
            judged, events = (tf.gather(tables[VECTORS], one)[..., :dim] for one in (rows, features[HISTORY]))
            more = self.vectors(state, judged, events, features[HISTORY], training=training)
            joined = ops.concatenate([joined, more], axis=-1)
        found = ops.concatenate([layer(joined, training=training) for layer in self.interactions], axis=-1)
        return scores + ops.squeeze(self.last(found), axis=-1)

    def _state(self, vectors: Any, features: Mapping[str, Any]) -> Any:
        """The query of the first stage, float [B, D]; that of the batch, where it has one."""
        return features[STATE] if STATE in features else self.retrieval.query(vectors, features)

    # -- learning ---------------------------------------------------------------------------------------------------

    def frozen_tables(self) -> dict[str, Any]:
        """`item_tables`, made once: the retrieval model does not change."""
        if self._constants.tables is None:
            with tf.init_scope():
                self._constants.tables = self.item_tables()
        return self._constants.tables

    def labelled(self, features: Mapping[str, Any]) -> tuple[Any, Any]:
        """The candidates of a training batch, int [B, C], and the logarithms of their shares, float32 [B, C]."""
        vectors, rows = self.frozen_tables()[VECTORS], features[CANDIDATES]
        scores = tf.einsum("bd,bcd->bc", self._state(vectors, features), tf.gather(vectors, rows))
        return rows, scores - features[NORMALISER][:, None]

    def adapt(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Standardise what speaks for candidates by those of training batches, before training."""
        found = []
        for batch in batches:
            rows, scores = self.labelled(batch)
            values = self.evidence.raw(self.frozen_tables(), batch[HISTORY], rows, scores)
            found.append(tf.boolean_mask(values, rows != PAD).numpy())
        self.evidence.adapt(np.concatenate(found))

    def compile(self, optimizer: Any = "adamw", *, jit_compile: bool = False, **kwargs: Any) -> None:
        """Choose the optimizer; the loss is that of the lists. The arguments are those of `TwoTower.compile`.

        Raises:
            ValueError: an optimizer of another library, a loss or a metric.
        """
        check_compile(optimizer, kwargs)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)  # Built by the first step, it would have it traced twice.

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model as the saved one was."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> Any:
        """As for any Keras model, but without `shuffle`: batches come shuffled."""
        return super().fit(*args, shuffle=shuffle, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of a batch of `CandidatePlan`, from raw features `x`; the rest is unused."""
        rows, scores = self.labelled(x)
        logits = self.logits(self.frozen_tables(), x, rows, scores, training=training)
        return self._list_loss(x[label_feature(NEXT)], logits)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch of features."""
        features = data[0] if isinstance(data, tuple) else data
        return training_step(self, features, features[NORMALISER] > REMOVED)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Ranking metrics of both stages, of a batch that carries `RELEVANT`."""
        features = data[0] if isinstance(data, tuple) else data
        found = ranking_metrics(*self.top(self.frozen_tables(), features, self.retrieval.cutoff), features[RELEVANT])
        for tracker, values in zip(self._trackers, found.values(), strict=True):
            tracker.update_state(values)
        return {tracker.name: tracker.result() for tracker in self._trackers}

    def make_test_function(self, force: bool = False) -> None:
        """Evaluation is never compiled by XLA: its batches carry user ids."""
        with without_xla(self):
            super().make_test_function(force)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss and the ranking metrics, reset at each epoch."""
        tracker = getattr(self, "_loss_tracker", None)
        return [*([tracker] if tracker else []), *self._trackers]

    # -- saving -----------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights."""
        serialized = keras.saving.serialize_keras_object
        parts = {part: serialized(getattr(self, part)) for part in PARTS if getattr(self, part) is not None}
        own = {"recall": self.recall, "rank": self.rank, "loss": self.loss_name}
        interactions = [serialized(layer) for layer in self.interactions]
        return {**super().get_config(), **parts, **own, "interactions": interactions}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TwoStage:
        """Rebuild the model, its weights at their initial values."""
        made = keras.saving.deserialize_keras_object
        parts = {part: made(config[part], custom_objects) for part in PARTS if part in config}
        interactions = [made(layer, custom_objects) for layer in config["interactions"]]
        return cls(**{**config, **parts, "interactions": interactions})


def normaliser(scores: Any) -> Any:
    """Float32 [B]: the logarithm of the sum of exp(score) over what was recalled, [B, R]; 0 where nothing was."""
    found = tf.reduce_logsumexp(scores, axis=1)
    return tf.where(found > REMOVED / 2, found, 0.0)
