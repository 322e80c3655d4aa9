"""The second stage of a two-stage model in the graph of an export: what the first one recalls is judged and chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfrec.ranking.evidence import VECTORS


class SecondStage:
    """Answers with the best of what was recalled.

    Attributes:
        recall: items that the first stage hands on.
        variables: what a saved graph must track besides the weights and the items' vectors.
        weights: the weights that it reads.
    """

    def __init__(self, model: Any, vectors: tf.Variable) -> None:
        """Create the tables of the catalogue.

        Args:
            model: the trained two-stage model.
            vectors: float32 [I, D], the items' vectors of its first stage, in the order of the model's rows.
        """
        self._model, self.recall = model, min(model.recall, len(model.candidates))
        first = {id(weight) for weight in model.retrieval.weights}
        self.weights = [weight for weight in model.weights if id(weight) not in first]
        tables = {name: table for name, table in model.item_tables().items() if name != VECTORS}
        named = {name: tf.Variable(table, trainable=False, name=f"items_{name}") for name, table in tables.items()}
        self._tables, self.variables = {VECTORS: vectors, **named}, list(named.values())

    def answer(self, scores: Any, features: Mapping[str, Any], k: int, weights: Any) -> tuple[Any, Any]:
        """The chosen items of each user.

        Args:
            scores: float32 [B, I] of the first stage; what may not be shown has `REMOVED`.
            features: the inputs of the model.
            k: how many are chosen.
            weights: pairs of a weight and what it is read from.

        Returns:
            int32 [B, k] rows and float32 [B, k] scores, in their order; where nothing is left the score is `REMOVED`.
        """
        top = tf.math.top_k(scores, self.recall)
        with keras.StatelessScope(weights):
            judged = self._model.judged(self._tables, features, top.indices, top.values)
            return self._model.ordered(self._tables, top.indices, judged, k)
