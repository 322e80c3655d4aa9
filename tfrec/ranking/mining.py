"""What a trained retrieval model recalls after every history of a kind, its mistakes among them, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.data import EvaluationUsers, RecalledLists
from tfrec.features import PAD, USER_ID
from tfrec.ranking.two_stage import normaliser
from tfrec.retrieval import TwoTower
from tfrec.retrieval.ranks import REMOVED


def recalled_lists(model: TwoTower, users: EvaluationUsers, recall: int, *, batch_size: int = 256) -> RecalledLists:
    """The best items of each history, by products of matrices: a batch of states and all item vectors at once.

    Args:
        model: the trained model.
        users: N histories; what they hold is left out where seen items are removed.
        recall: items a history.
        batch_size: histories of a product.

    Returns:
        Lists of `recall` items, or of the whole catalogue, in the order of `users`.
    """
    batches = users.dataset(batch_size)
    spec = {name: value for name, value in batches.element_spec.items() if name != USER_ID}
    vectors = model.item_vectors()

    @tf.function(input_signature=[spec])
    def traced(features: dict[str, Any]) -> tuple[Any, Any, Any]:
        state = model.query(vectors, features)
        rows, scores = model.best(state, vectors, features, recall)
        return tf.where(scores > REMOVED / 2, rows, PAD), normaliser(scores), state

    asked = traced.get_concrete_function()
    found = [asked({name: batch[name] for name in spec}) for batch in batches]
    back = np.argsort(users.order())
    return RecalledLists(
        *(np.concatenate([part.numpy() for part in parts])[back] for parts in zip(*found, strict=True))
    )
