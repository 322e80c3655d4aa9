"""The tables of items and users: read and checked, their columns turned into codes and numbers; used by `prepare`."""

from __future__ import annotations

import logging
import os

import numpy as np
import pandas as pd

from tfrec.data.options import ItemColumns, ItemIds, UserColumns
from tfrec.data.tables import Source, Table, read_table
from tfrec.data.vocabulary import Vocabulary
from tfrec.features import ITEM_ID, TEXT, TITLE, USER_ID, USER_TEXT

logger = logging.getLogger(__name__)


def read_items(source: Source, columns: ItemColumns | None = None) -> pd.DataFrame:
    """Read a table of items.

    Args:
        source: path (.csv, .csv.gz, .parquet) or DataFrame.
        columns: which column holds what; None takes `item_id` and `title`.

    Returns:
        One row an item: `item_id`, `title` (the first text column), `text` (all of them, joined with ". ", the empty
        ones left out), the categorical columns as texts ("" where missing), the numeric ones as float64 (NaN).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or holds what it must not, or an item has two rows that differ.
    """
    columns = columns or ItemColumns()
    table = read_table(source, "items")
    text = ((TITLE,) if TITLE in table.frame else ()) if columns.text is None else columns.text
    table.require([columns.item_id, *text, *columns.categorical, *columns.numeric])
    texts = [table.texts(name).str.strip() for name in text]
    items = pd.DataFrame({ITEM_ID: table.ids(columns.item_id)})
    items[TITLE] = texts[0] if texts else ""
    items[TEXT] = _joined(texts, len(items))
    for name in columns.categorical:
        items[name] = table.texts(name)
    for name in columns.numeric:
        items[name] = table.numbers(name)
    return _one_row_each(table, items, ITEM_ID)


def read_users(source: Source, columns: UserColumns | None = None) -> pd.DataFrame:
    """Read a table of users.

    Args:
        source: path (.csv, .csv.gz, .parquet) or DataFrame.
        columns: which column holds what; None takes `user_id` alone.

    Returns:
        One row a user: `user_id`, the categorical columns as texts ("" where missing), and, where there are text
        columns, `user_text`: all of them, joined with ". ", the empty ones left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or holds what it must not, or a user has two rows that differ.
    """
    columns = columns or UserColumns()
    table = read_table(source, "users")
    table.require([columns.user_id, *columns.categorical, *columns.text])
    users = pd.DataFrame({USER_ID: table.ids(columns.user_id)})
    for name in columns.categorical:
        users[name] = table.texts(name)
    if columns.text:
        users[USER_TEXT] = _joined([table.texts(name).str.strip() for name in columns.text], len(users))
    return _one_row_each(table, users, USER_ID)


def read_item_ids(ids: ItemIds, name: str) -> list[str]:
    """Distinct item ids in order, from a collection or the column `item_id` of a table.

    Args:
        ids: the ids, or the path of a table.
        name: the option's name, for messages.
    """
    if not isinstance(ids, (str, os.PathLike)):
        return sorted({str(item) for item in ids})
    table = read_table(ids, name)
    table.require([ITEM_ID])
    return sorted(set(table.ids(ITEM_ID)))


def item_rows(items: pd.DataFrame | None, event_items: pd.Series) -> pd.DataFrame:
    """The items of a dataset: all of the table and of the events, sorted by id, with row 0 for padding.

    Args:
        items: what `read_items` returned, None without a table.
        event_items: the item id of each event.

    Returns:
        The columns of `items`; items that the table lacks have empty texts and missing numbers. The index is the row.
    """
    if items is None:
        items = pd.DataFrame({ITEM_ID: [], TITLE: [], TEXT: []}, dtype="str")
    occurring = pd.Series(event_items.unique(), dtype="str")
    lacking = occurring[~occurring.isin(items[ITEM_ID])]
    if len(items) and len(lacking):
        _say_lacking(items, lacking, len(occurring))
    rows = pd.concat([items, pd.DataFrame({ITEM_ID: lacking}, dtype="str")], ignore_index=True)
    rows = pd.concat([pd.DataFrame({ITEM_ID: [""]}, dtype="str"), rows.sort_values(ITEM_ID)], ignore_index=True)
    for name in rows.columns:
        if not pd.api.types.is_numeric_dtype(rows[name]):
            rows[name] = rows[name].fillna("").astype("str")
    return rows


