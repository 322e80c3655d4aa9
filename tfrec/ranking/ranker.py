"""The ranker: candidates judged in the light of a history, a Keras model that learns from raw features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrec.features import (
    AFTER,
    CANDIDATES,
    HISTORY,
    PAD,
    USER_WORDS,
    context_feature,
    event_feature,
    label_feature,
)
from tfrec.ranking.candidate_context import CandidateContext
from tfrec.ranking.collaborative import Collaborative
from tfrec.ranking.heads import Head
from tfrec.ranking.label_model import Encoder, LabelModel
from tfrec.ranking.target_attention import TargetAttention
from tfrec.ranking.word_attention import WordAttention
from tfrec.retrieval.compiling import check_width
from tfrec.retrieval.steps import shifted
from tfrec.towers import BehaviorTower, ItemTower

# Each is configured by itself.
PARTS = ("item_tower", "behavior_tower", "target_attention", "word_attention", "context", "loss_weights")
LISTS = ("heads", "interactions", "collaborative")


@keras.saving.register_keras_serializable(package="tfrec")
class Ranker(LabelModel):
    """Predicts what a user will do with a candidate: click it, buy it, rate it.

    A candidate's vector, the user's state after the events that it may be judged by, their product, what the candidate
    finds in the history (`target_attention`), what the words of its text and of the user's find in one another
    (`word_attention`) and its context go through `interactions`, whose results each head reads. So it does what
    collaborative filtering says of its label (`collaborative`), which may stand alone: without an interaction the
    towers are not read and do not train.

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
        word_attention: WordAttention | None = None,
        context: CandidateContext | None = None,
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
            word_attention: likewise.
            context: of the candidates' events; None for none.
            **kwargs: `loss_weights` of the heads, and as for any Keras model; see `LabelModel`.

        Raises:
            ValueError: no head, nothing for it to read, two heads of one name, a name that is none, towers of two
                widths, or a user column called `words` beside the words of the users' texts.
        """
        super().__init__(heads, **kwargs)
        asked = (target_attention, word_attention)
        if not interactions and (not collaborative or asked != (None, None)):
            raise ValueError("`interactions` must hold at least one layer; received none.")
        if collaborative and len(collaborative) != len(self.heads):
            raise ValueError(
                f"`collaborative` must hold one layer a head, {len(self.heads)}; received {len(collaborative)}."
            )
        check_width(item_tower, behavior_tower)
        if word_attention is not None and USER_WORDS in behavior_tower.input_spec_dict:
            raise ValueError("`word_attention` reads `user_words`, which is the name of a user column too: rename it.")
        self.item_tower, self.behavior_tower = item_tower, behavior_tower
        self.target_attention, self.word_attention, self.context = target_attention, word_attention, context
        self.interactions, self.collaborative = list(interactions), list(collaborative)
        self._build()
        self.built = True

    def _build(self) -> None:
        """Create the weights of all parts that have none yet."""
        dim = self.item_tower.dim
        attentions = [part for part in (self.target_attention, self.word_attention) if part is not None]
        parts = 3 + len(attentions) + len(self.context.embedded if self.context else ())
        parts = parts if self.interactions else 0
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{place}") for place in range(parts)]
        joined = (None, None, parts * dim)
        single = (self.item_tower, self.loss_weights, *attentions, self.context, *self.collaborative)
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
        words = [] if self.word_attention is None else self.word_attention.tables
        return [*self.item_tower.tables, *words, *(table for each in self.collaborative for table in each.tables)]

    @property
    def undecayed(self) -> list[Any]:
        """Weights that weight decay leaves alone: also the shifts of neutral columns, biases of their values."""
        return [*super().undecayed, *(self.context.shifts if self.context else ())]

    @property
    def left_behind(self) -> list[keras.layers.Layer]:
        """Parts that predictions from given item vectors do not read."""
        return [self.item_tower, self.loss_weights]

    @property
    def input_spec_dict(self) -> dict[str, tf.TensorSpec]:
        """The features that predictions are made from, those that training knew."""
        spec = self.behavior_tower.input_spec_dict
        if self.word_attention is not None:
            spec[USER_WORDS] = tf.TensorSpec([None, None, self.word_attention.width], tf.float32, USER_WORDS)
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
        if self.word_attention is not None:
            parts.append(self.word_attention(features[CANDIDATES], features.get(USER_WORDS), training=training))
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
