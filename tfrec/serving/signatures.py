"""The graph of an exported model, from the strings of a request to item ids and scores; `export` saves it.

Stock TensorFlow operations only. What the graph reads besides constants is tracked by one `tf.Module`: copies of the
behaviour tower's weights, the matrix of item vectors and the lookup tables. The Keras model is called through a closure
and is not part of what is saved: neither its item tower nor optimizer, metrics or states of random generators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrec.features import HISTORY, PAD
from tfrec.retrieval.ranks import REMOVED, remove_seen
from tfrec.serving.contract import Contract
from tfrec.serving.index.building import Index
from tfrec.serving.index.inverted import InvertedFile
from tfrec.serving.index.vectors import StoredVectors, VectorTable
from tfrec.serving.names import ITEM_IDS, KNOWN_EVENTS, RECOMMEND_FULL, SCORES, SERVING_DEFAULT
from tfrec.serving.session import quiet

ID_FILE = "item_ids.txt"
# The score beside the id "", where fewer items are left than an answer holds: finite, and below every real score.
NO_ITEM_SCORE = REMOVED


class ServingGraph:
    """The two signatures of an export.

    `serving_default` takes `history` string [B, T], oldest first; every other input is missing. `recommend_full` takes
    each input that training knew, named as in `Contract.specs`: categorical columns of the events string [B, T],
    timestamps int64 [B, T] in seconds, categorical columns of the users string [B], the vector of the user's text
    float32 [B, W]; "", 0 and zeros are missing.
    Both return `item_ids` string [B, k] and `scores` float32 [B, k], best first, k being `Contract.width`, and
    `known_events` int32 [B]: how many of the history's ids the model knows.

    Ids that are empty or unknown are taken out of a history together with what describes their events; a history of
    nothing else is answered as an empty one, and has 0 `known_events`. Where fewer than k items are left for a user,
    the rest is "" with `NO_ITEM_SCORE`.
    """

    def __init__(
        self, model: Any, vectors: VectorTable, contract: Contract, id_file: Path, index: Index | None = None
    ) -> None:
        """Create tables and matrix, and trace the signatures.

        Args:
            model: the trained two-tower model.
            vectors: the vectors of all items, as they are stored.
            contract: ids, inputs and rules.
            id_file: where to write the ids, one a line; it is read while the model is saved. Its path must be new to
                the process, since TensorFlow shares a table among the readers of one path.
            index: the lists from which recommendations come; None where every item is scored. The items of the graph
                are in its order.
        """
        if index is not None:
            vectors, contract = vectors.taken(index.order), contract.reordered(index.order)
        id_file.write_text("".join(f"{item}\n" for item in contract.item_ids[1:]), encoding="utf-8", newline="\n")
        self._model, self._contract = model, contract
        self._vectors = StoredVectors(vectors, "item_vectors")
        self._lists: InvertedFile | None = None
        if index is not None:
            self._starts = tf.Variable(index.starts, trainable=False, dtype=tf.int32, name="list_starts")
            self._lists = InvertedFile(index.answers, self._starts, self._vectors.scores_of, contract.width)
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        to_row = tf.lookup.TextFileInitializer(str(id_file), tf.string, line, tf.int64, number)
        to_id = tf.lookup.TextFileInitializer(str(id_file), tf.int64, number, tf.string, line)
        self._rows = tf.lookup.StaticHashTable(to_row, -1)
        self._ids = tf.lookup.StaticHashTable(to_id, "")
        self._codes = {name: code_table(values) for name, values in contract.vocabularies.items()}
        rows = tf.TensorSpec([None, None], tf.int32)  # One function for all signatures that read nothing else.
        self._alone = tf.function(self._query_of_rows, input_signature=[rows], autograph=False)
        weights = [(weight, tf.Variable(weight.value, trainable=False, name="weight")) for weight in self._read()]
        self._weights = weights
        with _portable(model.behavior_tower):
            self.signatures = self._traced()
        self.module = tf.Module(name="tfrec")
        self.module.tables = [self._rows, self._ids, *self._codes.values()]
        self.module.vectors, self.module.weights = self._vectors.variables, [copy for _, copy in self._weights]
        self.module.lists = [] if self._lists is None else [self._starts, *self._lists.variables]

    def save(self, folder: Path) -> None:
        """Write the SavedModel."""
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        with quiet():
            tf.saved_model.save(self.module, str(folder), signatures=self.signatures, options=options)

    def _read(self) -> list[Any]:
        """The weights that the graph reads, those of the model's layers."""
        of_items = {id(weight) for weight in self._model.item_tower.weights}
        return [weight for weight in self._model.weights if id(weight) not in of_items]

    def _traced(self) -> dict[str, Any]:
        specs = self._contract.specs
        default = tf.function(lambda history: self._answer({HISTORY: history}), autograph=False)
        full = tf.function(lambda **inputs: self._answer(inputs), autograph=False)
        return {
            SERVING_DEFAULT: default.get_concrete_function(history=specs[HISTORY]),
            RECOMMEND_FULL: full.get_concrete_function(**specs),
        }

    def _answer(self, inputs: Mapping[str, Any], allowed: Any = None) -> dict[str, Any]:
        """The best items of each user, from the tensors of a request; beside a history alone, `allowed` may choose."""
        rows = self._rows_of(inputs[HISTORY])
        if len(inputs) == 1:
            return self._answer_alone(rows, allowed)
        features = self._features(rows, inputs)
        if self._lists is not None:
            return self._nearest(self._lists, self._query(features), rows)
        return _with_known(self._best(self._shown(self._scores(features), rows)), rows)

    def _answer_alone(self, rows: Any, allowed: Any = None) -> dict[str, Any]:
        """The best items from item rows int32 [B, T] alone; those alone that bool [B, I] allows."""
        query = self._alone(rows)
        if self._lists is not None and allowed is None:
            return self._nearest(self._lists, query, rows)
        scores = self._shown(self._vectors.scores(query), rows)
        return _with_known(self._best(scores if allowed is None else tf.where(allowed, scores, REMOVED)), rows)

    def _nearest(self, lists: InvertedFile, query: Any, rows: Any) -> dict[str, Any]:
        """The best items of queries float32 [B, D], from lists; `rows` int32 [B, T] are those of the history."""
        found = lists.best(query, rows if self._contract.seen == "remove" else rows[:, :0])
        return _with_known(self._named(*found), rows)

    def _rows_of(self, ids: Any) -> Any:
        """Item rows int32 of the strings, of their shape; `PAD` for what is unknown."""
        return tf.cast(self._rows.lookup(ids), tf.int32) + 1

    def _best(self, scores: Any) -> dict[str, Any]:
        """Ids and scores of the best items, from float32 [B, I]."""
        top = tf.math.top_k(scores, self._contract.width)
        return self._named(top.indices, top.values)

    def _named(self, rows: Any, scores: Any) -> dict[str, Any]:
        """An answer of rows int32 [B, k] and scores float32 [B, k]."""
        ids = self._ids.lookup(tf.cast(rows, tf.int64) - 1)
        return {ITEM_IDS: tf.where(scores > REMOVED / 2, ids, ""), SCORES: scores}

    def _features(self, rows: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The model's inputs, the rows of the history compacted and cut to the newest events."""
        places, live = newest(rows, self._contract.max_length)
        features = {HISTORY: taken(rows, places, live)}
        for name, values in inputs.items():
            if name == HISTORY:
                continue
            of_event = self._contract.of_events(name)
            rank = 2 if of_event else 1
            what = f"{name} must have {'the shape' if of_event else 'as many rows as that'} of history"
            tf.debugging.assert_equal(tf.shape(values)[:rank], tf.shape(rows)[:rank], message=what)
            if name in self._codes:
                values = self._codes[name].lookup(values)
            feature = self._contract.features[name]
            features[feature] = taken(values, places, live) if of_event else values
        return features

    def _scores(self, features: Mapping[str, Any]) -> Any:
        """float32 [B, I] of the model's inputs."""
        return self._vectors.scores(self._query(features))

    def _query_of_rows(self, rows: Any) -> Any:
        """float32 [B, D] of the item rows int32 [B, T] of a history, beside which nothing is known."""
        return self._query(self._features(rows, {}))

    def _query(self, features: Mapping[str, Any]) -> Any:
        """float32 [B, D]; the model computes with the copies of its weights, whatever these are called."""
        with keras.StatelessScope(self._weights):
            return tf.cast(self._model.last_state(self._vectors.rows(features[HISTORY]), features), tf.float32)

    def _shown(self, scores: Any, rows: Any) -> Any:
        """float32 [B, I]; what may not be shown, by the rows of the history, has `REMOVED`."""
        if not self._contract.candidates[1:].all():
            scores = tf.where(self._contract.candidates[None, :], scores, REMOVED)
        seen = rows if self._contract.seen == "remove" else None
        return remove_seen(scores, seen, tf.constant([PAD], tf.int32))


def _with_known(answer: dict[str, Any], rows: Any) -> dict[str, Any]:
    """The answer, and how many of the rows int32 [B, T] of a history are known."""
    return {**answer, KNOWN_EVENTS: tf.math.count_nonzero(rows != PAD, axis=1, dtype=tf.int32)}


def newest(rows: Any, limit: int) -> tuple[Any, Any]:
    """Where the newest known events of each row stand, in their order.

    Args:
        rows: int32 [B, T] item rows with `PAD` anywhere.
        limit: events a row at most.

    Returns:
        places int32 [B, W] in 0..T and live bool [B, W]; W is the longest history left, at least 1. Slots that are not
        live hold nothing.
    """
    unknown = tf.cast(_with_slot(rows) == PAD, tf.int32)
    order = tf.argsort(unknown, axis=1, stable=True)
    count = tf.reduce_sum(1 - unknown, axis=1)
    width = tf.clip_by_value(tf.reduce_max(count), 1, limit)
    steps = tf.range(width)[None, :]
    places = tf.gather(order, tf.maximum(count - limit, 0)[:, None] + steps, batch_dims=1)
    return places, steps < tf.minimum(count, limit)[:, None]


def taken(values: Any, places: Any, live: Any) -> Any:
    """[B, W]: the values at `places` of [B, T], 0 in slots that are not live."""
    return tf.where(live, tf.gather(_with_slot(values), places, batch_dims=1), tf.zeros([], values.dtype))


def _with_slot(values: Any) -> Any:
    """[B, T + 1]: an empty slot after the row, so that there is one even where T is 0."""
    return tf.pad(values, [[0, 0], [0, 1]])


def code_table(values: tuple[str, ...]) -> Any:
    """Value -> code, `PAD` for any other; a table needs a key, and in a column without values "" is that."""
    keys = tf.constant(list(values) or [""], tf.string)
    codes = tf.range(1, len(values) + 1, dtype=tf.int32) if values else tf.constant([PAD], tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, codes), PAD)


@contextmanager
def _portable(layer: keras.layers.Layer) -> Iterator[None]:
    """Trace recurrent layers in their general form: on a GPU they would choose cuDNN, which no CPU server can run."""
    recurrent = [part for part in _parts(layer, {}) if getattr(part, "use_cudnn", False)]
    before = [part.use_cudnn for part in recurrent]
    for part in recurrent:
        part.use_cudnn = False
    try:
        yield
    finally:
        for part, chosen in zip(recurrent, before, strict=True):
            part.use_cudnn = chosen


def _parts(layer: Any, found: dict[int, Any]) -> list[Any]:
    """The layer and the layers in its attributes, at any depth, each once."""
    if isinstance(layer, (list, tuple)):
        for part in layer:
            _parts(part, found)
    elif isinstance(layer, keras.layers.Layer) and id(layer) not in found:
        found[id(layer)] = layer
        for part in vars(layer).values():
            _parts(part, found)
    return list(found.values())
