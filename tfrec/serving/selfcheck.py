"""The check of a fresh export: loaded as a server loads it, its answers are compared with the Keras model's."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, ITEM_ID, PAD
from tfrec.serving.contract import Contract
from tfrec.serving.names import ITEM_IDS, KNOWN_EVENTS, RECOMMEND_FULL, SCORES, SERVING_DEFAULT
from tfrec.serving.requests import drawn_vectors, padded, spread
from tfrec.serving.session import SessionModel, open_session
from tfrec.serving.signatures import NO_ITEM_SCORE

# Scores may differ by this much, relative to the user's largest score where that is above 1; computing in 16 bits
# rounds more coarsely, and each runtime in its own order.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}
HISTORIES = 64
SCORES_HELD = 2**25  # of a batch of histories, at most: 128 MB
ANSWERED = 7  # drawn histories whose answers are stored


@dataclass(frozen=True)
class Check:
    """What a check compares with.

    Attributes:
        model: the Keras model.
        vectors: float32 [I, D], the vectors of all items, as the graph reads them.
        contract: what the export promises.
    """

    model: Any
    vectors: np.ndarray
    contract: Contract

    def run(self, folder: Path, histories: Sequence[Sequence[str]] | None = None, seed: int = 0) -> dict[str, Any]:
        """Compare an exported folder with the model.

        Args:
            folder: the SavedModel.
            histories: real histories of item ids, oldest first; 64 of them are asked. Drawn from the catalogue where
                None. Empty, unknown, mixed, repeated and over-long ones are added in any case.
            seed: of what is drawn.

        Returns:
            `histories`, `largest_difference`, `tolerance` of the scores, `recall_floor`, the `signatures` found, and
            what else was measured.

        Raises:
            ValueError: the export does not load or answers otherwise than the model; the message says how.
        """
        rng = np.random.default_rng(seed)
        rows = [list(map(str, history)) for history in spread(histories or self._drawn(rng), HISTORIES)]
        rows += self._awkward(rng)
        with open_session(folder) as bundle:
            asked = [(name, batch) for name in self._signatures() for batch in self._batches(name, rows)]
            found = [self._compare(bundle, name, batch, rng) for name, batch in asked]
            measured, signatures = self._measured(bundle, histories, rng), bundle.signatures
        return {
            "histories": len(rows),
            "largest_difference": max(found),
            "tolerance": self._tolerance,
            "recall_floor": self.recall_floor,
            "signatures": signatures,
            **measured,
        }

    def requests(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """A few requests of each signature, of one made-up user each: what a server warms up with."""
        rng = np.random.default_rng(0)
        known = sorted(self._drawn(rng), key=len)
        for history in ([], known[0], known[-1]):
            for signature in self._signatures():
                yield signature, self._request(signature, self._inputs(signature, padded([history]), rng))

    def answered(
        self, histories: Sequence[Sequence[str]] | None = None, bundle: SessionModel | None = None
    ) -> Iterator[tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Requests with the Keras model's answers: what is asked again of a version that moves.

        Args:
            histories: real histories of item ids, 64 of which are asked; where None, made-up ones, drawn from the
                catalogue, so that none is anyone's.
            bundle: a loaded version, which answers in the model's place.

        Returns:
            Signature, inputs and outputs by name.
        """
        rng = np.random.default_rng(1)
        asked = spread(histories, HISTORIES) if histories else [[], *self._drawn(rng)[:ANSWERED]]
        history = padded([list(map(str, row)) for row in asked])
        for signature in self._answering():
            inputs = self._inputs(signature, history, rng)
            request = self._request(signature, inputs)
            yield signature, request, bundle.run(signature, request) if bundle else self._answer(inputs)

    def _answer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows, best = self._ranked(inputs)
        return {ITEM_IDS: np.where(best > NO_ITEM_SCORE, self.contract.item_ids[rows], ""), SCORES: best}

    def _ranked(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What the model answers: int [B, k] rows and float32 [B, k] scores, best first, equal ones by row."""
        best = tf.math.top_k(self._expected(inputs), self.contract.width)
        return best.indices.numpy(), best.values.numpy()

    # -- what is asked ----------------------------------------------------------------------------------------------

    def _signatures(self) -> tuple[str, ...]:
        return self._answering()

    def _answering(self) -> tuple[str, ...]:
        """Those of which the answers are kept, see `answered`."""
        return SERVING_DEFAULT, RECOMMEND_FULL

    def _batches(self, signature: str, rows: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Histories that are asked at once: all of them or some, some without any step, and none."""
        some = [padded(rows[start : start + self._at_once]) for start in range(0, len(rows), self._at_once)]
        return [*some, padded([[], []]), np.zeros((0, 3), object)]

    @property
    def _at_once(self) -> int:
        """Histories for which the scores of all items are held at a time."""
        return max(1, SCORES_HELD // len(self.vectors))

    def _drawn(self, rng: np.random.Generator, count: int = HISTORIES // 4) -> list[list[str]]:
        """Histories of any items."""
        ids = self.contract.item_ids[1:]
        lengths = rng.integers(1, 2 * self.contract.max_length + 1, count)
        return [list(rng.choice(ids, length)) for length in lengths]

    def _awkward(self, rng: np.random.Generator) -> list[list[str]]:
        ids = list(self.contract.item_ids[1:])
        unknown = "unknown"
        while unknown in set(ids):
            unknown += "?"
        some = list(rng.choice(ids, 3))
        return [
            [],
            [unknown],
            ["", unknown, "", unknown],
            ["", some[0], unknown, some[1], "", some[2]],
            [some[0]] * 3,
            list(rng.choice(ids, self.contract.max_length + 7)),
            [unknown, *rng.choice(ids, self.contract.max_length), unknown],
            [str(item) for item in self.contract.items.loc[self.contract.candidates, ITEM_ID][:500]],
        ]

    def _inputs(self, signature: str, history: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The request: known, unknown and missing values for everything beside the history."""
        inputs = {HISTORY: history}
        if signature == SERVING_DEFAULT:
            return inputs
        for name, spec in self.contract.specs.items():
            shape = history.shape[: len(spec.shape)]
            if spec.dtype == tf.float32:
                inputs[name] = drawn_vectors(rng, len(history), spec)
            elif name in self.contract.vocabularies:
                values = [*self.contract.vocabularies[name][:100], "", "no such value"]
                inputs[name] = np.array(values, object)[rng.integers(0, len(values), shape)]
            elif self.contract.of_events(name) and name != HISTORY:
                inputs[name] = np.maximum(rng.integers(-(10**6), 2 * 10**9, shape), 0)
        return inputs

    def _request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What is sent for the inputs."""
        return dict(inputs)

    @property
    def recall_floor(self) -> float:
        """The share of the model's best items that answers must show: all of them, where every item is scored."""
        return 1.0

    # -- what the answer must be ------------------------------------------------------------------------------------

    @property
    def _tolerance(self) -> float:
        return TOLERANCE.get(self.model.behavior_tower.compute_dtype, TOLERANCE["bfloat16"])

    def _compare(self, bundle: SessionModel, signature: str, history: np.ndarray, rng: np.random.Generator) -> float:
        """The largest difference of a score, in units of the row's scale."""
        inputs = self._inputs(signature, history, rng)
        outputs = bundle.run(signature, self._request(signature, inputs))
        ids, scores = outputs[ITEM_IDS], outputs[SCORES]
        shape = (len(history), self.contract.width)
        if ids.shape != shape or scores.shape != shape or scores.dtype != np.float32:
            raise ValueError(
                f"{signature}: item_ids {ids.shape} and scores {scores.shape} {scores.dtype}, not {shape} and float32."
            )
        known = np.count_nonzero(self._rows(history) != PAD, axis=1)
        if not np.array_equal(outputs[KNOWN_EVENTS], known):
            raise ValueError(f"{signature}: known_events are {outputs[KNOWN_EVENTS][:8]}, not {known[:8]}.")
        places, worst = self._places, 0.0
        for row, expected in enumerate(self._expected(inputs)):
            answer = np.array([places.get(item.decode(), -1) for item in ids[row]])
            where = f"{signature}, {list(history[row])[:8]}"
            how = {"exact": self._exact(signature), "by_score": self._by_score}
            worst = max(worst, self._difference(where, expected, answer, scores[row], **how))
        return worst

    @property
    def _by_score(self) -> bool:
        """Whether items are shown in the order of their scores."""
        return True

    def _exact(self, signature: str) -> bool:
        """Whether a signature scores every item; another may show others than the best, with their right scores."""
        return True

    def _measured(
        self, bundle: SessionModel, histories: Sequence[Sequence[str]] | None, rng: np.random.Generator
    ) -> dict[str, Any]:
        """What else there is to measure."""
        return {}

    def _difference(
        self, where: str, expected: np.ndarray, answer: np.ndarray, scores: np.ndarray, *, exact: bool = True,
        by_score: bool = True,
    ) -> float:  # fmt: skip
        """The largest difference of one row; ids may swap only within the tolerance, unless the answer is not exact."""
        possible = np.flatnonzero(expected > NO_ITEM_SCORE)
        best = tf.math.top_k(expected[possible], min(len(answer), len(possible))).values.numpy()
        shown = answer[answer != PAD]
        if not np.isfinite(scores).all() or not np.isfinite(best).all():
            raise ValueError(f"{where}: scores are not finite; the model's weights may have diverged.")
        if len(set(shown)) < len(shown) or not np.isin(shown, possible).all():
            raise ValueError(f"{where}: the answer repeats an item, or shows one that was seen or is no candidate.")
        if len(shown) != len(best) or (answer[: len(shown)] == PAD).any():
            raise ValueError(f"{where}: {len(shown)} items are shown where the model has {len(best)}.")
        if (scores[len(shown) :] != np.float32(NO_ITEM_SCORE)).any():
            raise ValueError(f"{where}: an empty place must have the score {NO_ITEM_SCORE}.")
        given = scores[: len(shown)]
        scale = max(1.0, float(np.abs(best).max(initial=0.0)))
        off = np.abs(given - expected[shown])
        if by_score:
            off = np.concatenate([off, np.diff(given).clip(0), np.abs(given - best) * exact])
        worst = float(off.max(initial=0.0)) / scale
        if worst > self._tolerance:
            raise ValueError(
                f"{where}: scores differ from the model's by {worst:.2g} of their scale, not {self._tolerance}."
            )
        return worst

    def _expected(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [B, I] from the Keras model, its inputs prepared row by row without the graph's operations."""
        history, scores = self._rows(inputs[HISTORY]), self._raw_scores(inputs[HISTORY], inputs)
        scores[:, ~self.contract.candidates] = NO_ITEM_SCORE
        if self.contract.seen == "remove":
            for row, seen in enumerate(history):
                scores[row, seen] = NO_ITEM_SCORE
        return scores

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        """Item id -> row."""
        return {item: row for row, item in enumerate(self.contract.item_ids)}

    def _rows(self, history: np.ndarray) -> np.ndarray:
        return np.vectorize(lambda item: self._places.get(item, PAD), otypes=[np.int32])(history)

    def _raw_scores(self, history: np.ndarray, inputs: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """float32 [B, I] of histories of ids and what else is asked; what may not be shown is not yet marked."""
        if not len(history):
            return np.zeros((0, len(self.vectors)), np.float32)
        return self._scores(self._compacted(self._rows(history), inputs or {}))

    def _scores(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [B, I] of the model's inputs; what may not be shown is not yet marked."""
        return self._queries(features) @ self.vectors.T

    def _queries(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [B, D] of the model's inputs."""
        return np.asarray(tf.cast(self.model.query(tf.constant(self.vectors), features), tf.float32))

    def _compacted(self, history: np.ndarray, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = [np.flatnonzero(row)[-self.contract.max_length :] for row in history]
        width = max(2, *map(len, kept))  # Keras warns of a softmax over one step.
        features = {}
        for name, values in {**inputs, HISTORY: history}.items():
            if name in self.contract.vocabularies:
                codes = {value: code for code, value in enumerate(self.contract.vocabularies[name], 1)}
                values = np.vectorize(lambda value, codes=codes: codes.get(value, 0), otypes=[np.int32])(values)
            if self.contract.of_events(name):
                dense = np.zeros((len(values), width), values.dtype)
                for row, where in enumerate(kept):
                    dense[row, : len(where)] = values[row, where]
                values = dense
            features[self.contract.features[name]] = values
        return features
