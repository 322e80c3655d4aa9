"""The signatures of `NAME/` beyond recommending from a history: other forms of a request, and items by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, ITEM_ID, PAD, TIMESTAMP
from tfrec.retrieval.ranks import REMOVED, remove_seen
from tfrec.serving import delimited
from tfrec.serving.contract import Contract
from tfrec.serving.index.building import Index
from tfrec.serving.index.inverted import InvertedFile
from tfrec.serving.index.vectors import VectorTable, lengths
from tfrec.serving.names import (
    ALLOW_CATEGORIES,
    ALLOW_ITEMS,
    DENY_CATEGORIES,
    DENY_ITEMS,
    EMBED_ITEM,
    EMBED_QUERY,
    EMBED_QUERY_DELIMITED,
    FILTERED_DELIMITED,
    FULL_DELIMITED,
    KNOWN,
    RECOMMEND_DELIMITED,
    RECOMMEND_FILTERED,
    RECOMMEND_FULL,
    SIMILAR_ITEMS,
    VECTOR,
)
from tfrec.serving.request_reader import code_table
from tfrec.serving.signatures import ServingGraph


class CatalogueGraph(ServingGraph):
    """All signatures of an export: the two of `ServingGraph`, and eight more.

    - `recommend_delimited`: `history` string [B], the ids of each parted by line breaks, so that histories of any
      lengths fit one request. It answers as `serving_default`.
    - `recommend_filtered`: `history` string [B, T] with `allow_items` and `deny_items` string [B, A], ids, and, where
      items have categories, `allow_categories` and `deny_categories` string [B, C], each `column=value`. Rows are
      filled up with "". A list of allowed ones in which anything stands leaves only items that it names, two such
      lists what both name; a value that no item has names nothing.
    - `embed_query`: `history` string [B, T] -> `vector` float32 [B, D]; its product with an item's is the score.
    - `recommend_full_delimited`, `recommend_filtered_delimited`, `embed_query_delimited`: what is string [B, T] or
      int64 [B, T] there is string [B] here, parted by line breaks; what describes events has a part for each id of the
      history, in its order. A value that has a line break itself cannot be sent so.
    - `embed_item`: `item_id` string [B] -> `vector` float32 [B, D], zeros where the id is unknown, `known` int32 [B].
    - `similar_items`: `item_id` string [B] -> `item_ids`, `scores`: what is nearest by cosine, itself left out;
      nothing for an unknown id.

    Where there is an index, recommendations and similar items come from it, but for `recommend_filtered`: a filter may
    leave nothing of the lists that are read, and so every item is scored.
    """

    def __init__(
        self, model: Any, vectors: VectorTable, contract: Contract, id_file: Path, index: Index | None = None
    ) -> None:
        """Create what the signatures read; arguments as for `ServingGraph`."""
        order = np.arange(len(contract.items)) if index is None else index.order
        # What is beyond the tower's width is a bonus of new items, and no likeness.
        self._dim, self._index = model.item_tower.dim, index
        long = lengths(vectors.restored[:, : self._dim])[order]
        inverse = np.divide(1.0, long, out=np.zeros_like(long), where=long > 0)
        self._inverse = tf.Variable(inverse, trainable=False, dtype=tf.float32, name="inverse_lengths")
        catalogue: list[Any] = [self._inverse]
        if contract.categories.values:
            codes = contract.categories.codes[order]
            self._of_items = tf.Variable(codes, trainable=False, dtype=tf.int32, name="categories")
            self._categories = code_table(contract.categories.values)
            catalogue += [self._of_items, self._categories]
        super().__init__(model, vectors, contract, id_file, index)
        self.module.catalogue = [*catalogue, *(self._like.variables if index is not None else [])]

    def _traced(self) -> dict[str, Any]:
        if self._index is not None:
            self._like = InvertedFile(self._index.neighbours, self._starts, self._cosines, self._contract.width)
        rank1, rank2 = (lambda name, rank=rank: tf.TensorSpec([None] * rank, tf.string, name) for rank in (1, 2))
        lists = [ALLOW_ITEMS, DENY_ITEMS]
        lists += [ALLOW_CATEGORIES, DENY_CATEGORIES] if self._contract.categories.values else []
        served = super()._traced()
        self._full, contract = served[RECOMMEND_FULL], self._contract
        full = [rank1(name) if contract.of_events(name) else spec for name, spec in contract.specs.items()]
        forms: dict[str, tuple[Any, list[tf.TensorSpec]]] = {
            RECOMMEND_DELIMITED: (self._delimited, [rank1(HISTORY)]),
            FULL_DELIMITED: (self._full_delimited, full),
            RECOMMEND_FILTERED: (self._filtered, [rank2(HISTORY), *map(rank2, lists)]),
            FILTERED_DELIMITED: (self._filtered_delimited, [rank1(HISTORY), *map(rank1, lists)]),
            EMBED_QUERY: (self._embedded_query, [rank2(HISTORY)]),
            EMBED_QUERY_DELIMITED: (self._embedded_query_delimited, [rank1(HISTORY)]),
            EMBED_ITEM: (self._embedded_item, [rank1(ITEM_ID)]),
            SIMILAR_ITEMS: (self._similar, [rank1(ITEM_ID)]),
        }
        made = {
            name: tf.function(answer, autograph=False).get_concrete_function(**{spec.name: spec for spec in specs})
            for name, (answer, specs) in forms.items()
        }
        return {**served, **made}

    def _delimited(self, history: Any) -> dict[str, Any]:
        return self._answer_alone(self._rows_of_lines(history))

    def _rows_of_lines(self, history: Any) -> Any:
        """Rows [B, T] of string [B]; looked up before they are filled up, which what is unknown does not add to."""
        ids = delimited.parts(history)
        rows = self._rows_of(ids.flat_values)
        return delimited.newest_known(ids.with_flat_values(rows), rows != PAD).to_tensor(PAD)

    def _full_delimited(self, history: Any, **given: Any) -> dict[str, Any]:
        """What `recommend_full` answers; the names are those of its inputs."""
        ids = delimited.parts(history)
        known = self._rows_of(ids.flat_values) != PAD
        values = {HISTORY: ids}
        for name in filter(self._contract.of_events, given):
            _check_rows(name, given[name], history)
            values[name] = delimited.aligned(given[name], ids)
            if self._contract.features[name] == TIMESTAMP:
                values[name] = values[name].with_flat_values(delimited.numbers(values[name].flat_values))
        dense = {name: delimited.newest_known(each, known).to_tensor() for name, each in values.items()}
        return self._full(**{**given, **dense})

    def _filtered(self, history: Any, **lists: Any) -> dict[str, Any]:
        for name, values in lists.items():
            _check_rows(name, values, history)
        return self._answer({HISTORY: history}, self._allowed(lists))

    def _filtered_delimited(self, history: Any, **lists: Any) -> dict[str, Any]:
        for name, values in lists.items():
            _check_rows(name, values, history)
        allowed = self._allowed({name: delimited.parts(values) for name, values in lists.items()})
        return self._answer_alone(self._rows_of_lines(history), allowed)

    def _allowed(self, lists: Mapping[str, Any]) -> Any:
        """Bool [B, I]: the items that the lists of a request leave, each string [B, A], dense or ragged."""
        allowed = tf.constant(True)
        for name, values in lists.items():
            named = self._of_ids(values) if name in (ALLOW_ITEMS, DENY_ITEMS) else self._of_categories(values)
            given = tf.reduce_any(values != "", axis=1)[:, None]
            allowed &= ~named if name in (DENY_ITEMS, DENY_CATEGORIES) else named | ~given
        return allowed

    def _of_ids(self, ids: Any) -> Any:
        """Bool [B, I]: the items that are named, of string [B, A]."""
        return _marked(self._rows_of(ids), len(self._contract.items))

    def _of_categories(self, values: Any) -> Any:
        """Bool [B, I]: the items that have one of the values, of string [B, C]."""
        marked = _marked(self._categories.lookup(values), len(self._contract.categories.values) + 1)
        return tf.reduce_any(tf.gather(marked, self._of_items, axis=1), axis=-1)

    def _embedded_query(self, history: Any) -> dict[str, Any]:
        return {VECTOR: self._alone(self._rows_of(history))}

    def _embedded_query_delimited(self, history: Any) -> dict[str, Any]:
        return {VECTOR: self._alone(self._rows_of_lines(history))}

    def _embedded_item(self, item_id: Any) -> dict[str, Any]:
        rows = self._rows_of(item_id)
        known = rows != PAD
        return {
            VECTOR: self._vectors.rows(rows) * tf.cast(known, tf.float32)[:, None],
            KNOWN: tf.cast(known, tf.int32),
        }

    def _similar(self, item_id: Any) -> dict[str, Any]:
        rows = self._rows_of(item_id)
        directions = self._vectors.rows(rows)[:, : self._dim] * tf.gather(self._inverse, rows)[:, None]
        if self._index is not None:
            found, cosines = self._like.best(directions, rows[:, None])
            return self._named(found, tf.where((rows != PAD)[:, None], cosines, REMOVED))
        cosines = self._vectors.scores(self._without_bonus(directions)) * self._inverse
        cosines = tf.where(self._contract.candidates[None, :] & (rows != PAD)[:, None], cosines, REMOVED)
        return self._best(remove_seen(cosines, rows[:, None], tf.constant([PAD])))

    def _cosines(self, direction: Any, rows: Any) -> Any:
        """float32 [N]: of a direction float32 [dim] and the items at int32 [N]."""
        products = self._vectors.scores_of(self._without_bonus(direction[None])[0], rows)
        return products * tf.gather(self._inverse, rows)

    def _without_bonus(self, directions: Any) -> Any:
        """float32 [B, D] of directions float32 [B, dim], which a bonus does not meet."""
        return tf.pad(directions, [[0, 0], [0, self._vectors.width - self._dim]])


def _check_rows(name: str, values: Any, history: Any) -> None:
    message = f"{name} must have as many rows as {HISTORY}"
    tf.debugging.assert_equal(tf.shape(values)[0], tf.shape(history)[0], message=message)


def _marked(codes: Any, size: Any) -> Any:
    """Bool [B, size]: which codes stand in each row of int32 [B, A], dense or ragged; `PAD` is none."""
    codes = codes if isinstance(codes, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(codes)
    places = tf.stack([tf.cast(codes.value_rowids(), tf.int32), codes.flat_values], axis=-1)
    shape = [tf.cast(codes.nrows(), tf.int32), size]
    found = tf.scatter_nd(places, tf.ones([tf.shape(places)[0]], tf.int32), shape) > 0
    return found & (tf.range(size) != PAD)
