"""What `model.text` becomes: the text model by its name, and the vectors of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfrec.towers.text import TextEncoder, folder_hash, minilm_folder


def text_mark(source: str) -> str | None:
    """A hash of a text model that lies in a local folder; None where its name says which one it is."""
    local = source not in ("none", "minilm") and Path(source).is_dir()
    return folder_hash(Path(source)) if local else None


def text_provenance(source: str) -> str:
    """Where the weights of a text model come from, in words for a table; nothing is called pretrained unread."""
    if source in ("none", "minilm"):
        return source if source == "none" else f"{source} (pretrained)"
    return Path(source).name if Path(source).is_dir() else source


def text_vectors(texts: Any, source: str) -> np.ndarray | None:
    """float32 [I, W]: the frozen vectors of the items' texts; None for `source: none`."""
    if source == "none":
        return None
    return TextEncoder(minilm_folder() if source == "minilm" else source).embed([str(text) for text in texts])
