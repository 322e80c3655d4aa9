"""The behaviour tower: a user's state after each event, from item vectors, event features, times and user features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tfrec.features import TIMESTAMP, USER_TEXT, batch_spec, event_feature, user_feature
from tfrec.towers.fusion import GatedFusion
from tfrec.towers.text_projection import TextProjection
from tfrec.towers.time_embedding import TimeEmbedding


@keras.saving.register_keras_serializable(package="tfrec")
class BehaviorTower(keras.layers.Layer):
    """Runs any encoders in parallel over one sequence and fuses them.

    State s is the user after s events: state 0, a learnt vector, is the user of whom nothing is known. Each input
    besides the items has a value for "missing" (code 0, time 0, the zero vector of a text) that training meets: a whole
    input is hidden from a row with probability `input_dropout`, and an input that is not given is missing.
    """

    def __init__(
        self,
        dim: int,
        encoders: Sequence[keras.layers.Layer],
        event_columns: Mapping[str, int] | None = None,
        user_columns: Mapping[str, int] | None = None,
        *,
        timestamps: bool = False,
        text_width: int = 0,
        dropout: float = 0.2,
        input_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Build the tower.

        Args:
            dim: width D of item vectors and of states.
            encoders: causal layers, [B, T, D] -> [B, T, D]; at least one. One whose `timestamps` is true is called
                with the times of the events too, int64 [B, T].
            event_columns: categorical column of the events -> vocabulary size, the 0 of "missing" included.
            user_columns: categorical column of the users -> vocabulary size, likewise.
            timestamps: whether events carry their times.
            text_width: width W of the vectors of the users' texts; 0 = no texts.
            dropout: share of the summed inputs that training drops.
            input_dropout: probability that training hides one whole input from a row.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: no encoder, one that reads times where there are none, or a user column called `text` beside
                the users' texts.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        if not encoders:
            raise ValueError("`encoders` must hold at least one layer; received none.")
        timed = [encoder.name for encoder in encoders if getattr(encoder, "timestamps", False)]
        if timed and not timestamps:
            raise ValueError(f"`encoders`: {timed[0]} reads the times of the events; `timestamps` is false.")
        self.dim, self.encoders, self.timestamps, self.timed = dim, list(encoders), timestamps, timed
        self.event_columns, self.user_columns = dict(event_columns or {}), dict(user_columns or {})
        if text_width and USER_TEXT in map(user_feature, self.user_columns):
            raise ValueError(
                "`user_columns` must not name 'text' where there is a `text_width`: one input, two meanings."
            )
        self.dropout, self.input_dropout, self.text_width = dropout, input_dropout, text_width
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="dropout")
        self.hide = keras.layers.Dropout(input_dropout, noise_shape=(None, 1), dtype=policy, name="input_dropout")
        self.time = TimeEmbedding(dim, dtype=policy, name="time") if timestamps else None
        self.fusion = GatedFusion(dim, len(encoders), dtype=policy, name="fusion") if len(encoders) > 1 else None
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="state_norm")
        if text_width:
            self.text_projection = TextProjection(dim, dtype=policy, name="user_text_projection")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (B, T, D)."""
        scale = keras.initializers.RandomNormal(stddev=self.dim**-0.5 / 4)
        self.empty = self.add_weight((self.dim,), initializer=scale, name="empty_history")
        self.embeddings = {
            feature: self.add_weight((size, self.dim), initializer=scale.clone(), name=feature.replace("/", "_"))
            for feature, size in self._categorical().items()
        }
        parts = [*self.encoders, self.norm, *([self.time] if self.time else [])]
        for layer in parts:
            if not layer.built:
                layer.build(input_shape)
        if self.fusion:
            self.fusion.build((*input_shape[:-1], self.dim * len(self.encoders)))
        if self.text_width:
            self.text_projection.build((None, self.text_width))
        self.built = True

    @property
    def input_spec_dict(self) -> dict[str, Any]:
        """Specs of a history and of the features that describe it; see `features.batch_spec`."""
        columns = list(self.event_columns), list(self.user_columns)
        return batch_spec(*columns, timestamps=self.timestamps, text_width=self.text_width)

    def _categorical(self) -> dict[str, int]:
        """Feature name -> vocabulary size, of events and users."""
        events = {event_feature(column): size for column, size in self.event_columns.items()}
        return {**events, **{user_feature(column): size for column, size in self.user_columns.items()}}

    def call(self, vectors: Any, context: Mapping[str, Any] | None = None, training: bool = False) -> Any:
        """States after 0..T events.

        Args:
            vectors: float [B, T, D], right-padded item vectors, oldest first.
            context: feature name -> codes, int [B, T] of events and int [B] of users, times int64 [B, T], vectors
                of texts float [B, W]; what is absent is missing.
            training: whether dropout is on.

        Returns:
            float [B, T + 1, D]; state s has read the first s events.
        """
        context = context or {}
        return self.states(*self.events(vectors, context, training), context, training)

    def events(self, vectors: Any, context: Mapping[str, Any], training: bool = False) -> tuple[Any, Any]:
        """What the encoders read: each event by itself, float [B, T, D], and the times, int64 [B, T] or None."""
        x, times = vectors, None
        for column in self.event_columns:
            x = x + self._embed(event_feature(column), context, ops.shape(vectors)[:2], training)
        if self.time is not None:
            times = context.get(TIMESTAMP)
            if times is None:
                times = ops.zeros(ops.shape(vectors)[:2], "int64")
            times = self._hidden(times, training)
            x = x + self.time(times)
        return self.drop(x, training=training), times

    def states(self, x: Any, times: Any, context: Mapping[str, Any], training: bool = False) -> Any:
        """States after 0..T events, float [B, T + 1, D], from what `events` gives."""
        more = {name: {"times": times} for name in self.timed}
        states = [encoder(x, training=training, **more.get(encoder.name, {})) for encoder in self.encoders]
        fused = self.fusion(ops.concatenate(states, axis=-1)) if self.fusion else states[0]
        empty = ops.broadcast_to(ops.cast(self.empty, fused.dtype), (ops.shape(fused)[0], 1, self.dim))
        after = self.norm(ops.concatenate([empty, fused], axis=1))
        for column in self.user_columns:
            user = self._embed(user_feature(column), context, ops.shape(x)[:1], training)
            after = after + user[:, None, :]
        text = context.get(USER_TEXT)
        if self.text_width and text is not None:
            after = after + self.text_projection(self._hidden(text, training))[:, None, :]
        return after

    def _embed(self, feature: str, context: Mapping[str, Any], shape: Any, training: bool) -> Any:
        codes = context.get(feature)
        if codes is None:
            codes = ops.zeros(shape, "int32")
        return ops.cast(ops.take(self.embeddings[feature], self._hidden(codes, training), axis=0), self.compute_dtype)

    def _hidden(self, values: Any, training: bool) -> Any:
        """Set a whole input of a row to 0, "missing", with probability `input_dropout`."""
        if not (training and self.input_dropout):
            return values
        kept = self.hide(ops.ones((ops.shape(values)[0], 1)), training=True) > 0
        return values * ops.cast(kept if len(values.shape) > 1 else kept[:, 0], values.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "event_columns", "user_columns", "timestamps", "text_width", "dropout", "input_dropout")
        encoders = [keras.saving.serialize_keras_object(encoder) for encoder in self.encoders]
        return {**super().get_config(), **{name: getattr(self, name) for name in own}, "encoders": encoders}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BehaviorTower:
        """Rebuild the tower and its encoders."""
        encoders = [keras.saving.deserialize_keras_object(encoder) for encoder in config["encoders"]]
        return cls(**{**config, "encoders": encoders})
