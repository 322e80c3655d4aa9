"""What is sent to an exported model and what comes back: arrays to tensors and bytes to texts; `answers` uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

WORDS = 5  # of a made-up text


def tensor(values: np.ndarray | None, spec: Any, users: np.ndarray, starts: np.ndarray) -> Any:
    """The tensor of one input for some users: event values padded to [B, T], user values [B, ...], or all missing.

    Args:
        values: what there is for all users; None where it is missing.
        spec: what the signature takes.
        users: int [B], the places of the users.
        starts: int [users + 1], where the events of each user begin in `values`.
    """
    import tensorflow as tf

    if spec.dtype == tf.float32:
        vectors = np.zeros((len(users), *(size or 1 for size in spec.shape[1:]))) if values is None else values[users]
        return tf.constant(vectors, tf.float32)
    kind, missing = (object, "") if spec.dtype == tf.string else (np.int64, 0)
    if len(spec.shape) == 1:
        chosen = np.full(len(users), missing, kind) if values is None else values[users]
        return tf.constant(chosen, spec.dtype)
    lengths = starts[users + 1] - starts[users]
    table = np.full((len(users), max(1, int(lengths.max(initial=0)))), missing, kind)
    if values is not None:
        for row, user in zip(table, users, strict=True):
            row[: starts[user + 1] - starts[user]] = values[starts[user] : starts[user + 1]]
    return tf.constant(table, spec.dtype)


def drawn_vectors(rng: np.random.Generator, rows: int, spec: Any) -> np.ndarray:
    """Made-up vectors of texts, float32 [B, W], or of some words each, [B, WORDS, W]; about half are zeros: missing."""
    shape = [rows, *(size or WORDS for size in spec.shape[1:])]
    return (rng.normal(size=shape) * rng.integers(0, 2, (*shape[:-1], 1))).astype(np.float32)


def texts(given: Sequence[str], count: int) -> np.ndarray:
    """The texts as bytes, object [N]; what no UTF-8 can spell, such as half a surrogate pair, becomes "?".

    Raises:
        ValueError: they are not `count`.
    """
    if isinstance(given, str) or len(given) != count:
        raise ValueError(f"`texts` must be a list of {count} texts, one for each history; received {given!r}.")
    return np.array([str(text).encode("utf-8", "replace") for text in given], object)


def padded(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Object [N, T]: the rows, "" after their end."""
    table = np.full((len(rows), max(map(len, rows), default=0)), "", object)
    for row, items in zip(table, rows, strict=True):
        row[: len(items)] = items
    return table


def decoded(ids: np.ndarray) -> np.ndarray:
    """Texts of bytes, of the same shape."""
    return np.array([item.decode() for item in ids.ravel()], object).reshape(ids.shape)


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the values, evenly spread over them."""
    return [values[place] for place in np.unique(np.linspace(0, len(values) - 1, min(len(values), count)).astype(int))]
