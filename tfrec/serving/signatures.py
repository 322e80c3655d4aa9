"""The graph of an exported model, from the strings of a request to item ids and scores; `export` saves it.

Stock TensorFlow operations only. What the graph reads besides constants is tracked by one `tf.Module`: copies of the
behaviour tower's weights, the matrix of item vectors and the lookup tables. The Keras model is called through a closure
and is not part of what is saved: neither its item tower nor optimizer, metrics or states of random generators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrec.features import HISTORY, PAD, STATE
from tfrec.retrieval.ranks import REMOVED, remove_seen
from tfrec.serving.contract import Contract
from tfrec.serving.index.building import Index
from tfrec.serving.index.inverted import InvertedFile
from tfrec.serving.index.vectors import StoredVectors, VectorTable
from tfrec.serving.names import ITEM_IDS, KNOWN_EVENTS, RECOMMEND_FULL, SCORES, SERVING_DEFAULT
from tfrec.serving.request_reader import RequestReader, known_events, to_ids
from tfrec.serving.second_stage import SecondStage
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
            model: the trained two-tower model, or the trained two-stage model, whose vectors must be float32 and not
                be indexed.
            vectors: the vectors of all items, as they are stored.
            contract: ids, inputs and rules.
            id_file: where to write the ids, one a line; it is read while the model is saved. Its path must be new to
                the process, since TensorFlow shares a table among the readers of one path.
            index: the lists from which recommendations come; None where every item is scored. The items of the graph
                are in its order.
        """
        if index is not None:
            vectors, contract = vectors.taken(index.order), contract.reordered(index.order)
        self._model, self._contract = getattr(model, "retrieval", model), contract
        self._reader, self._ids = RequestReader(contract, id_file), to_ids(id_file)
        self._vectors = StoredVectors(vectors, "item_vectors")
        self._second = SecondStage(model, self._vectors.variables[0]) if self._model is not model else None
        self._lists: InvertedFile | None = None
        if index is not None:
            self._starts = tf.Variable(index.starts, trainable=False, dtype=tf.int32, name="list_starts")
            self._lists = InvertedFile(index.answers, self._starts, self._vectors.scores_of, contract.width)
        rows = tf.TensorSpec([None, None], tf.int32)  # One function for all signatures that read nothing else.
        self._alone = tf.function(self._query_of_rows, input_signature=[rows], autograph=False)
        self._choose = tf.function(self._by_second, autograph=False)  # Traced once for requests of the same inputs.
        self._weights = copies(self._read())
        with portable(self._model.behavior_tower):
            self.signatures = self._traced()
        self.module = tf.Module(name="tfrec")
        self.module.tables = [*self._reader.tables, self._ids]
        self.module.vectors, self.module.weights = self._vectors.variables, [copy for _, copy in self._weights]
        self.module.second = [] if self._second is None else self._second.variables
        self.module.lists = [] if self._lists is None else [self._starts, *self._lists.variables]

    def save(self, folder: Path) -> None:
        """Write the SavedModel."""
        save(self.module, self.signatures, folder)

    def _read(self) -> list[Any]:
        """The weights that the graph reads, those of the model's layers."""
        first = weights_beside(self._model, self._model.item_tower)
        return first if self._second is None else [*first, *self._second.weights]

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
        query = self._query(features)
        if self._lists is not None:
            return self._nearest(self._lists, query, rows)
        scores = self._shown(self._scores(query, features), rows)
        return _with_known(self._chosen(scores, {**features, STATE: query}), rows)

    def _answer_alone(self, rows: Any, allowed: Any = None) -> dict[str, Any]:
        """The best items from item rows int32 [B, T] alone; those alone that bool [B, I] allows."""
        query = self._alone(rows)
        if self._lists is not None and allowed is None:
            return self._nearest(self._lists, query, rows)
        scores = self._shown(self._vectors.scores(query), rows)
        scores = scores if allowed is None else tf.where(allowed, scores, REMOVED)
        features = {} if self._second is None else {**self._features(rows, {}), STATE: query}
        return _with_known(self._chosen(scores, features), rows)

    def _nearest(self, lists: InvertedFile, query: Any, rows: Any) -> dict[str, Any]:
        """The best items of queries float32 [B, D], from lists; `rows` int32 [B, T] are those of the history."""
        found = lists.best(query, rows if self._contract.seen == "remove" else rows[:, :0])
        return _with_known(self._named(*found), rows)

    def _rows_of(self, ids: Any) -> Any:
        """Item rows int32 of the strings, of their shape; `PAD` for what is unknown."""
        return self._reader.rows(ids)

    def _chosen(self, scores: Any, features: Mapping[str, Any]) -> dict[str, Any]:
        """Ids and scores of what is recommended, from float32 [B, I] of the first stage, its inputs and its query."""
        if self._second is None:
            return self._best(scores)
        return self._named(*self._choose(scores, features))

    def _by_second(self, scores: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        assert self._second is not None
        return self._second.answer(scores, features, self._contract.width, self._weights)

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
        return self._reader.features(rows, inputs)

    def _scores(self, query: Any, features: Mapping[str, Any]) -> Any:
        """float32 [B, I] of queries float32 [B, D] and the model's inputs."""
        return self._vectors.scores(query)

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
    return {**answer, KNOWN_EVENTS: known_events(rows)}


def weights_beside(model: keras.Model, *parts: keras.layers.Layer) -> list[Any]:
    """The weights of a model but for those of some of its parts."""
    left = {id(weight) for part in parts for weight in part.weights}
    return [weight for weight in model.weights if id(weight) not in left]


def copies(weights: Sequence[Any]) -> list[tuple[Any, tf.Variable]]:
    """Each weight beside a variable of its value: what `keras.StatelessScope` takes, and a saved graph tracks."""
    return [(weight, tf.Variable(weight.value, trainable=False, name="weight")) for weight in weights]


def save(module: tf.Module, signatures: Mapping[str, Any], folder: Path) -> None:
    """Write a SavedModel."""
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet():
        tf.saved_model.save(module, str(folder), signatures=dict(signatures), options=options)


@contextmanager
def portable(layer: keras.layers.Layer) -> Iterator[None]:
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
