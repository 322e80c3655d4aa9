"""The contract of an exported model: its ids, its inputs and its rules, checked before anything is written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrec.features import (
    AFTER,
    CANDIDATES,
    CONTEXT_PREFIX,
    EVENT_PREFIX,
    EVENT_TYPE,
    HISTORY,
    ITEM_ID,
    PAD,
    TITLE,
    USER_TEXT,
    USER_WORDS,
    context_feature,
    event_feature,
    user_feature,
)
from tfrec.serving.names import KNOWN, KNOWN_EVENTS
from tfrec.serving.served_categories import ServedCategories

SEEN_RULES = ("remove", "keep")
CANDIDATE = "candidate"  # A column of the items: whether they may be recommended.
_VECTORS = (USER_TEXT, USER_WORDS)  # What the text model makes of a user's text.
_OF_NO_COLUMN = (HISTORY, CANDIDATES, *_VECTORS)


class ServedData(Protocol):
    """What an export needs of a data set.

    Attributes:
        items: a row for each row of the model, row 0 being padding with the id ""; columns `item_id` and `title`.
        vocabularies: feature or column name -> values (a `Vocabulary` or a list of strings); value i has code i + 1.
            Where the data has `item_categories`, column -> codes int [I, M], those of `item_<column>` name them; see
            `ServedCategories`.
        seen: `remove` or `keep`.
        max_length: the newest events that the model reads.
    """

    @property
    def items(self) -> pd.DataFrame: ...  # noqa: D102

    @property
    def vocabularies(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def seen(self) -> str: ...  # noqa: D102

    @property
    def max_length(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Contract:
    """What an exported model promises.

    Attributes:
        items: columns item_id and title, one row a model row; row 0 is padding.
        candidates: bool [I]; what may be recommended.
        specs: input name -> what a request sends for it: strings, int64 seconds for the timestamps, or float32 vectors
            of the user's text (see `embed_text` of the text model) and of its words. An input is named as the feature
            is, with "_" for what TensorFlow accepts in no name (blanks, letters beyond ASCII).
        features: input name -> the model's feature.
        columns: input name -> the column of the tables that it came from; neither the history nor the user's text, of
            which a table holds no vector, nor its words are among them.
        vocabularies: input name -> values of the string inputs; value i has code i + 1.
        categories: what a request may filter by.
        seen: `remove` takes the items of the whole history out of the answer, `keep` leaves them.
        max_length: the newest events that the model reads.
        k_max: items that may be asked for; none of a ranker, which judges what it is given.
        labels: of a ranker, label -> the output that holds what is predicted; it has the label's name, with "_" as for
            inputs.
    """

    items: pd.DataFrame
    candidates: np.ndarray
    specs: Mapping[str, tf.TensorSpec]
    features: Mapping[str, str]
    columns: Mapping[str, str]
    vocabularies: Mapping[str, tuple[str, ...]]
    categories: ServedCategories
    seen: str
    max_length: int
    k_max: int
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def item_ids(self) -> np.ndarray:
        """Str [I], "" at row 0."""
        return self.items[ITEM_ID].to_numpy(object)

    @property
    def width(self) -> int:
        """Items a recommendation holds: `k_max`, or all candidates where there are fewer."""
        return min(self.k_max, int(self.candidates.sum()))

    def of_events(self, name: str) -> bool:
        """Whether an input has a value for each event, beside the history, rather than for each user."""
        described = self.features[name] not in _VECTORS and not self.of_candidates(name)
        return described and len(self.specs[name].shape) > 1

    def of_candidates(self, name: str) -> bool:
        """Whether an input has a value for each candidate that a ranker judges; the candidates themselves have."""
        return self.features[name] == CANDIDATES or self.features[name].startswith(CONTEXT_PREFIX)

    def reordered(self, order: np.ndarray) -> Contract:
        """The same with the rows of the items at int [I] `order`, padding first."""
        items = self.items.iloc[order].reset_index(drop=True)
        candidates, categories = self.candidates[order], self.categories.reordered(order)
        return dataclasses.replace(self, items=items, candidates=candidates, categories=categories)

    @classmethod
    def of(cls, model: Any, data: ServedData, k_max: int) -> Contract:
        """The contract of `model`, trained on `data`; its answers hold `k_max` items where there are as many.

        Raises:
            ValueError: the model and the data do not fit each other, an id cannot be served, `k_max` is below 1.
        """
        if isinstance(k_max, bool) or not isinstance(k_max, int) or k_max < 1:
            raise ValueError(f"`k_max` must be a whole number of at least 1; received {k_max!r}.")
        candidates = _candidates(model)
        return cls._of(model, data, candidates, k_max, categories=ServedCategories.of(data, len(candidates)))

    @classmethod
    def of_ranker(cls, model: Any, data: ServedData) -> Contract:
        """The contract of a ranker, trained on `data`; it judges any item of the table.

        Raises:
            ValueError: as for `of`.
        """
        rows = model.item_tower.items
        asked = data.items[CANDIDATE] if CANDIDATE in data.items else np.ones(len(data.items), bool)
        names = _input_names([KNOWN, KNOWN_EVENTS, *(head.name for head in model.heads)])
        labels = {label: name for name, label in names.items() if name not in (KNOWN, KNOWN_EVENTS)}
        candidates = np.asarray(asked, bool) & (np.arange(len(data.items)) != PAD)
        return cls._of(model, data, candidates, 0, categories=ServedCategories.none(rows), labels=labels)

    @classmethod
    def _of(cls, model: Any, data: ServedData, candidates: np.ndarray, k_max: int, **more: Any) -> Contract:
        if data.seen not in SEEN_RULES:
            raise ValueError(f"`seen` must be one of {', '.join(SEEN_RULES)}; received {data.seen!r}.")
        if data.max_length < 1:
            raise ValueError(f"`max_length` must be at least 1; received {data.max_length!r}.")
        columns = _columns(model)
        items = _items(data.items, model.item_tower.items)
        features = _input_names([HISTORY, *columns])
        specs = {name: _request_spec(model.input_spec_dict[feature], name) for name, feature in features.items()}
        return cls(
            items=items,
            candidates=candidates,
            specs=specs,
            features=features,
            columns={name: columns[feature] for name, feature in features.items() if feature not in _OF_NO_COLUMN},
            vocabularies={
                name: _values(model, data.vocabularies, feature, columns[feature])
                for name, feature in features.items()
                if feature not in _OF_NO_COLUMN and specs[name].dtype == tf.string
            },
            seen=data.seen,
            max_length=int(data.max_length),
            k_max=k_max,
            **more,
        )


def _candidates(model: Any) -> np.ndarray:
    mask = np.zeros(model.item_tower.items, bool)
    mask[model.candidates] = True
    mask[PAD] = False
    return mask


def _columns(model: Any) -> dict[str, str]:
    """Feature name -> column, of everything that a request says besides the history.

    Of what a ranker reads of its candidates, neutral columns and the part of the history are not asked for: those are
    missing, and that is all of it.
    """
    tower, context = model.behavior_tower, getattr(model, "context", None)
    events = {event_feature(column): column for column in tower.event_columns}
    users = {user_feature(column): column for column in tower.user_columns}
    shown = {context_feature(column): column for column in (context.embedded if context else ())}
    left = {HISTORY, AFTER, *map(context_feature, context.neutral if context else ())}
    rest = set(model.input_spec_dict) - left - set(events) - set(users) - set(shown)
    others = {name: name if name == EVENT_TYPE else name.removeprefix(EVENT_PREFIX) for name in sorted(rest)}
    return {**events, **others, **shown, **users}


def _sizes(model: Any) -> dict[str, int]:
    """Feature name -> size of its vocabulary, of what the towers and the context of a request are told as texts."""
    tower, context = model.behavior_tower, getattr(model, "context", None)
    sizes = {event_feature(column): size for column, size in tower.event_columns.items()}
    sizes |= {user_feature(column): size for column, size in tower.user_columns.items()}
    return sizes | {context_feature(column): size for column, size in (context.columns if context else {}).items()}


def _input_names(features: Sequence[str]) -> dict[str, str]:
    """Input name -> feature; the name is the feature's, but for what TensorFlow accepts in no name."""
    names: dict[str, str] = {}
    for feature in features:
        name = re.sub(r"[^A-Za-z0-9_]", "_", feature)
        while name in names:
            name += "_"
        names[name] = feature
    return names


