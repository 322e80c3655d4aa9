"""Item vectors in 32, 16 or 8 bits: what is stored of them, and how a graph reads rows and scores from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

QUANTIZATIONS = ("float32", "float16", "int8")
_LEVELS = 127  # of int8 on either side of 0; -128 is not used, so that a vector and its opposite are stored alike
_ROWS = 2**16  # that are rounded at a time
_SMALLEST = 1e-30  # the largest number of a row below which it is stored as zeros: its scale would be no normal number


@dataclass(frozen=True)
class VectorTable:
    """Vectors as they are stored.

    Under int8 each row has a scale of its own: the largest magnitude of its first `dim` numbers becomes 127 (symmetric,
    a scale a row; for example Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", 2018). What lies beyond `dim`, the bonus of new items, has another order of
    magnitude and is kept in 16 bits.

    Attributes:
        codes: float32 or float16 [I, D], or int8 [I, dim].
        scale: float32 [I], what a code of a row counts; None but for int8.
        rest: float16 [I, D - dim]; None but for int8 with D > dim.
    """

    codes: np.ndarray
    scale: np.ndarray | None = None
    rest: np.ndarray | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, quantization: str = "float32", dim: int | None = None) -> VectorTable:
        """Store vectors.

        Args:
            vectors: float32 [I, D].
            quantization: `float32`, `float16` or `int8`.
            dim: the numbers that share a row's scale; all where None.

        Raises:
            ValueError: an unknown quantization, or numbers that it cannot hold.
        """
        if quantization not in QUANTIZATIONS:
            raise ValueError(f"`quantization` must be one of {', '.join(QUANTIZATIONS)}; received {quantization!r}.")
        vectors = np.asarray(vectors, np.float32)
        if quantization == "float32":
            return cls(vectors)
        largest = _largest(vectors)
        if not np.isfinite(largest):
            raise ValueError("The item vectors are not finite; the model's weights may have diverged.")
        dim = vectors.shape[1] if dim is None else dim
        in_halves = vectors if quantization == "float16" else vectors[:, dim:]
        if _largest(in_halves) > float(np.finfo(np.float16).max):
            raise ValueError(
                f"`quantization` is {quantization}, and an item vector holds {largest:.3g}, beyond what 16 bits hold "
                f"({np.finfo(np.float16).max:.0f}); use float32."
            )
        if quantization == "float16":
            return cls(vectors.astype(np.float16))
        codes, scale = _in_levels(vectors[:, :dim])
        return cls(codes, scale, in_halves.astype(np.float16) if in_halves.shape[1] else None)

    @property
    def restored(self) -> np.ndarray:
        """float32 [I, D], the vectors as whoever reads the table sees them; not to be written to."""
        vectors = self.codes.astype(np.float32, copy=False)
        if self.scale is not None:
            vectors *= self.scale[:, None]
        return vectors if self.rest is None else np.concatenate([vectors, self.rest.astype(np.float32)], axis=1)

    def taken(self, order: np.ndarray) -> VectorTable:
        """The rows at int [N] `order`."""
        scale, rest = (None if part is None else part[order] for part in (self.scale, self.rest))
        return VectorTable(self.codes[order], scale, rest)

    @property
    def sizes(self) -> dict[str, int]:
        """`bytes` of the table, and `float32_bytes` of the same vectors in float32."""
        parts = [part for part in (self.codes, self.scale, self.rest) if part is not None]
        width = self.codes.shape[1] + (0 if self.rest is None else self.rest.shape[1])
        return {"bytes": sum(part.nbytes for part in parts), "float32_bytes": 4 * len(self.codes) * width}


def lengths(vectors: np.ndarray) -> np.ndarray:
    """float32 [N]: those of float32 [N, D], without a second array as large."""
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors))


def _largest(vectors: np.ndarray) -> float:
    """The largest magnitude of a number; NaN where one is."""
    return float(max(vectors.max(initial=0.0), -vectors.min(initial=0.0)))


def _in_levels(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [I, D] codes and float32 [I] scales of float32 [I, D]; the largest of a row is exact."""
    largest = np.maximum(vectors.max(axis=1, initial=0.0), -vectors.min(axis=1, initial=0.0))
    scale = np.where(largest < _SMALLEST, 0.0, largest / _LEVELS).astype(np.float32)
    codes = np.zeros(vectors.shape, np.int8)
    for start in range(0, len(vectors), _ROWS):
        some, by = vectors[start : start + _ROWS], scale[start : start + _ROWS, None]
        levels = np.divide(some, by, out=np.zeros_like(some), where=by > 0)
        codes[start : start + _ROWS] = np.rint(levels).clip(-_LEVELS, _LEVELS)
    return codes, scale


class StoredVectors:
    """A `VectorTable` in a graph; `width` is D.

    All of the codes become float32 before they are multiplied, in one operation: on a CPU, for catalogues of 3,000 to
    200,000 rows, products block by block were no faster throughout. A product in half precision is faster for one user,
    but rounds the query; a transposed table is faster for many, but its rows cannot be gathered.
    """

    def __init__(self, table: VectorTable, name: str) -> None:
        """Create the variables; `name` begins their names."""
        named = {name: table.codes, f"{name}_scale": table.scale, f"{name}_rest": table.rest}
        self._codes, self._scale, self._rest = (
            None if part is None else tf.Variable(part, trainable=False, name=each) for each, part in named.items()
        )
        self._dim = table.codes.shape[1]
        self.width = self._dim + (0 if table.rest is None else table.rest.shape[1])

    @property
    def variables(self) -> list[tf.Variable]:
        """What a saved graph must track."""
        return [part for part in (self._codes, self._scale, self._rest) if part is not None]

    def rows(self, places: Any) -> Any:
        """float32 [..., D]: the vectors at int [...]."""
        vectors = tf.cast(tf.gather(self._codes, places), tf.float32)
        if self._scale is not None:
            vectors *= tf.gather(self._scale, places)[..., None]
        if self._rest is None:
            return vectors
        return tf.concat([vectors, tf.cast(tf.gather(self._rest, places), tf.float32)], axis=-1)

    def scores(self, queries: Any) -> Any:
        """float32 [B, I]: the products of float32 [B, D] with all vectors."""
        return self._products(queries, self._codes, self._scale, self._rest)

    def scores_of(self, query: Any, places: Any) -> Any:
        """float32 [N]: the products of float32 [D] with the vectors at int [N]."""
        parts = (self._codes, self._scale, self._rest)
        return self._products(query[None], *(None if part is None else tf.gather(part, places) for part in parts))[0]

    def _products(self, queries: Any, codes: Any, scale: Any, rest: Any) -> Any:
        """float32 [B, N] of queries float32 [B, D] and N stored vectors, scaled when multiplied."""
        products = tf.matmul(queries[:, : self._dim], tf.cast(codes, tf.float32), transpose_b=True)
        if scale is not None:
            products *= scale
        if rest is not None:
            products += tf.matmul(queries[:, self._dim :], tf.cast(rest, tf.float32), transpose_b=True)
        return products
