"""Export of a text model: `NAME_text/<version>/` beside `NAME/<version>/`, checked alike before it has its name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, TEXT, TITLE, USER_TEXT
from tfrec.serving import manifest, score_meaning
from tfrec.serving.contract import Contract, ServedData
from tfrec.serving.delimited import joined
from tfrec.serving.names import RECOMMEND_DELIMITED, SERVING_DEFAULT
from tfrec.serving.options import ExportOptions
from tfrec.serving.requests import spread
from tfrec.serving.selfcheck import Check
from tfrec.serving.served_categories import ServedCategories
from tfrec.serving.session import SessionModel, load_text_ops
from tfrec.serving.text_signatures import EMBED_TEXT, RECOMMEND, VECTOR, TextGraph, Words
from tfrec.serving.version_writer import real_histories, said_of, stored, write_version
from tfrec.towers.text import Embedder, TextEncoder

HISTORIES = 16  # The text model reads a text for each: fewer than without.
_LONG = "a very long text that goes on and on " * 200
_BYTES = b"\xff\xfe not UTF-8 \x80"
AWKWARD = ("", " \t\u3000\n", "👟🔥", "防水跑步鞋", "Ünïcödé ñandú", "a\x00b", _LONG, _BYTES, "nail polish")


def export_text(
    model: Any,
    dataset: ServedData,
    encoder: TextEncoder,
    folder: str | Path,
    *,
    k_max: int = 100,
    version: int | None = None,
    about: Mapping[str, Any] | None = None,
    options: ExportOptions | None = None,
) -> Path:
    """Write `folder/<version>/`: a SavedModel that takes a text together with a history; see `TextGraph`.

    It answers alone, titles included, and needs the operations of tensorflow-text where it is loaded.

    Args:
        model: the trained two-tower model.
        dataset: as for `export`.
        encoder: what embedded the texts that the model was trained with.
        folder: the folder of versions; `tfrec recommend` looks for it beside that of the model, under `NAME_text`.
        k_max: as for `export`.
        version: the number, that of the model's version; None takes one more than the largest in `folder`.
        about: as for `export`.
        options: how the vectors of the items and of their texts are stored, and how much a query counts beside the
            history (see `Words`); every item is scored in any case. None for `ExportOptions()`.

    Returns:
        The version's folder.

    Raises:
        ValueError: an argument is wrong, the model reads no text or another model's, the version exists, or the check
            failed.
        PermissionError: the folder cannot be written.
    """
    options = options or ExportOptions()
    load_text_ops()
    model = getattr(model, "without_text", model)
    contract = _contract(model, dataset, k_max)
    words = Words.of(model, encoder.model, options.text_weight, options.quantization)
    table = stored(model, options)
    meaning = {"source": encoder.preset, "width": words.model.width, "scale": words.scale}
    meaning["read_as"] = USER_TEXT if words.items is None else "query"
    tables = {"item_vectors": {"kind": options.quantization, **table.sizes}}
    if words.items is not None:
        tables["item_texts"] = {"kind": options.quantization, **words.items.sizes}
    histories = real_histories(dataset)
    return write_version(
        lambda id_file: TextGraph(model, table, contract, id_file, words),
        TextCheck(model, table.restored, contract, words),
        Path(folder),
        version=version,
        histories=histories and spread(histories, HISTORIES),
        about={
            **said_of(dataset, about),
            manifest.KIND: manifest.TEXT_MODEL,
            manifest.SCORE: score_meaning.of_text(model, None if words.items is None else words.scale),
            TEXT: meaning,
            **tables,
        },
    )


def _contract(model: Any, dataset: ServedData, k_max: int) -> Contract:
    """What a text model promises: the same ids and rules, a history and a text."""
    whole = Contract.of(model, dataset, k_max)
    return dataclasses.replace(
        whole,
        specs={HISTORY: whole.specs[HISTORY], TEXT: tf.TensorSpec([None], tf.string, TEXT)},
        features={HISTORY: HISTORY, TEXT: USER_TEXT},
        columns={},
        vocabularies={},
        categories=ServedCategories.none(len(whole.items)),
    )


@dataclass(frozen=True)
class TextCheck(Check):
    """The check of a text model; the texts are embedded in Python, batched in another way than in the graph.

    Attributes:
        words: what a text means to the model.
    """

    words: Words

    @property
    def _tolerance(self) -> float:
        """Another batch of texts rounds otherwise, and a query's cosines are multiplied."""
        return 10 * super()._tolerance

    def _answering(self) -> tuple[str, ...]:
        return SERVING_DEFAULT, RECOMMEND, RECOMMEND_DELIMITED

    def _request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return joined(inputs) if signature == RECOMMEND_DELIMITED else dict(inputs)

    def requests(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Those of any check, and one of `embed_text`."""
        yield from super().requests()
        yield EMBED_TEXT, {TEXT: np.array([AWKWARD[-1]], object)}

    @functools.cached_property
    def _vectors(self) -> dict[str | bytes, np.ndarray]:
        """What is asked -> float32 [W], as `TextEncoder.embed` gives it, without its cache."""
        texts: list[str | bytes] = [*AWKWARD, *self.contract.items[TITLE].iloc[1:6]]
        read = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts]
        vectors = Embedder(self.words.model).encode(*(part.numpy() for part in self.words.model.tokens(read)))
        return dict(zip(texts, np.where([[bool(text.strip())] for text in read], vectors, np.float32(0)), strict=True))

    def _inputs(self, signature: str, history: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        texts = np.array(list(self._vectors), object)
        return {HISTORY: history, TEXT: np.resize(np.roll(texts, rng.integers(len(texts))), len(history))}

    def _compare(self, bundle: SessionModel, signature: str, history: np.ndarray, rng: np.random.Generator) -> float:
        """Scores as for any export, and once, beside the batch of no users, the vectors of the texts."""
        if len(history):
            return super()._compare(bundle, signature, history, rng)
        given = bundle.run(EMBED_TEXT, {TEXT: np.array(list(self._vectors), object)})[VECTOR]
        off = float(np.abs(given - np.stack(list(self._vectors.values()))).max())
        if not off <= self._tolerance:
            raise ValueError(f"{EMBED_TEXT}: vectors differ from the text model's by {off:.2g}, not {self._tolerance}.")
        return max(off, super()._compare(bundle, signature, history, rng))

    def _compacted(self, history: np.ndarray, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        vectors = np.stack([self._vectors[text] for text in inputs[TEXT]])
        return {**super()._compacted(history, {HISTORY: history}), USER_TEXT: vectors}

    def _scores(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        scores = super()._scores(features)
        if self.words.items is None:
            return scores
        return scores + self.words.scale * features[USER_TEXT] @ self.words.items.restored.T