def _request_spec(spec: tf.TensorSpec, name: str) -> tf.TensorSpec:
    """What a request sends for a feature: the text for a code, the number for a time or in a vector."""
    return tf.TensorSpec(spec.shape, tf.string if spec.dtype == tf.int32 else spec.dtype, name)


def _values(model: Any, vocabularies: Mapping[str, Any], feature: str, column: str) -> tuple[str, ...]:
    """The values of a feature, of which the model knows exactly as many."""
    of_events = event_feature(column) if feature == context_feature(column) else feature
    found, size = vocabularies.get(of_events, vocabularies.get(column)), _sizes(model).get(feature)
    if found is None:
        raise ValueError(f"`vocabularies` lacks {feature!r}, which the model was trained with.")
    values = tuple(getattr(found, "values", found))
    if size is not None and len(values) + 1 != size:
        raise ValueError(
            f"`vocabularies`: {feature!r} has {len(values)} values and the model was trained with {size - 1}."
        )
    return values


def _items(items: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The ids and titles as plain texts, when the ids can be served."""
    if len(items) != rows:
        raise ValueError(f"`items` must have the model's {rows} rows, padding included; received {len(items)}.")
    ids = items[ITEM_ID].astype(str).to_numpy(object)
    if ids[PAD] != "":
        raise ValueError(f"`items`: row 0 is padding and its id must be ''; received {ids[PAD]!r}.")
    _refuse(ids[1:], np.array([not item for item in ids[1:]], bool), "is empty")
    _refuse(ids[1:], np.array(["\n" in item or "\r" in item for item in ids[1:]], bool), "has a line break")
    _refuse(ids, pd.Index(ids).duplicated(), "occurs twice")
    titles = items[TITLE].fillna("").astype(str) if TITLE in items else pd.Series("", index=items.index)
    return pd.DataFrame({ITEM_ID: ids, TITLE: titles.to_numpy(object)})


def _refuse(ids: Sequence[str] | np.ndarray, bad: np.ndarray, why: str) -> None:
    if bad.any():
        raise ValueError(f"`items`: the id {ids[int(np.argmax(bad))]!r} {why}; such an item cannot be served.")
