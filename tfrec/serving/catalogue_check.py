"""The check of every signature of `NAME/`: each answer is computed again without the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfrec.features import HISTORY, ITEM_ID, PAD
from tfrec.serving.delimited import joined
from tfrec.serving.names import (
    ALLOW_CATEGORIES,
    ALLOW_ITEMS,
    DELIMITER,
    DENY_CATEGORIES,
    DENY_ITEMS,
    EMBED_ITEM,
    EMBED_QUERY,
    EMBED_QUERY_DELIMITED,
    FILTERED_DELIMITED,
    FULL_DELIMITED,
    ITEM_IDS,
    KNOWN,
    RECOMMEND_DELIMITED,
    RECOMMEND_FILTERED,
    SCORES,
    SERVING_DEFAULT,
    SIMILAR_ITEMS,
    SUFFIX,
    VECTOR,
)
from tfrec.serving.selfcheck import Check
from tfrec.serving.session import SessionModel
from tfrec.serving.signatures import NO_ITEM_SCORE

_LISTS = (ALLOW_ITEMS, DENY_ITEMS, ALLOW_CATEGORIES, DENY_CATEGORIES)


@dataclass(frozen=True)
class CatalogueCheck(Check):
    """The check of a `CatalogueGraph`."""

    def _signatures(self) -> tuple[str, ...]:
        return *self._recommending(), EMBED_QUERY, EMBED_QUERY_DELIMITED, EMBED_ITEM, SIMILAR_ITEMS

    def _recommending(self) -> tuple[str, ...]:
        forms = RECOMMEND_DELIMITED, FULL_DELIMITED, RECOMMEND_FILTERED, FILTERED_DELIMITED
        return *super()._recommending(), *forms

    def _batches(self, signature: str, rows: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Those without a step are left to the first two signatures: the others read histories as these do."""
        batches = super()._batches(signature, rows)
        return batches if signature in super()._recommending() else [batches[0], batches[-1]]

    def _inputs(self, signature: str, history: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        if signature.endswith(SUFFIX):
            plain = SERVING_DEFAULT if signature == RECOMMEND_DELIMITED else signature.removesuffix(SUFFIX)
            return {name: _without_breaks(values) for name, values in self._inputs(plain, history, rng).items()}
        if signature == RECOMMEND_FILTERED:
            return {HISTORY: history, **self._lists(len(history), rng)}
        if signature == EMBED_QUERY:
            return {HISTORY: history}
        if signature in (EMBED_ITEM, SIMILAR_ITEMS):
            return {
                ITEM_ID: rng.choice(np.array([*self.contract.item_ids[1:], "no such item", ""], object), len(history))
            }
        return super()._inputs(signature, history, rng)

    def _lists(self, users: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Lists of several items and categories, some of them empty, some of them of nothing known."""
        ids, values = list(self.contract.item_ids[1:]), list(self.contract.categories.values)
        known = {ALLOW_ITEMS: ids, DENY_ITEMS: ids, ALLOW_CATEGORIES: values, DENY_CATEGORIES: values}
        sizes = {ALLOW_ITEMS: 200, DENY_ITEMS: 20, ALLOW_CATEGORIES: 5, DENY_CATEGORIES: 2}
        drawn = {
            name: rng.choice(np.array([*known[name], "no such value", ""], object), (users, sizes[name]))
            for name in _LISTS
            if known[name]
        }
        for lists in drawn.values():
            lists[rng.random(users) < 0.5] = ""
        return drawn

    def _request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return joined(inputs) if signature.endswith(SUFFIX) else dict(inputs)

    def _expected(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        scores = super()._expected({name: values for name, values in inputs.items() if name not in _LISTS})
        for name in filter(inputs.__contains__, _LISTS):
            for row, values in enumerate(inputs[name]):
                wanted = {value for value in values if value}
                if wanted:
                    named = self._named(name, wanted)
                    scores[row, named if name in (DENY_ITEMS, DENY_CATEGORIES) else ~named] = NO_ITEM_SCORE
        return scores

    def _named(self, name: str, wanted: set[str]) -> np.ndarray:
        """Bool [I]: the items that a list names."""
        if name in (ALLOW_ITEMS, DENY_ITEMS):
            named = np.zeros(len(self.vectors), bool)
            named[[self._places[item] for item in wanted if item in self._places]] = True
            return named
        categories = self.contract.categories
        codes = [code for code, value in enumerate(categories.values, 1) if value in wanted]
        return np.asarray(np.isin(categories.codes, codes).any(axis=1))

    def _compare(self, bundle: SessionModel, signature: str, history: np.ndarray, rng: np.random.Generator) -> float:
        if signature in (EMBED_QUERY, EMBED_QUERY_DELIMITED):
            given = bundle.run(signature, self._request(signature, {HISTORY: history}))[VECTOR] @ self.vectors.T
            return self._same(signature, given, self._raw_scores(history))
        if signature in (EMBED_ITEM, SIMILAR_ITEMS):
            ids = np.append(self._inputs(signature, history, rng)[ITEM_ID], ["no such item", ""][: len(history)])
            return getattr(self, f"_compare_{signature}")(bundle, ids)
        return super()._compare(bundle, signature, history, rng)

    def _compare_embed_item(self, bundle: SessionModel, ids: np.ndarray) -> float:
        found = bundle.run(EMBED_ITEM, {ITEM_ID: ids})
        rows = np.array([self._places.get(item, PAD) for item in ids], int)
        if not np.array_equal(found[KNOWN], rows != PAD):
            raise ValueError(f"{EMBED_ITEM}: `{KNOWN}` is {found[KNOWN].tolist()} for {ids.tolist()}.")
        return self._same(EMBED_ITEM, found[VECTOR], self.vectors[rows] * (rows != PAD)[:, None])

    def _compare_similar_items(self, bundle: SessionModel, ids: np.ndarray) -> float:
        found = bundle.run(SIMILAR_ITEMS, {ITEM_ID: ids})
        plain = self.vectors[:, : self.model.item_tower.dim]
        unit = plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-30)
        worst = 0.0
        for item, answer, scores in zip(ids, found[ITEM_IDS], found[SCORES], strict=True):
            row = self._places.get(item, PAD)
            expected = np.where(self.contract.candidates & (row != PAD), unit @ unit[row], NO_ITEM_SCORE)
            expected[row] = NO_ITEM_SCORE
            places = np.array([self._places.get(one.decode(), -1) for one in answer])
            worst = max(worst, self._difference(f"{SIMILAR_ITEMS}, {item!r}", expected, places, scores))
        return worst

    def _same(self, signature: str, given: np.ndarray, expected: np.ndarray) -> float:
        if given.shape != expected.shape:
            raise ValueError(f"{signature}: the shape is {given.shape}, not {expected.shape}.")
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        worst = float(np.abs(given - expected).max(initial=0.0)) / scale
        if not worst <= self._tolerance:
            raise ValueError(f"{signature}: differs from the model by {worst:.2g} of its scale, not {self._tolerance}.")
        return worst


def _without_breaks(values: np.ndarray) -> np.ndarray:
    """The values, "" in the place of a text that a delimited form cannot hold."""
    return np.array(["" if DELIMITER in str(value) else value for value in values.ravel()], values.dtype).reshape(
        values.shape
    )
