"""What a text model made of texts, on disk by their content; the text encoder looks there before it computes."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)


class VectorCache:
    """A folder of shards, each with some keys and an array of each; all arrays are of one shape and type."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when something is stored."""
        self.folder = folder

    def found(self, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """Key -> array, of the wanted keys that are there; a shard that cannot be read is only a warning."""
        wanted, kept = set(wanted), dict[str, np.ndarray]()
        for shard in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(shard) as stored:
                    keys = stored["keys"].tolist()
                    arrays = stored["vectors"] if not wanted.isdisjoint(keys) else None
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning("%s: cached text vectors cannot be read and are computed again (%s)", shard, error)
                continue
            if arrays is not None:
                kept.update((key, array) for key, array in zip(keys, arrays, strict=True) if key in wanted)
        return kept

    def store(self, keys: Sequence[str], arrays: np.ndarray) -> None:
        """Write a shard under a temporary name, then rename it; a folder that cannot be written is only a warning."""
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24] + ".npz"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f"{name}.{os.getpid()}.tmp"
            with open(temporary, "wb") as file:
                np.savez(file, keys=np.array(keys), vectors=arrays)
            os.replace(temporary, self.folder / name)
        except OSError as error:
            logger.warning("%s: text vectors are not cached (%s)", self.folder, error)


def text_key(text: str) -> str:
    """The key of a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
