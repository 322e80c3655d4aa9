"""The check of a freshly exported ranker: each prediction is computed again by the Keras model, without the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrec.features import CANDIDATES, HISTORY, PAD
from tfrec.serving.names import KNOWN, KNOWN_EVENTS, PREDICT_FULL, SERVING_DEFAULT
from tfrec.serving.selfcheck import Check
from tfrec.serving.session import SessionModel

JUDGED = 12  # candidates of a row, some of them unknown, empty or there twice


@dataclass(frozen=True)
class RankerCheck(Check):
    """The check of a `RankerGraph`; differences are relative to the largest prediction where that is above 1."""

    def _answering(self) -> tuple[str, ...]:
        return SERVING_DEFAULT, PREDICT_FULL

    def _inputs(self, signature: str, history: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What describes events, users and candidates; candidates of every kind."""
        inputs = super()._inputs(signature, history, rng)
        count = JUDGED if history.shape[1] else 0  # Where there is no step, ask for no candidate either.
        ids = np.array([*self.contract.item_ids[1:], "", "no such item"], object)
        judged = rng.choice(ids, (len(history), count))
        if count:
            judged[:, -2:] = "no such item", ""
            judged[:, 1] = judged[:, 0]
        inputs[CANDIDATES] = judged
        for name in filter(self.contract.of_candidates, inputs):
            if name != CANDIDATES:
                values = np.array([*self.contract.vocabularies[name][:100], "", "no such value"], object)
                inputs[name] = rng.choice(values, judged.shape)
        return inputs

    def _compare(self, bundle: SessionModel, signature: str, history: np.ndarray, rng: np.random.Generator) -> float:
        """The largest difference of a prediction.

        Raises:
            ValueError: it is larger than it may be, or an output has another shape, or is not finite.
        """
        inputs = self._inputs(signature, history, rng)
        given, expected, worst = bundle.run(signature, inputs), self._answer(inputs), 0.0
        if given.keys() != expected.keys():
            raise ValueError(f"{signature}: the outputs are {', '.join(given)}, not {', '.join(expected)}.")
        for name, values in expected.items():
            if given[name].shape != values.shape or given[name].dtype != values.dtype:
                raise ValueError(f"{signature}: {name} is {given[name].dtype} {given[name].shape}, not {values.shape}.")
            if values.dtype != np.float32:
                if not np.array_equal(given[name], values):
                    raise ValueError(f"{signature}: {name} is {given[name][:3].tolist()}, not {values[:3].tolist()}.")
                continue
            if not np.isfinite(given[name]).all():
                raise ValueError(f"{signature}: {name} is not finite; the model's weights may have diverged.")
            scale = max(1.0, float(np.abs(values).max(initial=0.0)))
            worst = max(worst, float(np.abs(given[name] - values).max(initial=0.0)) / scale)
        if not worst <= self._tolerance:
            raise ValueError(f"{signature}: predictions differ from the model's by {worst:.2g}, not {self._tolerance}.")
        return worst

    def _answer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the graph must answer, its inputs prepared row by row without the graph's operations."""
        history, judged = self._rows(inputs[HISTORY]), self._rows(inputs[CANDIDATES])
        outputs = self.contract.labels
        found = {output: np.zeros(judged.shape, np.float32) for output in outputs.values()}
        if judged.size:
            features = self._compacted(history, {**inputs, CANDIDATES: judged})
            vectors = tf.constant(self.vectors)
            told = self.model.predictions(features, lambda rows: tf.gather(vectors, rows))
            found = {outputs[label]: np.asarray(values, np.float32) for label, values in told.items()}
        known = np.count_nonzero(history != PAD, axis=1).astype(np.int32)
        return {**found, KNOWN: (judged != PAD).astype(np.int32), KNOWN_EVENTS: known}
