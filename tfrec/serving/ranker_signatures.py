"""The graph of an exported ranker, from the strings of a request to what is predicted of each candidate.

Stock TensorFlow operations only, and no more tracked than is read, as in `signatures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrec.features import CANDIDATES, HISTORY, PAD
from tfrec.serving.contract import Contract
from tfrec.serving.index.vectors import StoredVectors, VectorTable
from tfrec.serving.names import KNOWN, KNOWN_EVENTS, PREDICT_FULL, SERVING_DEFAULT
from tfrec.serving.request_reader import RequestReader, known_events
from tfrec.serving.signatures import copies, portable, save, weights_beside

# Candidates of a row at most: each of them looks at each event of the history.
MOST_CANDIDATES = 10_000


class RankerGraph:
    """The two signatures of an exported ranker.

    `serving_default` takes `history` string [B, T], oldest first, and `candidates` string [B, C]; every other input is
    missing. `predict_full` takes each input that training knew, named as in `Contract.specs`: those of the events
    string or int64 [B, T], those of the candidates but for neutral ones string [B, C], those of the users [B].
    Both return a float32 [B, C] for each label, called as in `Contract.labels`: probabilities, ratings; `known` int32
    [B, C], 1 for a candidate that the model knows; and `known_events` int32 [B].

    Each candidate is judged by the whole history, alone: neither its place nor the others count. Histories are read as
    `ServingGraph` reads them. A candidate that is empty or unknown is judged as an item of which nothing is known, one
    without id, text and features; it has the `known` 0.
    """

    def __init__(self, model: Any, vectors: VectorTable, contract: Contract, id_file: Path) -> None:
        """Create tables and matrix, and trace the signatures.

        Args:
            model: the trained ranker, or an ensemble.
            vectors: the vectors of all items, as they are stored.
            contract: ids, inputs and labels.
            id_file: as for `RequestReader`.
        """
        self._model, self._contract = model, contract
        self._reader = RequestReader(contract, id_file)
        self._vectors = StoredVectors(vectors, "item_vectors")
        self._weights = copies(weights_beside(model, *model.left_behind))
        with portable(model):
            self.signatures = self._traced()
        self.module = tf.Module(name="tfrec")
        self.module.tables, self.module.vectors = self._reader.tables, self._vectors.variables
        self.module.weights = [copy for _, copy in self._weights]

    def save(self, folder: Path) -> None:
        """Write the SavedModel."""
        save(self.module, self.signatures, folder)

    def _traced(self) -> dict[str, Any]:
        specs = self._contract.specs
        asked = tf.function(lambda **inputs: self._answer(inputs), autograph=False)
        return {
            SERVING_DEFAULT: asked.get_concrete_function(**{name: specs[name] for name in (HISTORY, CANDIDATES)}),
            PREDICT_FULL: asked.get_concrete_function(**specs),
        }

    def _answer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        message = f"{CANDIDATES} may be {MOST_CANDIDATES} a row at most: ask for the others in another request"
        tf.debugging.assert_less_equal(tf.shape(inputs[CANDIDATES])[1], MOST_CANDIDATES, message=message)
        rows = self._reader.rows(inputs[HISTORY])
        features = self._reader.features(rows, inputs)
        with keras.StatelessScope(self._weights):
            found = self._model.predictions(features, self._vectors.rows)
        predicted = {output: found[label] for label, output in self._contract.labels.items()}
        known = tf.cast(features[CANDIDATES] != PAD, tf.int32)
        return {**predicted, KNOWN: known, KNOWN_EVENTS: known_events(rows)}
