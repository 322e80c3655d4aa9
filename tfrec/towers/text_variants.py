"""Text vectors as training sees them: at each look-up one of several variants of a text; a part of the item tower."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class TextVariants(keras.layers.Layer):
    """Draws which variant of each text stands for it: the text itself, or one that was augmented beforehand.

    The table is no weight: neither checkpoints nor saved models hold it, and a model that was loaded has none.
    """

    def __init__(self, text: np.ndarray, variants: np.ndarray, **kwargs: Any) -> None:
        """Take the vectors.

        Args:
            text: float [I, W], those of the texts as they are.
            variants: float [V, I, W], those of their variants; zeros stand for the text itself.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: there is no variant, or of another shape.
        """
        super().__init__(**kwargs)
        if variants.ndim != 3 or variants.shape[1:] != text.shape or not len(variants):
            raise ValueError(f"`variants` must have the shape (V, *{text.shape}), V at least 1; got {variants.shape}.")
        self.items, self.versions = len(text), len(variants) + 1
        whole = np.concatenate([text[None], np.where(variants.any(axis=2, keepdims=True), variants, text)])
        self._table = ops.convert_to_tensor(whole.reshape(-1, text.shape[1]).astype("float16"))  # Half of the memory.
        self.seeds = keras.random.SeedGenerator(0, name="text_variants")

    def call(self, rows: Any) -> Any:
        """Item rows, int [N], -> [N, W], each drawn anew."""
        drawn = keras.random.randint(ops.shape(rows), 0, self.versions, seed=self.seeds)
        places = drawn * self.items + ops.cast(rows, "int32")
        return ops.cast(ops.take(self._table, places, axis=0), self.compute_dtype)