def category_codes(values: pd.Series, separator: str | None, known: np.ndarray) -> tuple[np.ndarray, Vocabulary]:
    """Codes of a categorical column, several a row where it has a separator.

    Args:
        values: texts [I], "" where missing.
        separator: what stands between the values of one row, None for single values.
        known: bool [I], the rows whose values make the vocabulary; others' values that are not in it get no code.

    Returns:
        int32 [I, M] codes, filled with 0 on the right, M at least 1, and the vocabulary.
    """
    parts = category_values(values, separator)
    vocabulary = Vocabulary.of(parts[known[parts.index]].unique())
    return codes_of(parts, len(values), vocabulary), vocabulary


def category_values(values: pd.Series, separator: str | None) -> pd.Series:
    """The single values of a categorical column; the index is the row, and a row of several values is there as often.

    Args:
        values: texts [I], "" where missing.
        separator: what stands between the values of one row, None for single values.
    """
    lists = values.str.split(separator, regex=False) if separator is not None else values.map(lambda value: [value])
    return lists.explode().astype("str").str.strip()


def codes_of(parts: pd.Series, rows: int, vocabulary: Vocabulary, width: int = 1) -> np.ndarray:
    """Codes of the single values of `rows` rows, as `category_values` gives them.

    Returns:
        int32 [I, M] distinct codes, those of unknown values left out, filled with 0 on the right; M is `width` or more.
    """
    pairs = pd.DataFrame({"row": parts.index, "code": vocabulary.codes(parts)})
    pairs = pairs[pairs.code > 0].drop_duplicates()
    place = pairs.groupby("row").cumcount().to_numpy()
    codes = np.zeros((rows, max(width, int(place.max(initial=0)) + 1)), np.int32)
    codes[pairs.row, place] = pairs.code
    return codes


def standardised(numbers: np.ndarray, known: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Numbers in units of what training knows of them.

    Args:
        numbers: float [I, n], NaN where missing.
        known: bool, the rows of `reference` that have mean 0 and deviation 1.
        reference: float [J, n]; `numbers` themselves where None.

    Returns:
        float32 [I, n], NaN where missing.
    """
    reference = numbers if reference is None else reference
    result = np.full(numbers.shape, np.nan, np.float32)
    for column in range(numbers.shape[1]):
        values = reference[:, column]
        seen = values[known & ~np.isnan(values)]
        if len(seen):
            result[:, column] = (numbers[:, column] - seen.mean()) / (seen.std() or 1.0)
    return result


def _say_lacking(items: pd.DataFrame, lacking: pd.Series, occurring: int) -> None:
    if len(lacking) == occurring:
        raise ValueError(
            f"No item of the events, such as {lacking.iloc[0]!r}, is in the table 'items', which has"
            f" {items[ITEM_ID].iloc[0]!r}: the ids must be written alike."
        )
    logger.warning(
        "%d of %d items of the events, such as %r, are not in the table 'items': they have no text",
        len(lacking), occurring, lacking.iloc[0],
    )  # fmt: skip


def _joined(texts: list[pd.Series], rows: int) -> pd.Series:
    result = pd.Series([""] * rows, dtype="str")
    for text in texts:
        both = (result != "") & (text != "")
        result = result + np.where(both, ". ", "") + text
    return result


def _one_row_each(table: Table, rows: pd.DataFrame, key: str) -> pd.DataFrame:
    rows = rows.drop_duplicates(ignore_index=True)
    repeated = rows[key].duplicated(keep=False)
    if not repeated.any():
        return rows
    name = rows[key][repeated].iloc[0]
    pair = rows[rows[key] == name].iloc[:2]
    column = next(column for column in rows if pair[column].nunique(dropna=False) > 1)
    first, second = pair[column]
    raise ValueError(
        f"{table.label}: {key} {name!r} has two rows whose {column!r} differ: {first!r} and {second!r}."
        " Keep one of them."
    )
