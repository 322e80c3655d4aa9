"""Recommendations of a model for every user of a split, as a table; what evaluation and reports read."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrec.features import ITEM_ID, RANK, SCORE, USER_ID
from tfrec.retrieval.ranks import REMOVED


class Recommender(Protocol):
    """What can be asked for recommendations: a two-tower model, or two stages as one."""

    item_tower: Any

    def item_tables(self) -> Any:
        """What is computed of the items once."""

    def top(self, tables: Any, features: Any, k: int) -> tuple[Any, Any]:
        """The k best rows and their scores, [B, k], best first; fewer where there are fewer."""


def recommend(model: Recommender, batches: tf.data.Dataset, item_ids: Any, *, k: int = 50) -> pd.DataFrame:
    """The k best items of each user, best first.

    Args:
        model: the trained model.
        batches: batches of a split, with `HISTORY`, `SEEN` and `USER_ID`.
        item_ids: str [I], the id of each row.
        k: items a user, 1 or more; fewer where the catalogue is exhausted.

    Returns:
        Columns user_id, item_id, rank (1 = best), score.

    Raises:
        ValueError: `k` is not positive, or `item_ids` is not as long as the catalogue.
    """
    if k < 1:
        raise ValueError(f"`k` must be 1 or more; received {k}.")
    if len(item_ids) != model.item_tower.items:
        raise ValueError(
            f"`item_ids` must name each of the {model.item_tower.items} rows of the model, padding included; "
            f"received {len(item_ids)}."
        )
    tables = model.item_tables()
    spec = {name: value for name, value in batches.element_spec.items() if name != USER_ID}

    @tf.function(input_signature=[spec])  # One trace for every batch, whatever its length.
    def traced(features: dict[str, Any]) -> tuple[Any, Any]:
        return model.top(tables, features, k)

    best = traced.get_concrete_function()  # Else TensorFlow warns of retracing after a few calls of `recommend`.
    users, rows, scores = [], [], []
    for batch in batches:
        features = {name: value for name, value in batch.items() if name != USER_ID}
        indices, values = best(features)
        users.extend(batch[USER_ID].numpy())
        rows.append(indices.numpy())
        scores.append(values.numpy())
    k = rows[0].shape[1] if rows else k
    table = pd.DataFrame(
        {
            USER_ID: np.repeat(np.array([user.decode() for user in users], object), k),
            ITEM_ID: np.asarray(item_ids, object)[np.concatenate(rows).ravel() if rows else np.array([], int)],
            RANK: np.tile(np.arange(1, k + 1), len(users)),
            SCORE: np.concatenate(scores).ravel() if scores else np.array([], "float32"),
        }
    )
    return table[table[SCORE] > REMOVED / 2].reset_index(drop=True)
