"""A shelf: what `prepare` works on, put away by name in memory, or in files where memory does not hold it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute


class Shelf:
    """Boxes of numpy arrays, texts (Arrow arrays) and columns (pandas Series); those of files are read page by page.

    Args:
        folder: where the files go, made when it is first used; None keeps everything in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[str, Any] = {}

    def put(self, box: str, values: Mapping[str, Any]) -> None:
        """Put values into a box, beside what is in it."""
        for name, value in values.items():
            key = f"{box}.{name}"
            self._held[key] = value if self._folder is None else _written(self._folder / key, value)

    def get(self, box: str, name: str) -> Any:
        """What lies in a box under a name; not to be changed."""
        held = self._held[f"{box}.{name}"]
        return held.read() if isinstance(held, _File) else held

    def remove(self, box: str, name: str | None = None) -> None:
        """Give the room of a box, or of one thing in it, free."""
        keys = [key for key in self._held if key.startswith(f"{box}.")] if name is None else [f"{box}.{name}"]
        for key in keys:
            held = self._held.pop(key)
            if isinstance(held, _File):
                held.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Give all room free."""
        self._held.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True)
class _File:
    """What lies in a file: an array of a dtype, Arrow texts, or a pickled column of our own."""

    path: Path
    kind: np.dtype | str

    def read(self) -> Any:
        if self.kind == "texts":
            return pa.ipc.open_file(pa.memory_map(str(self.path))).get_batch(0).column(0)
        if self.kind == "column":
            return pd.read_pickle(self.path, compression=None)
        return np.memmap(self.path, self.kind, "r") if self.path.stat().st_size else np.zeros(0, self.kind)


def _written(path: Path, value: Any) -> _File:
    path.parent.mkdir(exist_ok=True)
    if isinstance(value, np.ndarray):
        with open(path, "wb") as file:
            file.write(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
        return _File(path, value.dtype)
    if isinstance(value, pa.Array):
        batch = pa.record_batch({"texts": value})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        return _File(path, "texts")
    value.to_pickle(path, compression=None)
    return _File(path, "column")


def arrow_texts(texts: pd.Index | list[str]) -> pa.Array:
    """Texts as an Arrow array."""
    array = pa.array(texts, pa.large_string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def sorted_codes(lists: list[pa.Array]) -> tuple[list[np.ndarray], pa.Array]:
    """The distinct texts of several lists, sorted, and for each list the place of its texts among them, int64."""
    encoded = pa.concat_arrays(lists).dictionary_encode()
    order = pa.compute.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    return np.split(codes, np.cumsum([len(one) for one in lists])[:-1]), encoded.dictionary.take(pa.array(order))
