"""A catalogue after training: a new table of items is laid over those of a data set; what `export --items` ranks."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pandas as pd

from tfrec.data.datasets import ITEMS, Dataset
from tfrec.data.items import category_values, codes_of, read_items, standardised
from tfrec.data.options import ItemColumns
from tfrec.data.tables import Source
from tfrec.features import ITEM_ID, PAD

logger = logging.getLogger(__name__)


def with_catalogue(data: Dataset, source: Source) -> Dataset:
    """The data set with a new catalogue: what the table lists may be recommended, and nothing else.

    Rows of before stay where they are, so that histories keep their meaning; items that training lacked follow them,
    by id. What the table says of an item counts, also of one known to training. Categories are coded with the
    vocabularies of training, a value that it lacked is missing, and numbers are standardised with its statistics.
    Nothing is written: `folder`, the sequences and `manifest["content_hash"]` are those of training.

    Args:
        data: the data set that a model was trained on.
        source: path (.csv, .csv.gz, .parquet) or DataFrame, its columns called as in the table of items of `data`.

    Returns:
        A data set whose `items`, `item_categories` and `item_numbers` have at least as many rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or holds what it must not, an item has two rows that differ, or the table has no
            item of the data set.
    """
    options = data.manifest["options"]["items"]
    columns = ItemColumns(**options) if options else ItemColumns()
    listed = read_items(source, columns)
    listed = listed[[name for name in listed if name in data.items]]
    place = pd.Index(data.items[ITEM_ID]).get_indexer(pd.Index(listed[ITEM_ID]))
    _check_ids(data.items, listed, place)
    _say_empty(listed, [*data.item_categories, *data.manifest["item_numbers"]])
    extended = copy.copy(data)
    extended.items = _laid_over(data.items, listed, place)
    extended.item_categories = {
        name: _codes(extended, name, columns.categorical[name], codes.shape[1])
        for name, codes in data.item_categories.items()
    }
    extended.item_numbers = _numbers(extended)
    counts = {"items": len(extended.items) - 1, "candidates": len(listed)}
    extended.manifest = {**data.manifest, "counts": {**data.manifest["counts"], **counts}}
    return extended


def _check_ids(items: pd.DataFrame, listed: pd.DataFrame, place: np.ndarray) -> None:
    """Refuse ids that are written otherwise than those of training, and say where some look like it."""
    new = listed[ITEM_ID][place < 0]
    lost = items[ITEM_ID].drop(index=[PAD, *place[place >= 0]])
    if len(new) == len(listed):
        raise ValueError(
            f"No item of the table 'items', such as {new.iloc[0]!r}, is known to training, which has"
            f" {lost.iloc[0]!r}: the ids must be written alike."
        )
    plain = {_bare(item): item for item in lost}
    alike = [item for item in new if _bare(item) in plain]
    if alike:
        logger.warning(
            "items: %d of the new ids are like ids that the table lacks but for zeros, blanks or case, such as %r and "
            "%r: they count as other items",
            len(alike), alike[0], plain[_bare(alike[0])],
        )  # fmt: skip


def _bare(item: str) -> str:
    """An id without what a spreadsheet may change of it."""
    return item.strip().lstrip("0").removesuffix(".0").casefold()


def _say_empty(listed: pd.DataFrame, features: list[str]) -> None:
    for name in features:
        if listed[name].isin(["", np.nan]).all():
            logger.warning("items: column %r holds no value: it is missing for all %d items", name, len(listed))


def _laid_over(items: pd.DataFrame, listed: pd.DataFrame, place: np.ndarray) -> pd.DataFrame:
    """The rows of before with the values of the table, then the new items; `place` is each listed item's row, or -1."""
    known, rows = listed[place >= 0], place[place >= 0]
    result = items.copy()
    changed = np.zeros(len(rows), bool)
    for name in listed.columns.drop(ITEM_ID):
        before, after = result[name].iloc[rows].reset_index(drop=True), known[name].reset_index(drop=True)
        changed |= ~((before == after) | (before.isna() & after.isna())).to_numpy(bool)
        result.loc[rows, name] = after.to_numpy()
    result["candidate"] = False
    result.loc[rows, "candidate"] = True
    new = listed[place < 0].sort_values(ITEM_ID)
    new = new.assign(count=0, candidate=True, trained=False, held_out=0).astype(items.dtypes.to_dict())
    logger.info(
        "items: %d new, %d known (%d of them described otherwise than before); %d that the table lacks stay in "
        "histories only",
        len(new), len(known), int(changed.sum()), len(items) - 1 - len(known),
    )  # fmt: skip
    return pd.concat([result, new[items.columns]], ignore_index=True)


def _codes(data: Dataset, name: str, separator: str | None, width: int) -> np.ndarray:
    """int32 [I, M] codes of a category, M at least `width`; values of the table that have none are said."""
    vocabulary = data.vocabularies["item_" + name]
    parts = category_values(data.items[name], separator)
    unknown = parts[(parts != "") & (vocabulary.codes(parts) == 0) & data.items["candidate"].reindex(parts.index)]
    if len(unknown):
        logger.warning(
            "items: column %r, %d of %d items: values that training lacked count as missing: %d, such as %r",
            name, unknown.index.nunique(), data.items["candidate"].sum(), unknown.nunique(), unknown.iloc[0],
        )  # fmt: skip
    return codes_of(parts, len(data.items), vocabulary, width)


def _numbers(data: Dataset) -> np.ndarray:
    """float32 [I, n]: the numbers in the units of training, whose raw values lie in the folder."""
    names = data.manifest["item_numbers"]
    trained = pd.read_parquet(data.folder / ITEMS)
    known = (trained["count"] > 0).to_numpy()
    for name in names:
        _say_far(name, data.items[name][data.items["candidate"]], trained[name][known])
    values, reference = (table[names].to_numpy(dtype=np.float64) for table in (data.items, trained))
    return standardised(values, known, reference)


def _say_far(name: str, values: pd.Series, trained: pd.Series) -> None:
    """Say it where numbers lie further outside those of training than these lie apart: another unit, perhaps."""
    low, high = trained.min(), trained.max()
    far = values[(values < low - (high - low)) | (values > high + (high - low))]
    if len(far):
        logger.warning(
            "items: column %r, %d of %d items: numbers far outside those of training (%g to %g), such as %g: are they "
            "in the same unit?",
            name, len(far), len(values), low, high, far.iloc[0],
        )  # fmt: skip
