"""The check of every signature of `NAME/`: each answer is computed again without the graph."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, ITEM_ID, PAD
from tfrec.serving.delimited import joined
from tfrec.serving.index.probes import CUTOFF, Asked
from tfrec.serving.index.recall import share
from tfrec.serving.index.vectors import lengths
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
    RECOMMEND_FULL,
    SCORES,
    SERVING_DEFAULT,
    SIMILAR_ITEMS,
    SUFFIX,
    VECTOR,
)
from tfrec.serving.requests import padded, spread
from tfrec.serving.second_check import SecondCheck
from tfrec.serving.selfcheck import HISTORIES, Check
from tfrec.serving.session import SessionModel
from tfrec.serving.signatures import NO_ITEM_SCORE

SAME_LISTS = 0.95  # of diverse answers, whose choices hang on one another
MEASURED = 1024  # histories on which the recall of an index is measured, at most
_LISTS = (ALLOW_ITEMS, DENY_ITEMS, ALLOW_CATEGORIES, DENY_CATEGORIES)


@dataclass(frozen=True)
class CatalogueCheck(Check):
    """The check of a `CatalogueGraph`.

    Attributes:
        recall_floor: the share of the best 10 items that an answer must hold on average; below 1 where answers come
            from an index. What is shown must have its right score in any case.
        second: the second stage, where `model` is the first of two.
    """

    recall_floor: float = 1.0
    second: SecondCheck | None = None

    def _signatures(self) -> tuple[str, ...]:
        return *self._answering(), EMBED_QUERY, EMBED_QUERY_DELIMITED, EMBED_ITEM, SIMILAR_ITEMS

    def _answering(self) -> tuple[str, ...]:
        forms = RECOMMEND_DELIMITED, FULL_DELIMITED, RECOMMEND_FILTERED, FILTERED_DELIMITED
        return *super()._answering(), *forms

    def _batches(self, signature: str, rows: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Those without a step are left to the first two signatures: the others read histories as these do."""
        batches = super()._batches(signature, rows)
        return batches if signature in super()._answering() else [*batches[:-2], batches[-1]]

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
        scores = self._first_scores(inputs)
        return scores if self.second is None else self.second.judged(self._features_of(inputs), scores)

    def _ranked(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if self.second is None:
            return super()._ranked(inputs)
        return self.second.answer(self._features_of(inputs), self._first_scores(inputs), self.contract.width)

    def _features_of(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The model's inputs of a request; none where nobody asks."""
        told = {name: values for name, values in inputs.items() if name not in _LISTS}
        return self._compacted(self._rows(inputs[HISTORY]), told) if len(inputs[HISTORY]) else {}

    def _first_scores(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [B, I] of the model, without what may not be shown."""
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
        found, exact = bundle.run(SIMILAR_ITEMS, {ITEM_ID: ids}), self._exact(SIMILAR_ITEMS)
        worst = 0.0
        likenesses = self._likenesses(ids)
        for item, expected, answer, scores in zip(ids, likenesses, found[ITEM_IDS], found[SCORES], strict=True):
            places = np.array([self._places.get(one.decode(), -1) for one in answer])
            worst = max(worst, self._difference(f"{SIMILAR_ITEMS}, {item!r}", expected, places, scores, exact=exact))
        return worst

    def _likenesses(self, ids: np.ndarray) -> np.ndarray:
        """float32 [B, I] of ids: the cosines of the other items to each."""
        rows = np.array([self._places.get(item, PAD) for item in ids], int)
        plain = self.vectors[:, : self.model.item_tower.dim]
        found = plain[rows] / self._lengths[rows, None] @ plain.T
        found /= self._lengths
        found[:, ~self.contract.candidates] = NO_ITEM_SCORE
        found[rows == PAD] = NO_ITEM_SCORE
        found[np.arange(len(rows)), rows] = NO_ITEM_SCORE
        return found

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        """float32 [I] of the items' own vectors, none of them 0."""
        return np.maximum(lengths(self.vectors[:, : self.model.item_tower.dim]), np.float32(1e-30))

    def _same(self, signature: str, given: np.ndarray, expected: np.ndarray) -> float:
        if given.shape != expected.shape:
            raise ValueError(f"{signature}: the shape is {given.shape}, not {expected.shape}.")
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        worst = float(np.abs(given - expected).max(initial=0.0)) / scale
        if not worst <= self._tolerance:
            raise ValueError(f"{signature}: differs from the model by {worst:.2g} of its scale, not {self._tolerance}.")
        return worst

    # -- an index ---------------------------------------------------------------------------------------------------

    def queries(self, histories: Sequence[Sequence[str]] | None, seed: int) -> list[Asked]:
        """What the Keras model seeks for histories, drawn ones where None: by the histories alone, and by all inputs.

        Returns:
            Queries, and what their users have seen, in rows of the model.
        """
        rng = np.random.default_rng(seed)
        return [self._asked(name, self._chosen(histories, rng), rng) for name in self._of_users()]

    def _asked(self, signature: str, histories: Sequence[Sequence[str]], rng: np.random.Generator) -> Asked:
        queries: list[np.ndarray] = [np.zeros((0, self.vectors.shape[1]), np.float32)]
        seen: list[np.ndarray] = []
        for inputs in self._in_batches(signature, histories, rng):
            history = self._rows(inputs[HISTORY])
            queries.append(self._queries(self._compacted(history, inputs)))
            seen += [row[row != PAD] if self.contract.seen == "remove" else row[:0] for row in history]
        return Asked(np.concatenate(queries), seen)

    def _chosen(self, histories: Sequence[Sequence[str]] | None, rng: np.random.Generator) -> list[list[str]]:
        chosen = spread(histories or self._drawn(rng, MEASURED), MEASURED)
        return [list(map(str, history)) for history in chosen]

    def _in_batches(
        self, signature: str, histories: Sequence[Sequence[str]], rng: np.random.Generator
    ) -> Iterator[dict[str, np.ndarray]]:
        """The inputs of some histories at a time: for each of them all items are scored."""
        step = min(HISTORIES, self._at_once)
        for start in range(0, len(histories), step):
            yield self._inputs(signature, padded(histories[start : start + step]), rng)

    def _of_users(self) -> tuple[str, ...]:
        """The signatures whose queries differ; the other forms of a request seek what these do."""
        return (SERVING_DEFAULT, RECOMMEND_FULL) if len(self.contract.specs) > 1 else (SERVING_DEFAULT,)

    @property
    def _by_score(self) -> bool:
        return self.second is None or not self.second.diverse

    def _exact(self, signature: str) -> bool:
        if not self._by_score and signature in self._answering():
            return False
        return self.recall_floor == 1 or signature.startswith(RECOMMEND_FILTERED)

    def _measured(
        self, bundle: SessionModel, histories: Sequence[Sequence[str]] | None, rng: np.random.Generator
    ) -> dict[str, Any]:
        """The recall of each signature that an index answers; the share of lists that are those of a diverse answer.

        Raises:
            ValueError: it is below the floor.
        """
        if not self._by_score:
            return {"same_lists": self._same_lists(bundle, self._chosen(histories, rng)[:HISTORIES], rng)}
        if self.recall_floor == 1:
            return {}
        chosen, recall = self._chosen(histories, rng), {}
        for name in (*self._of_users(), SIMILAR_ITEMS):
            found = self._recall(bundle, name, chosen, rng)
            recall[name] = {f"@{cutoff}": round(mean, 4) for cutoff, mean in found.items()}
            cutoff = min(found)
            if found[cutoff] < self.recall_floor:
                raise ValueError(
                    f"{name}: the index finds {found[cutoff]:.4f} of the best {cutoff} items for {len(chosen)} "
                    f"histories, not {self.recall_floor} as `recall` asks: export with index exact, or ask for less."
                )
        return {"recall_floor": self.recall_floor, "recall": recall}

    def _same_lists(self, bundle: SessionModel, histories: Sequence[Sequence[str]], rng: np.random.Generator) -> float:
        """The share of answers whose items are the model's, in its order: near ties may fall otherwise.

        Raises:
            ValueError: it is less than `SAME_LISTS`.
        """
        same: list[bool] = []
        for inputs in self._in_batches(RECOMMEND_FULL, histories, rng):
            rows, _ = self._ranked(inputs)
            given = bundle.run(RECOMMEND_FULL, inputs)[ITEM_IDS]
            names = np.array([[self._places.get(item.decode(), PAD) for item in row] for row in given])
            shown = names != PAD
            same += [bool((one == other)[there].all()) for one, other, there in zip(names, rows, shown, strict=True)]
        if not np.mean(same) >= SAME_LISTS:
            raise ValueError(f"{RECOMMEND_FULL}: of {len(same)} lists {same.count(False)} are not those of the model.")
        return float(np.mean(same))

    def _recall(
        self, bundle: SessionModel, signature: str, histories: Sequence[Sequence[str]], rng: np.random.Generator
    ) -> dict[int, float]:
        """The mean share of the best k items that answers hold, for k of `CUTOFF` and of their full length."""
        shares: dict[int, list[float]] = {min(CUTOFF, self.contract.width): [], self.contract.width: []}
        for inputs in self._in_batches(signature, histories, rng):
            similar = signature == SIMILAR_ITEMS
            expected = self._likenesses(inputs[ITEM_ID]) if similar else self._expected(inputs)
            answers = bundle.run(signature, self._request(signature, inputs))[SCORES]
            best = tf.math.top_k(expected, self.contract.width).values.numpy()
            for scores, answer in zip(best, answers, strict=True):
                possible = scores[scores > NO_ITEM_SCORE]
                for cutoff, found in shares.items():
                    found += [share(possible, answer, cutoff, self._tolerance)] if len(possible) else []
        return {cutoff: float(np.mean(found)) if found else 1.0 for cutoff, found in shares.items()}


def _without_breaks(values: np.ndarray) -> np.ndarray:
    """The values, "" in the place of a text that a delimited form cannot hold."""
    return np.array(["" if DELIMITER in str(value) else value for value in values.ravel()], values.dtype).reshape(
        values.shape
    )
