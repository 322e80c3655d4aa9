"""What stands for the ids of new items: those of the nearest texts that training knows, and a bonus on their scores."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.towers import ItemTower

SHARPNESS = 0.05  # Cosines are divided by it before the softmax that weighs the neighbours.
CELLS_A_CHUNK = 2**25  # Cosines that are held at a time: 128 MB.


@keras.saving.register_keras_serializable(package="tfrec")
class NewItems:
    """How an item without a trained id is ranked among those that have one.

    Its text says where it lies, but nothing says what else training learnt of items there; so it borrows the mean id
    vector of the items whose texts are nearest, and enters histories and rankings with it. No training event speaks
    for it even then: `bonus`, chosen on validation, makes up for that. Source: the mapping of attributes to factors by
    nearest neighbours, Gantner et al., "Learning attribute-to-feature mappings for cold-start recommendations" (2010).
    """

    def __init__(self, neighbours: int = 10, bonus: float = 0.0) -> None:
        """Choose the rule.

        Args:
            neighbours: items whose ids are borrowed; 0 = none.
            bonus: added to the score of an item without a trained id.

        Raises:
            ValueError: `neighbours` is negative.
        """
        if neighbours < 0:
            raise ValueError(f"`neighbours` must be 0 or more; received {neighbours}.")
        self.neighbours, self.bonus = neighbours, bonus

    def lend(self, tower: ItemTower) -> int:
        """Give rows without a trained id the ids of their neighbours, where both have a text; how many rows got one."""
        trained = keras.ops.convert_to_numpy(tower.trained)[:, 0] > 0
        tower.identified.assign(trained[:, None].astype("float32"))
        if not (self.neighbours and tower.ids and tower.text_width):
            return 0
        texts = keras.ops.convert_to_numpy(keras.ops.cast(tower.text_projection(tower.text), "float32"))
        known = np.linalg.norm(texts, axis=1) > 0
        known[0] = False  # Padding.
        lenders, borrowers = np.flatnonzero(known & trained), np.flatnonzero(known & ~trained)
        if not (len(lenders) and len(borrowers)):
            return 0
        ids = keras.ops.convert_to_numpy(tower.bounded_ids(lenders))
        embedding = keras.ops.convert_to_numpy(tower.embedding)
        size = max(1, CELLS_A_CHUNK // len(lenders))
        for start in range(0, len(borrowers), size):
            rows = borrowers[start : start + size]
            embedding[rows] = self._mean(tf.matmul(texts[rows], texts[lenders], transpose_b=True), ids)
        tower.embedding.assign(embedding)
        mask = trained.copy()
        mask[borrowers] = True
        tower.identified.assign(mask[:, None].astype("float32"))
        return len(borrowers)

    def beside_items(self, vectors: Any, tower: ItemTower, rows: Any = None) -> Any:
        """Item vectors [N, D] with the bonus as one more entry; [N, D] without a bonus.

        The entry is 0 for trained items, and for those that nothing describes: they would rise together, unread.
        `rows`, int [N], are the rows that the vectors are of; None = all.
        """
        if not self.bonus:
            return vectors
        return tf.concat([vectors, self.bonus * tf.cast(tower.is_new(rows), vectors.dtype)[:, None]], axis=1)

    def beside_queries(self, states: Any) -> Any:
        """Queries [B, T, D] with a 1 as one more entry, which meets the bonus; [B, T, D] without a bonus."""
        return keras.ops.pad(states, [[0, 0], [0, 0], [0, 1]], constant_values=1.0) if self.bonus else states

    def _mean(self, cosines: Any, ids: np.ndarray) -> np.ndarray:
        """float32 [N, D]: the weighted mean of the ids [M, D] of the largest cosines of each row [N, M]."""
        nearest = tf.math.top_k(cosines, min(self.neighbours, len(ids)))
        weights = tf.nn.softmax(nearest.values / SHARPNESS)
        return tf.reduce_sum(tf.gather(ids, nearest.indices) * weights[:, :, None], axis=1).numpy()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"neighbours": self.neighbours, "bonus": self.bonus}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NewItems:
        """Rebuild the rule."""
        return cls(**config)
