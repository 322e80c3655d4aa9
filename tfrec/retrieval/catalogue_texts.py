"""The texts of the catalogue as tokens, as they are and as training may see them; read by a text model that trains."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.towers.text_augmentation import TextAugmentation
from tfrec.towers.text_models import TextModel

Tokens = tuple[Any, Any]


@dataclass(frozen=True)
class Texts:
    """The texts of the catalogue, as the text model reads them.

    Attributes:
        ids: int32 [I, L], token ids of each row's text.
        lengths: int32 [I], how many of them are real; 0 where a row has no text.
        augmented: rows int [F] and a seed -> the tokens of their texts as training reads them, see `read`; None where
            it reads them as they are.
    """

    ids: np.ndarray
    lengths: np.ndarray
    augmented: Callable[[Any, Any], Tokens] | None = None

    @classmethod
    def of(cls, texts: Any, model: TextModel, augmentation: TextAugmentation | None = None) -> Texts:
        """Read the texts [I] of all rows; one of blanks alone, or of nothing that the model knows, is none.

        Args:
            texts: the texts.
            model: what reads them.
            augmentation: what training does to them, other things each time; None for nothing.
        """
        texts = list(texts)
        ids, lengths = model.tokens(texts)
        read = model.says(ids, lengths).numpy() & np.array([bool(text.strip()) for text in texts])
        found = cls(ids.numpy(), np.where(read, lengths, 0).astype("int32"))
        if augmentation is None:
            return found
        words = tf.constant(texts)

        def augmented(rows: Any, seed: Any) -> Tokens:
            changed = model.tokens(augmentation(tf.gather(words, rows), seed))
            return _unless_silent(model, changed, found.read(rows))

        return replace(found, augmented=augmented)

    def read(self, rows: Any, draws: keras.random.SeedGenerator | None = None) -> Tokens:
        """Token ids int32 [F, T] and lengths int32 [F] of the texts of rows, int [F]; augmented where there are draws.

        A text of which augmentation leaves nothing that the model knows is read as it is.
        """
        if draws is None or self.augmented is None:
            ids, lengths = self._held
            return tf.gather(ids, rows), tf.gather(lengths, rows)
        return self.augmented(rows, draws.next())

    @functools.cached_property
    def _held(self) -> Tokens:
        """The tokens outside of any graph, so that none holds a copy."""
        with tf.init_scope():
            return tf.constant(self.ids), tf.constant(self.lengths)


def _unless_silent(model: TextModel, changed: Tokens, plain: Tokens) -> Tokens:
    """The tokens of changed texts, those of the plain ones where the changed say nothing."""
    says = model.says(*changed)
    width = tf.maximum(tf.shape(changed[0])[1], tf.shape(plain[0])[1])
    ids, known = (
        tf.pad(part, [[0, 0], [0, width - tf.shape(part)[1]]], constant_values=model.pad)
        for part in (changed[0], plain[0])
    )
    return tf.where(says[:, None], ids, known), tf.where(says, changed[1], plain[1])
