"""A trained model with another catalogue: new items enter by their texts and features, without retraining."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from tfrec import config
from tfrec.build.text import SAME_VECTOR, text_vectors
from tfrec.data import Dataset
from tfrec.data.catalogue import with_catalogue
from tfrec.data.tables import Source
from tfrec.features import ITEM_ID, TEXT
from tfrec.retrieval import JoinedItemTower, TextTunedTwoTower, TwoTower
from tfrec.towers import ItemTower

logger = logging.getLogger(__name__)

Embedding = str | Mapping[str, Any] | config.Text | Callable[[list[str]], np.ndarray | None]
# Texts of the old catalogue, beside the longest, by which a text model is told from another.
PROBES = 8


def with_items(model: TwoTower, data: Dataset, items: Source, *, text: Embedding = "auto") -> tuple[TwoTower, Dataset]:
    """The model and its data set with another catalogue, for `tfrec.export`; both arguments stay as they are.

    The items of the table are what may be recommended. Those that training lacked have no id vector, and are described
    by their text and features; one that has neither would be ranked by nothing, and is left out with a warning. Items
    of training keep row and id vector, with the text and features of the table; those that it lacks stay in histories.

    Args:
        model: trained on `data`.
        data: the data set of the training.
        items: path (.csv, .csv.gz, .parquet) or DataFrame, its columns called as in the table of items of `data`.
        text: the text model that the model was built with, as for `two_tower` (its name or its settings; MiniLM for
            `auto`), or a function that makes float32 [N, W] of N texts. A model that reads no text needs none.

    Returns:
        A model with weights of its own, not compiled, and a data set with its rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is not of this data set, the table is wrong (see `tfrec.data.catalogue`), nothing
            describes its new items, or `text` is another text model.
    """
    model = model.without_text if isinstance(model, TextTunedTwoTower) else model
    tower = model.item_tower
    if isinstance(tower, JoinedItemTower):
        raise ValueError(
            f"`model` is an ensemble of {len(tower.towers)}, whose catalogue cannot be changed: train it with the new "
            "items in its table, or take training.ensemble out."
        )
    _check_pair(tower, data)
    extended = with_catalogue(data, items)
    _refuse_indescribable(tower, data, extended)
    vectors = _text_vectors(tower, data, extended, text) if tower.text_width else None
    _bar_undescribed(tower, extended, vectors)
    wide = _widened(model, extended)
    wide.item_tower.set_features(
        text=vectors,
        categories={name: extended.item_categories[name] for name in tower.categories},
        numbers=extended.item_numbers if tower.numbers else None,
    )
    wide.lend_ids()
    return wide, extended


def _check_pair(tower: ItemTower, data: Dataset) -> None:
    fits = tower.items == len(data.items) and set(tower.categories) <= set(data.item_categories)
    if not fits or tower.numbers not in (0, data.item_numbers.shape[1]):
        raise ValueError(
            f"`data` must be the data set that the model was trained on: the model has {tower.items} rows and the "
            f"categories {list(tower.categories)}, the data set {len(data.items)} and {list(data.item_categories)}."
        )


def _refuse_indescribable(tower: ItemTower, data: Dataset, extended: Dataset) -> None:
    """Refuse new items where the model reads nothing but ids, and a table without text where it reads texts."""
    table, listed = extended.items, extended.items["candidate"].to_numpy(bool)
    new = table[ITEM_ID][len(data.items) :]
    if len(new) and not tower.described:
        raise ValueError(
            f"The model knows items by their ids alone, and the table 'items' has {len(new)} new ones, such as "
            f"{new.iloc[0]!r}. Train a model that reads text (model.text) or features of the items, or leave them out."
        )
    if tower.text_width and data.items[TEXT].any() and not table[TEXT][listed].any():
        columns = (data.manifest["options"]["items"] or {}).get("text") or ["title"]
        raise ValueError(
            f"The table 'items' has no text at all in {', '.join(map(repr, columns))}, and the model was trained with "
            "texts: fill them in."
        )


def _bar_undescribed(tower: ItemTower, extended: Dataset, vectors: np.ndarray | None) -> None:
    """Take items of which the model would know nothing out of the candidates; a text that it cannot read is none."""
    table, listed = extended.items, extended.items["candidate"].to_numpy(bool)
    bare = listed & ~_described(tower, extended, vectors)
    if (bare == listed).all():
        raise ValueError("No item of the table 'items' has a text or a feature that the model reads: fill them in.")
    if bare.any():
        ids = table[ITEM_ID][bare].tolist()
        logger.warning(
            "items: %d of %d are not recommended, having no trained id and no text or feature that the model reads: %s",
            len(ids), listed.sum(), ", ".join(map(repr, ids[:5])) + (", ..." if len(ids) > 5 else ""),
        )  # fmt: skip
        table["candidate"] = listed & ~bare
        extended.manifest["counts"]["candidates"] = int(table["candidate"].sum())


def _described(tower: ItemTower, extended: Dataset, vectors: np.ndarray | None) -> np.ndarray:
    """Bool [I]: whether anything that the model reads tells an item from another."""
    result = extended.items["trained"].to_numpy(bool) & tower.ids
    if vectors is not None:
        result = result | vectors.any(axis=1)
    for name in tower.categories:
        result = result | extended.item_categories[name].any(axis=1)
    if tower.numbers:
        result = result | ~np.isnan(extended.item_numbers).all(axis=1)
    return result


def _text_vectors(tower: ItemTower, data: Dataset, extended: Dataset, text: Embedding) -> np.ndarray:
    """float32 [I, W]: the model's own vectors, and those of texts that are new or changed."""
    before, after = data.items[TEXT].to_numpy(object), extended.items[TEXT].to_numpy(object)
    vectors = np.zeros((len(after), tower.text_width), "float32")
    vectors[: len(before)] = ops.convert_to_numpy(tower.text)
    changed = np.append(after[: len(before)] != before, np.ones(len(after) - len(before), bool))
    if not changed.any():
        return vectors
    if callable(text):
        made = text(after[changed].tolist())
    else:
        settings = text if isinstance(text, config.Text) else config.change(config.Model(), {"text": text}).text
        _check_text_model(settings, vectors, before)
        made = text_vectors(after[changed], settings)
    if made is None or made.shape != (changed.sum(), tower.text_width):
        shape = None if made is None else made.shape
        raise ValueError(f"`text` must make vectors of the width {tower.text_width} of the model; received {shape}.")
    vectors[changed] = made
    return vectors


