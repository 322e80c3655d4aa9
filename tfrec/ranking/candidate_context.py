"""The context in which a candidate is shown: device, channel, place on the page; an input of the ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tfrec.features import CANDIDATES, context_feature

# Of a neutral column at least this share is hidden in training: what a missing value shifts is learnt of it alone.
NEUTRAL_HIDDEN = 0.05


@keras.saving.register_keras_serializable(package="tfrec")
class CandidateContext(keras.layers.Layer):
    """Embeds categorical columns of a candidate's event; training hides each value with probability `hidden`.

    A neutral column only shifts the logits, and is missing when the model is asked: what depends on the place on the
    page is learnt, and then counts alike for all. Source: the shallow tower of Zhao et al., "Recommending what video to
    watch next" (RecSys 2019).
    """

    def __init__(
        self, dim: int, columns: Mapping[str, int], neutral: Sequence[str] = (), heads: int = 1, hidden: float = 0.1,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        """Build the layer.

        Args:
            dim: width D of an embedding.
            columns: column -> vocabulary size, the 0 of "missing" included; at least one.
            neutral: those of them that only shift the logits.
            heads: number H of heads whose logits they shift.
            hidden: probability that training hides a value; of a neutral column at least `NEUTRAL_HIDDEN`.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: no column, or a neutral one that is none of them.
        """
        super().__init__(**kwargs)
        if not columns:
            raise ValueError("`columns` must name at least one column of the candidates' events; received none.")
        unknown = [column for column in neutral if column not in columns]
        if unknown:
            raise ValueError(f"`neutral` names {unknown[0]!r}, which is none of `columns`: {', '.join(columns)}.")
        self.dim, self.columns, self.neutral = dim, dict(columns), list(neutral)
        self.heads, self.hidden = heads, hidden
        self.hide = keras.layers.Dropout(hidden, name="hidden")
        self.hide_neutral = keras.layers.Dropout(max(hidden, NEUTRAL_HIDDEN), name="hidden_neutral")

    @property
    def embedded(self) -> list[str]:
        """The columns that are not neutral."""
        return [column for column in self.columns if column not in self.neutral]

    @property
    def shifts(self) -> list[Any]:
        """The tables of the neutral columns, float32 [V, H]."""
        return [self.tables[column] for column in self.neutral]

    def build(self, input_shape: Any = None) -> None:
        """Create the tables."""
        scale = keras.initializers.RandomNormal(stddev=self.dim**-0.5 / 4)
        self.tables = {}
        for column, size in self.columns.items():
            shifts = column in self.neutral
            self.tables[column] = self.add_weight(
                (size, self.heads if shifts else self.dim), initializer="zeros" if shifts else scale.clone(),
                name=column.replace("/", "_"),
            )  # fmt: skip
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool = False) -> tuple[list[Any], Any]:
        """A batch of features -> an embedding [B, C, D] for each of `embedded`, and the shifts [B, C, H]."""
        found = {column: self._look_up(column, features, training) for column in self.columns}
        shape = ops.shape(features[CANDIDATES])
        shift = sum((found[column] for column in self.neutral), ops.zeros((*shape, self.heads)))
        return [found[column] for column in self.embedded], shift

    def _look_up(self, column: str, features: Mapping[str, Any], training: bool) -> Any:
        codes = features.get(context_feature(column))
        if codes is None:
            codes = ops.zeros_like(features[CANDIDATES])
        elif training:
            hide = self.hide_neutral if column in self.neutral else self.hide
            codes = codes * ops.cast(hide(ops.ones(ops.shape(codes)), training=True) > 0, codes.dtype)
        return ops.take(self.tables[column], codes, axis=0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "columns", "neutral", "heads", "hidden")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
