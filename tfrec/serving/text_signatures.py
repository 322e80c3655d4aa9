"""The graph of a text model, `NAME_text/`: words beside a history, read in the graph; `export_text` saves it.

The only graph that may hold operations of tensorflow-text: the tokenizer's. TensorFlow Serving has them built in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, PAD, TEXT, USER_TEXT
from tfrec.serving import delimited
from tfrec.serving.contract import Contract
from tfrec.serving.index.vectors import StoredVectors, VectorTable
from tfrec.serving.names import RECOMMEND_DELIMITED, SERVING_DEFAULT
from tfrec.serving.signatures import ServingGraph
from tfrec.towers.text_models import TextModel

RECOMMEND = "recommend"
EMBED_TEXT = "embed_text"
VECTOR = "vector"
# What Python calls whitespace: a text of nothing else is an empty one.
_BLANK = r"[\t-\r\x1c-\x20\x{85}\p{Z}]*"
# Bytes of a text that are read; the model reads a few dozen tokens, and nobody should make a server chew megabytes.
_LONGEST = 2**15
_TEXTS = 1000  # Items whose likeness to one another is looked at.


@dataclass(frozen=True)
class Words:
    """What a text means to a model.

    A model that was trained with the users' texts reads it as one: the input `USER_TEXT`. For any other one it is a
    query, which training never met: an item's score is then log p(item | history), which the model gives up to a
    constant, plus `scale` times the cosine of the query's and the item's text, which stands for log p(query | item).
    Both count: either alone finds less than the two together.

    Attributes:
        model: the text model.
        items: the items' vectors by the same model, W numbers each, zeros where an item has no text, as they are
            stored; None where the text is the user's.
        scale: what a cosine counts, in units of the model's scores.
    """

    model: TextModel
    items: VectorTable | None
    scale: float

    @classmethod
    def of(cls, model: Any, text: TextModel, weight: float, quantization: str = "float32") -> Words:
        """What a text means to a two-tower model.

        Args:
            model: the trained model.
            text: the text model that its item tower reads.
            weight: how much a query counts beside the history: `scale` is this many times one over the standard
                deviation of the cosines between items' texts, which some text models keep far smaller than others.
            quantization: how the items' vectors are stored.

        Raises:
            ValueError: the model reads no text, or one of another width.
        """
        width = model.behavior_tower.text_width or model.item_tower.text_width
        if not width:
            raise ValueError("`model` reads no text: train it with `model.text`, or export it without a text model.")
        if width != text.width:
            raise ValueError(
                f"`text` gives vectors of {text.width} numbers, and the model reads {width}: another model."
            )
        if model.behavior_tower.text_width:
            return cls(text, None, 0.0)
        items = np.asarray(model.item_tower.text, np.float32)
        items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-9)
        return cls(text, VectorTable.of(items, quantization), weight / max(_spread(items), 0.01))


def _spread(items: np.ndarray) -> float:
    """The standard deviation of the cosines between different texts, of at most `_TEXTS` texts evenly spread."""
    rows = np.flatnonzero(items.any(axis=1))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _TEXTS)).astype(int)]
    chosen = np.unique(items[rows], axis=0)
    cosines = (chosen @ chosen.T)[np.triu_indices(len(chosen), 1)]
    return float(cosines.std()) if len(cosines) else 0.0


class TextGraph(ServingGraph):
    """The signatures of a text model.

    `serving_default`, also called `recommend`, takes `history` string [B, T] and `text` string [B] together and answers
    as `ServingGraph` does. Either may be empty: an empty or blank text says nothing, and what the model was trained
    with besides is missing. `recommend_delimited` takes `history` string [B], ids parted by line breaks. `embed_text`
    takes `text` and gives `vector` float32 [B, W], of length 1, zeros for an empty text: what `recommend_full` of a
    model that was trained with users' texts takes as `user_text`.

    Any bytes are a text: what is no UTF-8 is read as the replacement character.
    """

    def __init__(self, model: Any, vectors: VectorTable, contract: Contract, id_file: Path, words: Words) -> None:
        """Create tables and matrices, and trace the signatures; arguments as for `ServingGraph`, and what a text is."""
        self._words = words
        self._texts = None if words.items is None else StoredVectors(words.items, "item_texts")
        text = tf.TensorSpec([None], tf.string)  # One function for all signatures: the backbone is in the graph once.
        self._embed = tf.function(self._embedded, input_signature=[text], autograph=False)
        super().__init__(model, vectors, contract, id_file)
        self.module.texts = [] if self._texts is None else self._texts.variables
        self.module.tokenizer = resources(words.model.reader)

    def _read(self) -> list[Any]:
        return [*super()._read(), *self._words.model.backbone.weights]

    def _traced(self) -> dict[str, Any]:
        specs = self._contract.specs
        recommend = tf.function(lambda **inputs: self._answer(inputs), autograph=False)
        embed = tf.function(lambda text: {VECTOR: self._embed(text)}, autograph=False)
        answer = recommend.get_concrete_function(**specs)

        def of_lines(history: Any, text: Any) -> dict[str, Any]:
            ids = delimited.parts(history)
            known = self._rows_of(ids.flat_values) != PAD
            return answer(**{HISTORY: delimited.newest_known(ids, known).to_tensor(), TEXT: text})

        lines = tf.function(of_lines, autograph=False)
        return {
            SERVING_DEFAULT: answer,
            RECOMMEND: answer,
            RECOMMEND_DELIMITED: lines.get_concrete_function(
                history=tf.TensorSpec([None], tf.string, HISTORY), text=specs[TEXT]
            ),
            EMBED_TEXT: embed.get_concrete_function(text=specs[TEXT]),
        }

    def _features(self, rows: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The model's inputs; a model that reads no user's text ignores its vector."""
        text = inputs[TEXT]
        message = f"{TEXT} must have as many rows as {HISTORY}"
        tf.debugging.assert_equal(tf.shape(text)[0], tf.shape(rows)[0], message=message)
        return {**super()._features(rows, {HISTORY: inputs[HISTORY]}), USER_TEXT: self._embed(text)}

    def _scores(self, query: Any, features: Mapping[str, Any]) -> Any:
        scores = super()._scores(query, features)
        if self._texts is None:
            return scores
        return scores + self._words.scale * self._texts.scores(features[USER_TEXT])

    def _embedded(self, text: Any) -> Any:
        """float32 [B, W] of the strings [B]."""
        text = tf.strings.unicode_transcode(tf.strings.substr(text, 0, _LONGEST), "UTF-8", "UTF-8", errors="replace")
        blank = tf.strings.regex_full_match(text, _BLANK)
        ids, lengths = self._words.model.tokens(tf.where(blank, "", text))
        with keras.StatelessScope(self._weights):
            vectors = self._words.model.vectors(ids, lengths)
        return tf.where(blank[:, None], 0.0, vectors)


def resources(tokenizer: Any) -> list[Any]:
    """The lookup tables and the like in a tokenizer, at any depth; a saved graph must name those that it reads."""
    found: dict[int, Any] = {}
    _collect(tokenizer, found, set())
    return list(found.values())


def _collect(part: Any, found: dict[int, Any], seen: set[int]) -> None:
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, tf.saved_model.experimental.TrackableResource):
        found[id(part)] = part
    elif isinstance(part, (list, tuple)):
        for each in part:
            _collect(each, found, seen)
    elif type(part).__module__.startswith(("keras_hub.", "tensorflow_text.")):
        for each in vars(part).values():
            _collect(each, found, seen)
