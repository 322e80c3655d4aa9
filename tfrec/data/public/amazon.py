"""The tables of Amazon Beauty from McAuley's reviews of 2014; `download` calls it.

The events are the 5-core reviews (22,363 users, 12,101 items, 198,502 events), each user's by the time of the review
with a stable sort: reviews have days for times, and those of one day keep the order of the file, which is by item. How
sure that is: the files were not at hand; of neighbouring events in the table that this project's figures were measured
on, 69 % are in the order of their item ids, where 50 % would be if ties were in any other order. In titles `&amp;` is
` and `, as it is there. What decides is the digest that `download` compares.

The cold-start protocol takes lists of items beside the tables: a draw of 5 % of the distinct test targets, and one of
5 % of the distinct validation targets beside these. They are drawn here as those of the figures were.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tfrec.features import ITEM_ID, POSITION, TIMESTAMP, TITLE, USER_ID

REVIEWS, PRODUCTS = "reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"
_COLUMNS = {"reviewerID": USER_ID, "asin": ITEM_ID, "unixReviewTime": TIMESTAMP}
_ITEM = re.compile(r"'asin': '([^']+)'")
_COLD = 0.05  # Share of the distinct targets of a split that are cold.


def beauty(folder: Path) -> Mapping[str, pd.DataFrame]:
    """Tables by file name, from a folder with the files `REVIEWS` and `PRODUCTS`.

    Raises:
        ValueError: a file is not what it is taken for.
    """
    events = _events(folder / REVIEWS)
    items = pd.DataFrame({ITEM_ID: sorted(events[ITEM_ID].unique())})
    titles = _titles(folder / PRODUCTS, set(items[ITEM_ID]))
    items[TITLE] = [titles.get(item, "") for item in items[ITEM_ID]]
    return {
        "events.csv.gz": events,
        "items.csv.gz": items,
        **{name: pd.DataFrame({ITEM_ID: drawn}) for name, drawn in cold_lists(events).items()},
    }


def cold_lists(events: pd.DataFrame) -> dict[str, list[str]]:
    """Items that training is not to see: 5 % of the distinct test targets, and of the validation targets beside them.

    Args:
        events: `user_id`, `item_id`, in the order of each user.
    """
    place = events.groupby(USER_ID).cumcount(ascending=False)
    test, validation = (np.unique(events.loc[place == back, ITEM_ID].to_numpy(dtype=str)) for back in (0, 1))
    cold = _drawn(test, seed=0)
    return {"cold_items.csv": cold, "cold_items_validation.csv": _drawn(np.setdiff1d(validation, cold), seed=1)}


def _drawn(items: np.ndarray, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(items, int(_COLD * len(items)), replace=False).tolist())


def _events(path: Path) -> pd.DataFrame:
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                review = json.loads(line)
                rows.append([review[name] for name in _COLUMNS])
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path.name}, line {number}: no review with {', '.join(_COLUMNS)}") from None
    events = pd.DataFrame(rows, columns=list(_COLUMNS.values()))
    first = events.groupby(USER_ID, sort=False).ngroup()  # Users stand in the order of the file.
    order = events.assign(first=first).sort_values(["first", TIMESTAMP], kind="stable").drop(columns="first")
    order[POSITION] = order.groupby(USER_ID).cumcount()
    return order[[USER_ID, POSITION, ITEM_ID, TIMESTAMP]].reset_index(drop=True)


def _titles(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """Item -> title, where there is one. Each line is a Python literal."""
    found = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            item = _ITEM.search(line)
            if item is None:
                raise ValueError(f"{path.name}, line {number}: no product with an asin")
            if item[1] in wanted:
                try:
                    found[item[1]] = str(ast.literal_eval(line).get("title", "")).replace("&amp;", " and ").strip()
                except (ValueError, SyntaxError, AttributeError):
                    raise ValueError(f"{path.name}, line {number}: not a product") from None
    return found
