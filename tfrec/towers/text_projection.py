"""From a text's vector to the item tower's width: whitened at first, so that an untrained tower knows what is alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

# Directions are scaled by their deviation to this power: 0 keeps the text model's own geometry, 1 whitens it wholly.
# Half-way between: vectors of sentences crowd in a cone, and whole whitening makes as much of noise as of meaning.
WHITENING = 0.5
_ROWS_AT_ONCE = 8192


@keras.saving.register_keras_serializable(package="tfrec")
class TextProjection(keras.layers.Layer):
    """An affine map, then length 1; a text of which nothing is known, the zero vector, stays zero.

    `fit` sets the map to the principal directions of a catalogue's vectors, centred and whitened: the cosine of two
    items is then near that of their texts, and goes on to hold for items that training never sees. Source: whitening
    of sentence vectors, Su et al., arXiv:2103.15316; for recommendation, Zhang et al., "Are ID embeddings necessary?
    Whitening pre-trained text embeddings", arXiv:2402.10602.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        """Build the layer; `dim` is the width D of an item vector."""
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (N, W)."""
        self.kernel = self.add_weight((input_shape[-1], self.dim), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight((self.dim,), initializer="zeros", name="bias")
        self.built = True

    def fit(self, vectors: np.ndarray) -> None:
        """Set the map from the vectors of a catalogue, float [I, W]; rows of zeros do not count.

        Directions beyond those that the vectors have keep a random, small map, so that all D can be learnt.
        """
        total, centre, spread = 0, np.zeros(vectors.shape[1]), np.zeros((vectors.shape[1],) * 2)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = np.asarray(vectors[start : start + _ROWS_AT_ONCE], "float64")
            total, centre, spread = (
                total + int(rows.any(axis=1).sum()),
                centre + rows.sum(axis=0),
                spread + rows.T @ rows,
            )
        if total < 2:
            return
        centre /= total
        variances, directions = np.linalg.eigh(spread / total - np.outer(centre, centre))
        deviation, directions = np.sqrt(np.maximum(variances[::-1], 0.0)), directions.T[::-1]
        kept = min(self.dim, int((deviation > max(deviation[0] * 1e-3, 1e-6)).sum()))
        kernel = ops.convert_to_numpy(self.kernel) * 1e-2
        kernel[:, :kept] = (directions[:kept] / deviation[:kept, None] ** WHITENING).T
        self.kernel.assign(kernel)
        self.bias.assign(-centre @ kernel)

    def start_as(self, other: TextProjection) -> None:
        """Take over the map of another one: of users' texts, say, that of the items', since both mean alike."""
        self.kernel.assign(other.kernel)
        self.bias.assign(other.bias)

    def call(self, vectors: Any) -> Any:
        """[N, W] -> [N, D], each of length 1 or 0."""
        vectors = ops.cast(vectors, self.compute_dtype)
        known = ops.cast(ops.any(vectors != 0, axis=-1, keepdims=True), self.compute_dtype)
        mapped = ops.matmul(vectors, ops.cast(self.kernel, self.compute_dtype)) + ops.cast(
            self.bias, self.compute_dtype
        )
        return mapped * known * ops.rsqrt(ops.sum(ops.square(mapped), axis=-1, keepdims=True) + 1e-9)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim}
