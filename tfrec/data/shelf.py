"""A shelf: what `prepare` works on, put away by name in memory, or in files where memory does not hold it."""

from __future__ import annotations

import fnmatch
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

_ARRAY, _TEXTS, _COLUMN = ".npy", ".arrow", ".pickle"


class Shelf:
    """Boxes of numpy arrays, texts (Arrow arrays) and columns (pandas Series); those of files are read page by page.

    A shelf of files has no state beside them: another process sees the same boxes in the same folder.

    Args:
        folder: where the files go, made when it is first used; None keeps everything in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._held: dict[str, Any] = {}

    def put(self, box: str, values: Mapping[str, Any]) -> None:
        """Put values into a box, beside what is in it; in place of what has the same name."""
        for name, value in values.items():
            key = f"{box}.{name}"
            if self.folder is None:
                self._held[key] = value
            else:
                _written(self.folder / key, value)

    def get(self, box: str, name: str) -> Any:
        """What lies in a box under a name; not to be changed."""
        key = f"{box}.{name}"
        return self._held[key] if self.folder is None else _read(self.folder / key)

    def remove(self, box: str, name: str | None = None) -> None:
        """Give the room of a box, or of one thing in it, free."""
        pattern = f"{box}.*" if name is None else f"{box}.{name}.*"
        for key in [key for key in self._held if fnmatch.fnmatchcase(f"{key}.", pattern)]:
            del self._held[key]
        for path in self.folder.glob(pattern) if self.folder is not None else ():
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Give all room free."""
        self._held.clear()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _written(path: Path, value: Any) -> None:
    """Write a value beside its place and move it there: who reads what was there before goes on reading it."""
    path.parent.mkdir(exist_ok=True)
    kind = _ARRAY if isinstance(value, np.ndarray) else _TEXTS if isinstance(value, pa.Array) else _COLUMN
    temporary = path.with_name(f".{uuid.uuid4().hex}{kind}")
    if kind == _ARRAY:
        array = np.ascontiguousarray(value)
        with open(temporary, "wb") as file:  # By `write`, which says why it fails; `numpy.save` does not.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data.cast("B") if array.size else b"")
    elif kind == _TEXTS:
        batch = pa.record_batch({"texts": value})
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
    else:
        value.to_pickle(temporary, compression=None)
    os.replace(temporary, path.with_name(path.name + kind))


def _read(path: Path) -> Any:
    array, texts, column = (path.with_name(path.name + kind) for kind in (_ARRAY, _TEXTS, _COLUMN))
    if array.exists():
        return np.load(array, mmap_mode="r")
    if texts.exists():
        return pa.ipc.open_file(pa.memory_map(str(texts))).get_batch(0).column(0)
    return pd.read_pickle(column, compression=None)


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
