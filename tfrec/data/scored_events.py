"""The events as ordered and filtered, written so that anyone can score a run; `draft` writes them part by part."""

from __future__ import annotations

import contextlib
import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tfrec.data.splits import Split
from tfrec.data.timestamps import NO_TIME
from tfrec.features import EVENT_TYPE, ITEM_ID, POSITION, TIMESTAMP, USER_ID


class EventWriter(contextlib.AbstractContextManager):
    """Writes a compressed CSV; equal events give equal bytes, in however many parts they come.

    Args:
        path: the file.
        packed: whether it is compressed; else it is a part, for another writer to append.
    """

    def __init__(self, path: Path, *, packed: bool = True) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `__exit__`
        self._packed: Any = gzip.GzipFile("", "wb", 3, self._file, mtime=0) if packed else self._file
        self._header = True

    def write(self, split: Split) -> None:
        """Write the events of a part, after those of earlier ones."""
        events = split.events
        columns = {
            USER_ID: pa.array(events[USER_ID].astype("str")),
            ITEM_ID: pa.array(events[ITEM_ID].astype("str")),
            POSITION: pa.array(np.arange(len(events)) - np.repeat(split.offsets[:-1], np.diff(split.offsets))),
        }
        if TIMESTAMP in events:
            seconds = events[TIMESTAMP].to_numpy()
            columns[TIMESTAMP] = pa.array(seconds, mask=seconds == NO_TIME)
        if EVENT_TYPE in events:
            columns[EVENT_TYPE] = pa.array(events[EVENT_TYPE].astype("str"))
        options = pyarrow.csv.WriteOptions(include_header=self._header, batch_size=2**16)
        pyarrow.csv.write_csv(pa.table(columns), self._packed, options)
        self._header = False

    def append(self, part: Path) -> None:
        """Write the events of a part that is a file of its own, after those of earlier ones."""
        with open(part, "rb") as file:
            header = file.readline()
            self._packed.write(header if self._header else b"")
            shutil.copyfileobj(file, self._packed, 2**20)
        self._header = self._header and not header

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        with self._file:
            self._packed.close()
