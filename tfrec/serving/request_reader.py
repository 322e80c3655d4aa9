"""From the tensors of a request to a model's inputs, in the graph: rows of ids, codes of values, the newest events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec.features import CANDIDATES, HISTORY, PAD
from tfrec.serving.contract import Contract

_LINE, _NUMBER = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER


class RequestReader:
    """Reads requests by a contract: ids that are empty or unknown leave a history with all that describes their events.

    Attributes:
        tables: what a saved graph must track.
    """

    def __init__(self, contract: Contract, id_file: Path) -> None:
        """Create the tables.

        Args:
            contract: ids, inputs and rules.
            id_file: where to write the ids, one a line; it is read while the model is saved. Its path must be new to
                the process, since TensorFlow shares a table among the readers of one path.
        """
        id_file.write_text("".join(f"{item}\n" for item in contract.item_ids[1:]), encoding="utf-8", newline="\n")
        self._contract = contract
        to_row = tf.lookup.TextFileInitializer(str(id_file), tf.string, _LINE, tf.int64, _NUMBER)
        self._rows = tf.lookup.StaticHashTable(to_row, -1)
        self._codes = {name: code_table(values) for name, values in contract.vocabularies.items()}
        self.tables = [self._rows, *self._codes.values()]

    def rows(self, ids: Any) -> Any:
        """Item rows int32 of the strings, of their shape; `PAD` for what is unknown."""
        return tf.cast(self._rows.lookup(ids), tf.int32) + 1

    def features(self, rows: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The model's inputs.

        Args:
            rows: int32 [B, T] item rows of the history, which are compacted and cut to the newest events.
            inputs: the tensors of the request by name; `HISTORY` may be among them.
        """
        places, live = newest(rows, self._contract.max_length)
        features = {HISTORY: taken(rows, places, live)}
        for name, values in inputs.items():
            if name == HISTORY:
                continue
            self._check_shape(name, values, rows, inputs)
            if name == CANDIDATES:
                values = self.rows(values)
            elif name in self._codes:
                values = self._codes[name].lookup(values)
            of_event = self._contract.of_events(name)
            features[self._contract.features[name]] = taken(values, places, live) if of_event else values
        return features

    def _check_shape(self, name: str, values: Any, rows: Any, inputs: Mapping[str, Any]) -> None:
        """Hold an input to the shape of what it describes: events, candidates, or users."""
        beside, rank, what = rows, 1, f"as many rows as that of {HISTORY}"
        if self._contract.of_events(name):
            rank, what = 2, f"the shape of {HISTORY}"
        elif name != CANDIDATES and self._contract.of_candidates(name):
            beside, rank, what = inputs[CANDIDATES], 2, f"the shape of {CANDIDATES}"
        tf.debugging.assert_equal(tf.shape(values)[:rank], tf.shape(beside)[:rank], message=f"{name} must have {what}")


def to_ids(id_file: Path) -> Any:
    """The table from a row, less 1, to its id, of the file that a `RequestReader` wrote."""
    initializer = tf.lookup.TextFileInitializer(str(id_file), tf.int64, _NUMBER, tf.string, _LINE)
    return tf.lookup.StaticHashTable(initializer, "")


def known_events(rows: Any) -> Any:
    """int32 [B]: how many of the rows int32 [B, T] of a history are known."""
    return tf.math.count_nonzero(rows != PAD, axis=1, dtype=tf.int32)


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