def _check_text_model(settings: config.Text, vectors: np.ndarray, texts: np.ndarray) -> None:
    """Refuse a text model that makes other vectors than the one that the model was built with."""
    rows = np.flatnonzero([bool(text.strip()) for text in texts])
    if len(rows):
        longest = max(rows, key=lambda row: len(texts[row]))
        rows = np.array([*rows[np.unique(np.linspace(0, len(rows) - 1, PROBES).astype(int))], longest])
    made = text_vectors(texts[rows], settings)
    if len(rows) and (
        made is None or made.shape[1] != vectors.shape[1] or np.abs(made - vectors[rows]).max() > SAME_VECTOR
    ):
        raise ValueError(
            f"`text` must be the text model that the model was built with; received {settings.source!r}, which makes "
            f"{'no' if made is None else 'other'} vectors of its texts, or reads them otherwise."
        )


def _widened(model: TwoTower, extended: Dataset) -> TwoTower:
    """A copy of the model with a row for each item; what is new of a table that has a row an item is 0."""
    settings = model.get_config()
    tower = settings["item_tower"]["config"]
    tower["items"] = len(extended.items)
    tower["categories"] = {
        name: [size, extended.item_categories[name].shape[1]] for name, (size, _) in tower["categories"].items()
    }
    settings["candidates"] = np.flatnonzero(extended.items["candidate"]).tolist()
    wide = type(model).from_config(settings)
    for before, after in zip(model.weights, wide.weights, strict=True):
        after.assign(_grown(before, after))
    return wide


def _grown(before: Any, after: Any) -> np.ndarray:
    """The values of one variable in the shape of another that is as large or larger, 0 where it has none."""
    values = ops.convert_to_numpy(before)
    grown = np.zeros(after.shape, values.dtype)
    grown[tuple(map(slice, values.shape))] = values
    return grown
