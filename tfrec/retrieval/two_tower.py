"""The two-tower model: an item tower beside a behaviour tower, a Keras model that learns from raw features."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.features import BARRED, HISTORY, PAD, RELEVANT, SEEN, TARGET
from tfrec.retrieval.catalogue_rows import candidate_rows, places_of
from tfrec.retrieval.compiling import build_optimizer, check_compile, check_width, without_xla
from tfrec.retrieval.item_vectors import ROWS_AT_ONCE, in_chunks, unit
from tfrec.retrieval.new_items import NewItems
from tfrec.retrieval.objectives import FullSoftmax
from tfrec.retrieval.past import Past
from tfrec.retrieval.ranks import best_of, ranking_metrics, remove_seen
from tfrec.retrieval.replicas import share_of_mean
from tfrec.retrieval.steps import bring_up_to_date, check_adversarial, shifted, training_step
from tfrec.retrieval.temperature import Temperature
from tfrec.towers import BehaviorTower, ItemTower

PARTS = ("item_tower", "behavior_tower", "objective", "new_items", "temperature")  # Each is configured by itself.


@keras.saving.register_keras_serializable(package="tfrec")
class TwoTower(keras.Model):
    """Predicts a user's next item by the product of the user's state and the items' vectors.

    `fit` takes batches of features alone (see `tfrec.features`): the loss is computed from them, as TFRS models do.
    Validation batches carry what was relevant; `evaluate` and the `val_` logs then hold ranking metrics over the whole
    catalogue (`hr@10`, `ndcg@10`, `mrr@10`), seen items removed.
    """

    def __init__(
        self,
        item_tower: ItemTower,
        behavior_tower: BehaviorTower,
        objective: Any,
        *,
        candidates: Any = None,
        similarity: str = "dot",
        temperature: float | str | Temperature | None = None,
        cutoff: int = 10,
        new_items: NewItems | None = None,
        **kwargs: Any,
    ) -> None:
        """Join the towers; their weights exist afterwards.

        Args:
            item_tower: rows -> vectors.
            behavior_tower: vectors of a history -> states.
            objective: see `tfrec.retrieval.objectives`.
            candidates: the rows that may be recommended; all rows but padding where None.
            similarity: `dot`, or `cosine` of both sides.
            temperature: scores are divided by it; where None 1 for `dot`, 0.07 for `cosine`: there `learnt` starts.
            cutoff: the cut-off of the validation metrics.
            new_items: what stands for the ids of items that training did not see; None for the defaults. Where it has
                a bonus, item vectors and queries have one more dimension, which carries it.
            **kwargs: as for any Keras model.

        Raises:
            ValueError: an unknown similarity, a temperature that is not positive, towers of two widths, a candidate
                that is no row.
        """
        super().__init__(**kwargs)
        if similarity not in ("dot", "cosine"):
            raise ValueError(f"`similarity` must be 'dot' or 'cosine'; received {similarity!r}.")
        if not isinstance(temperature, Temperature):
            temperature = Temperature.of(temperature, similarity)
        check_width(item_tower, behavior_tower)
        self.item_tower, self.behavior_tower, self.objective = item_tower, behavior_tower, objective
        self.seeds = getattr(objective, "seeds", None)  # So that Keras tracks the state of its random draws.
        self.similarity, self.temperature, self.cutoff = similarity, temperature, cutoff
        self.new_items = new_items or NewItems()
        rows = candidate_rows(candidates, item_tower.items)
        self.candidates = rows.tolist()
        self._barred = tf.constant(np.setdiff1d(np.arange(item_tower.items), rows), tf.int32)
        if not item_tower.built:
            item_tower.build()
        if not behavior_tower.built:
            behavior_tower.build((None, None, item_tower.dim))
        self._encoded = SimpleNamespace(vectors=None, used=False)  # Held so that no weight comes of it.
        self._trackers = {name: keras.metrics.Mean(name=f"{name}@{cutoff}") for name in ("hr", "ndcg", "mrr")}
        self.built = True

    # -- the forward pass -------------------------------------------------------------------------------------------

    @property
    def tables(self) -> list[Any]:
        """Variables that hold the catalogue; training changes none of them, and checkpoints do not store them."""
        return self.item_tower.tables

    @property
    def input_spec_dict(self) -> dict[str, tf.TensorSpec]:
        """The features that describe a history, those that training knew."""
        return self.behavior_tower.input_spec_dict

    def item_vectors(self, rows: Any = None, training: bool = False, text: Any = None) -> Any:
        """float32 [I, D] (or [N, D] of int `rows`): what stands for items; `text` goes before the tower's own."""
        if rows is None and text is None and not training and self.item_tower.items > ROWS_AT_ONCE:
            return in_chunks(self.item_vectors, self.item_tower.items)
        vectors = ops.cast(self.item_tower(rows, training=training, text=text), "float32")
        vectors = unit(vectors) if self.similarity == "cosine" else vectors
        return self.new_items.beside_items(vectors, self.item_tower, rows)

    def states(self, history_vectors: Any, features: Mapping[str, Any], training: bool = False) -> Any:
        """float32 [B, T + 1, D]: the query after s events, from the history's vectors, divided by the temperature.

        Towers may compute in half precision; what is compared with others, queries, item vectors and scores, never is.

        Args:
            history_vectors: float [B, T, D], `item_vectors` of the history.
            features: the other inputs, as for `query`.
            training: whether dropout is on.
        """
        history_vectors = shifted(history_vectors[..., : self.item_tower.dim], features)
        history_vectors = history_vectors * self.item_tower.dim**0.5  # Encoders like entries near 1.
        states = ops.cast(self.behavior_tower(history_vectors, features, training=training), "float32")
        states = unit(states) if self.similarity == "cosine" else states
        return self.new_items.beside_queries(self.temperature(states))

    def query(self, vectors: Any, features: Mapping[str, Any]) -> Any:
        """The user's state after the last event, float [B, D]; its product with an item's vector is the score.

        Args:
            vectors: float [I, D], all item vectors.
            features: `HISTORY` int [B, T], right-padded, and any of the other trained inputs; an absent one is missing.
        """
        return self.last_state(ops.take(vectors, features[HISTORY], axis=0), features)

    def last_state(self, history_vectors: Any, features: Mapping[str, Any]) -> Any:
        """`query` from the vectors of the history alone, float [B, T, D]."""
        length = ops.sum(ops.cast(features[HISTORY] != PAD, "int32"), axis=1)
        return tf.gather(self.states(history_vectors, features), length, batch_dims=1)

    def scores(self, vectors: Any, features: Mapping[str, Any]) -> Any:
        """The score of every row, float [B, I]; what may not be recommended is far below the rest."""
        return self.scored(self.query(vectors, features), vectors, features)

    def scored(self, query: Any, vectors: Any, features: Mapping[str, Any]) -> Any:
        """`scores` from the query, float [B, D]."""
        scores = tf.matmul(query, vectors, transpose_b=True)
        return remove_seen(scores, features.get(SEEN), self._barred, features.get(BARRED))

    def item_tables(self) -> Any:
        """What `top` reads of the items: their vectors."""
        return self.item_vectors()

    def top(self, vectors: Any, features: Mapping[str, Any], k: int) -> tuple[Any, Any]:
        """The k best rows int32 [B, k], best first, and their scores float32 [B, k]."""
        return self.best(self.query(vectors, features), vectors, features, k)

    def best(self, query: Any, vectors: Any, features: Mapping[str, Any], k: int) -> tuple[Any, Any]:
        """`top` from the query, float [B, D]."""
        scored = lambda query, features: self.scored(query, vectors, features)  # noqa: E731
        return best_of(scored, query, features, items=self.item_tower.items, k=min(k, len(self.candidates)))

    def call(self, features: Mapping[str, Any], training: bool = False) -> Any:
        """The scores of every row of the catalogue, float [B, I], from a batch of features."""
        return self.scores(self.item_vectors(training=training), features)

    # -- learning ---------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "adamw",
        *,
        jit_compile: bool = False,
        adversarial: float = 0.0,
        attack: str = "items",
        **kwargs: Any,
    ) -> None:
        """Choose the optimizer; the loss is the objective's.

        Args:
            optimizer: a `keras.optimizers` optimizer or its name.
            jit_compile: whether XLA compiles the steps, anew for each shape of a batch, of which sequences have many;
                hence False, also where Keras's "auto" would say True. The full softmax is then never in chunks.
            adversarial: each step learns as much from the batch with vectors moved against it, by this share of their
                length along the gradient of the loss; 0 for not at all. Source: adversarial personalized ranking,
                arXiv:1808.03908.
            attack: what is moved: "items", their id vectors wherever they stand, by a share of the mean length, or
                "history", the vector of each event of a history for itself.
            **kwargs: as for `keras.Model.compile`.

        Raises:
            ValueError: an optimizer of another library, a loss or a metric.
        """
        check_compile(optimizer, kwargs)
        self.adversarial, self.attack = check_adversarial(self, adversarial, attack)
        if isinstance(self.objective, FullSoftmax):
            self.objective.whole = jit_compile
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        build_optimizer(self)

    def fit(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> Any:
        """As for any Keras model, but without `shuffle` (batches come shuffled); then new items are lent their ids."""
        self.item_tower.identified.assign(self.item_tower.trained)  # What an earlier training lent is no id to train.
        history = super().fit(*args, shuffle=shuffle, **kwargs)
        self.lend_ids()
        return history

    def lend_ids(self) -> None:
        """Give new items the ids of their neighbours, after training or another change of weights; see `NewItems`."""
        bring_up_to_date(self)
        self.new_items.lend(self.item_tower)

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
        """The mean loss over the positions that have a target, from raw features `x`; 0 where no position has one.

        On several replicas, this one's share of it. `y`, `y_pred` and `sample_weight` are Keras's and unused.
        """
        history, target = x[HISTORY], x[TARGET]
        rows = self.objective.rows(history, target)
        if rows is not None:
            bring_up_to_date(self, rows)
            history, target = places_of(rows, history), places_of(rows, target)
        vectors, loss = self.training_parts(rows, x, training)
        states = self.states(ops.take(vectors, history, axis=0), x, training=training)
        where = tf.where(x[TARGET] != PAD)
        queries, targets = tf.gather_nd(states, where), tf.gather_nd(target, where)
        losses = loss(queries, targets, vectors, rows, Past(x[HISTORY], where))
        return share_of_mean(losses)

    def training_parts(self, rows: Any, features: Mapping[str, Any], training: bool = True) -> tuple[Any, Any]:
        """`item_vectors` of the rows of a step on `features`, and the objective's `loss`."""
        return self.item_vectors(rows, training=training), self.objective.loss

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch of features."""
        features = data[0] if isinstance(data, tuple) else data
        return training_step(self, features, features[TARGET] != PAD, draws=not isinstance(self.objective, FullSoftmax))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Ranking metrics of a batch that carries `RELEVANT`."""
        features = data[0] if isinstance(data, tuple) else data
        top = self.top(self._encoded.vectors if self._encoded.used else self.item_vectors(), features, self.cutoff)
        for name, values in ranking_metrics(*top, features[RELEVANT]).items():
            self._trackers[name].update_state(values)
        return {tracker.name: tracker.result() for tracker in self._trackers.values()}

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As for any Keras model; the items are encoded once, not for each batch, new ones with the ids lent them."""
        self._encoded.used, before = True, ops.copy(self.item_tower.identified)
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._encoded.used = False
            self.item_tower.identified.assign(before)  # In the middle of a training, what was lent trains nothing.

    def make_test_function(self, force: bool = False) -> None:
        """Encode the items, as Keras calls this wherever an evaluation begins, and make the function, never by XLA."""
        self.lend_ids()
        vectors = self.item_vectors()
        if self._encoded.vectors is None:
            self._encoded.vectors = tf.Variable(vectors, trainable=False)
        self._encoded.vectors.assign(vectors)
        with without_xla(self):
            super().make_test_function(force)

    def make_predict_function(self, force: bool = False) -> None:
        """Nor is prediction."""
        with without_xla(self):
            super().make_predict_function(force)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss and the ranking metrics, reset at each epoch."""
        tracker = getattr(self, "_loss_tracker", None)
        return [*([tracker] if tracker else []), *self._trackers.values()]

    # -- saving -----------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights."""
        parts = {part: keras.saving.serialize_keras_object(getattr(self, part)) for part in PARTS}
        own = {name: getattr(self, name) for name in ("candidates", "similarity", "cutoff")}
        return {**super().get_config(), **parts, **own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TwoTower:
        """Rebuild the model, its weights at their initial values."""
        rebuilt = {part: keras.saving.deserialize_keras_object(config[part], custom_objects) for part in PARTS}
        return cls(**{**config, **rebuilt})
