"""The item tower: an item's vector from its id, its text and its features; candidates and histories share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrec.features import PAD
from tfrec.towers.text_projection import TextProjection
from tfrec.towers.text_variants import TextVariants


@keras.saving.register_keras_serializable(package="tfrec")
class ItemTower(keras.layers.Layer):
    """Sums what is known of an item: id embedding + projected text vector + category embeddings + numbers.

    Where a bound `delta` is set, the id embedding is a small correction to the text: at most `delta` times as long as
    the projected text. An item without an id is then not far from where it would be with one. Source:
    arXiv:2507.19473, which starts items at their content and bounds what training adds.

    The features of the catalogue are weights that do not train: a saved model holds all it needs. An item that no
    training event mentions has no id embedding and is described by its text and features alone, until it is lent one
    (`identified` says which rows have one, `trained` which learnt theirs); training drops whole id embeddings
    (`id_dropout`), so that the model has met such items. Source: DropoutNet (Volkovs et al., 2017).
    """

    def __init__(
        self,
        dim: int,
        items: int,
        *,
        ids: bool = True,
        text_width: int = 0,
        categories: Mapping[str, tuple[int, int]] | None = None,
        numbers: int = 0,
        id_dropout: float = 0.1,
        delta: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the tower; `set_features` then gives it the catalogue.

        Args:
            dim: width D of an item vector.
            items: rows I of the catalogue, the padding row 0 included.
            ids: whether items have an embedding of their own.
            text_width: width of the frozen text vectors; 0 = no text.
            categories: name -> (vocabulary size with the 0 of "missing", values an item at most).
            numbers: number of numeric features.
            id_dropout: probability that training hides an item's id; only where something else describes it.
            delta: longest an id embedding may be, in lengths of the item's projected text; None = no bound. Items
                without text have none.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: nothing describes an item, or there is none.
        """
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.categories = {name: tuple(size) for name, size in (categories or {}).items()}
        if not (ids or text_width or self.categories or numbers):
            raise ValueError("`ids` is false and there is neither text nor a feature: nothing describes an item.")
        if items < 2:
            raise ValueError(f"`items` must be 2 or more, the padding row included; received {items}.")
        self.dim, self.items, self.ids = dim, items, ids
        self.text_width, self.numbers, self.id_dropout, self.delta = text_width, numbers, id_dropout, delta
        self.described = bool(text_width or self.categories or numbers)
        self.id_drop = keras.layers.Dropout(id_dropout, noise_shape=(None, 1), dtype=policy, name="id_dropout")
        if text_width:
            self.text_projection = TextProjection(dim, dtype=policy, name="text_projection")
        self.text_variants: TextVariants | None = None  # What training reads of the texts; set before it is built.
        if numbers:
            self.number_projection = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="number_projection")

    def build(self, input_shape: Any = None) -> None:
        """Create the weights; the shape is known from the constructor."""
        scale = keras.initializers.RandomNormal(stddev=self.dim**-0.5 / 4)
        self.trained = self._feature("trained", (self.items, 1), "ones")
        self.identified = self._feature("identified", (self.items, 1), "ones")
        if self.ids:
            self.embedding = self._table("id_embedding", (self.items, self.dim), scale)
        if self.text_width:
            self.text = self._feature("text", (self.items, self.text_width))
            self.text_projection.build((None, self.text_width))
        if self.numbers:
            self.number = self._feature("numbers", (self.items, 2 * self.numbers))
            self.number_projection.build((None, 2 * self.numbers))
        self.codes, self.category_embeddings = {}, {}
        for name, (size, values) in self.categories.items():
            label = name.replace("/", "_")  # Keras names no weight with a slash.
            self.codes[name] = self._feature(f"codes_{label}", (self.items, values), dtype="int32")
            # A clone draws anew, not the rows of the ids again.
            self.category_embeddings[name] = self._table(f"category_{label}", (size, self.dim), scale.clone())
        self.built = True

    @property
    def tables(self) -> list[Any]:
        """The variables that hold the catalogue; training changes none of them."""
        tables = [getattr(self, name, None) for name in ("trained", "identified", "text", "number")]
        return [*(table for table in tables if table is not None), *getattr(self, "codes", {}).values()]

    def _feature(self, name: str, shape: tuple[int, ...], initializer: str = "zeros", dtype: str | None = None) -> Any:
        """A table of the catalogue: saved with the model, never trained."""
        return self._table(name, shape, initializer, dtype, trainable=False)

    def _table(self, name: str, shape: tuple[int, ...], initializer: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """A weight of which rows are read: never cast to half precision as a whole, as `autocast` would."""
        return self.add_weight(shape, initializer=initializer, dtype=dtype, name=name, autocast=False, **kwargs)

    def set_features(
        self,
        *,
        trained: np.ndarray | None = None,
        text: np.ndarray | None = None,
        categories: Mapping[str, np.ndarray] | None = None,
        numbers: np.ndarray | None = None,
    ) -> None:
        """Give the tower its catalogue.

        Args:
            trained: bool [I]; which rows training events mention.
            text: float [I, text_width]; zeros where an item has no text.
            categories: name -> int [I, values], 0 = missing.
            numbers: float [I, numbers], standardised, NaN = missing.

        Raises:
            ValueError: a feature that the constructor did not declare, or of another shape; a code out of range.
        """
        if not self.built:
            self.build()
        if trained is not None:
            mask = _checked("trained", trained, (self.items,)).astype("float32")[:, None]
            self.trained.assign(mask)
            self.identified.assign(mask)
        if text is not None:
            text = _checked("text", text, (self.items, self.text_width))
            self.text.assign(text)
        for name, codes in (categories or {}).items():
            codes = self._checked_codes(name, codes)
            self.codes[name].assign(codes)
        if numbers is not None:
            numbers = _checked("numbers", numbers, (self.items, self.numbers)).astype("float32")
            missing = np.isnan(numbers)
            self.number.assign(np.concatenate([np.where(missing, 0.0, numbers), missing], axis=1))

    def _checked_codes(self, name: str, codes: np.ndarray) -> np.ndarray:
        if name not in self.categories:
            known = ", ".join(map(repr, self.categories)) or "none"
            raise ValueError(f"`categories` names {name!r}; the tower was built with {known}.")
        size, values = self.categories[name]
        codes = _checked(f"categories[{name!r}]", codes, (self.items, values))
        if codes.min(initial=0) < 0 or codes.max(initial=0) >= size:
            raise ValueError(
                f"`categories[{name!r}]` must hold codes from 0 to {size - 1}; received {codes.min()} to {codes.max()}."
            )
        return codes

    def call(self, rows: Any = None, training: bool = False, text: Any = None) -> Any:
        """Item rows, int [N], -> [N, D]; all I rows where `rows` is None. Row 0 is the zero vector.

        `text`, float [N, text_width], takes the place of the text vectors that the tower holds. In training they are
        drawn from `text_variants`, where there are some.
        """
        if rows is None:
            rows = ops.arange(self.items)
            pick = ops.convert_to_tensor
        else:
            pick = lambda table: looked_up(table, rows)  # noqa: E731
        parts = []
        if self.text_width:
            if text is None:
                variants = self.text_variants if training else None
                text = pick(self.text) if variants is None else variants(rows)
            parts.append(self.text_projection(text))
        if self.ids:
            tables = (self.embedding, self.identified)
            vectors, identified = (ops.cast(pick(table), self.compute_dtype) for table in tables)
            vectors = self._bounded(vectors * identified, *parts)
            parts.insert(0, self._hide(vectors, training))
        for name, embedding in self.category_embeddings.items():
            codes = pick(self.codes[name])
            present = ops.cast(codes != PAD, self.compute_dtype)[..., None]
            total = ops.sum(ops.cast(looked_up(embedding, codes), self.compute_dtype) * present, axis=1)
            parts.append(total / ops.maximum(ops.sum(present, axis=1), 1.0))
        if self.numbers:
            parts.append(self.number_projection(pick(self.number)))
        return sum(parts[1:], parts[0]) * ops.cast(rows != PAD, self.compute_dtype)[:, None]

    def is_new(self, rows: Any = None) -> Any:
        """Bool [N]: which rows, int [N] or all, training did not see although a text or a feature describes them."""
        pick = ops.convert_to_tensor if rows is None else lambda table: looked_up(table, rows)
        parts = [pick(self.text) != 0] if self.text_width else []
        parts += [pick(codes) != PAD for codes in self.codes.values()]
        if self.numbers:
            parts.append(pick(self.number)[:, self.numbers :] == 0)  # The second half says what is missing.
        described = ops.zeros_like(pick(self.trained)[:, 0], dtype="bool")
        for part in parts:
            described = ops.logical_or(described, ops.any(part, axis=-1))
        return ops.logical_and(described, pick(self.trained)[:, 0] == 0)

    def bounded_ids(self, rows: Any) -> Any:
        """The id vectors of rows, int [N], as they enter the items' vectors; float32 [N, D]."""
        text = self.text_projection(ops.take(self.text, rows, axis=0)) if self.text_width else None
        return ops.cast(self._bounded(ops.take(self.embedding, rows, axis=0), text), "float32")

    def _bounded(self, vectors: Any, text: Any = None) -> Any:
        """Id vectors [N, D], none longer than `delta` times its text [N, D]; all as they are where there is no text."""
        if self.delta is None or text is None:
            return vectors
        long, most = (ops.sqrt(ops.sum(ops.square(part), axis=-1, keepdims=True) + 1e-12) for part in (vectors, text))
        known = ops.any(text != 0, axis=-1, keepdims=True)
        return vectors * ops.where(known, ops.minimum(1.0, self.delta * most / long), 1.0)

    def _hide(self, vectors: Any, training: bool) -> Any:
        """Drop whole id embeddings in training, without rescaling the rest: serving always has them whole."""
        if not (training and self.described and self.id_dropout):
            return vectors
        return self.id_drop(vectors, training=True) * (1.0 - self.id_dropout)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("dim", "items", "ids", "text_width", "numbers", "id_dropout", "delta")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in own},
            "categories": {name: list(size) for name, size in self.categories.items()},
        }


def looked_up(table: Any, rows: Any) -> Any:
    """Rows of a table, [..., D] of int [...]; nothing else of it is read, copied or, for the gradient, filled in."""
    return tf.gather(table.value, rows)


def _checked(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array, if it has the declared shape."""
    values = np.asarray(values)
    if values.shape != shape or 0 in shape:
        raise ValueError(f"`{name}` must have the shape {shape} that the tower was built for; received {values.shape}.")
    return values
