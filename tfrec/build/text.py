"""What `model.text` becomes: the text model by its name, and the vectors of texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tfrec import config
from tfrec.data import Dataset
from tfrec.towers.text import TextEncoder, minilm_folder
from tfrec.towers.text_models import folder_hash


def text_mark(source: str) -> str | None:
    """A hash of a text model that lies in a local folder; None where its name says which one it is."""
    local = source not in ("none", "minilm") and Path(source).is_dir()
    return folder_hash(Path(source)) if local else None


def text_encoder(settings: config.Text, tuned: Path | None = None) -> TextEncoder | None:
    """What embeds texts as the settings say; None for `source: none`.

    Args:
        settings: the section `model.text`.
        tuned: a folder of tuned weights, which goes before that of the settings.

    Raises:
        ValueError: MiniLM is asked for and its weights are absent or damaged.
    """
    if settings.source == "none":
        return None
    source = minilm_folder() if settings.source == "minilm" else settings.source
    chosen = tuned or settings.tuned
    return TextEncoder(source, pooling=settings.pooling, max_tokens=settings.max_tokens, tuned=chosen)


def text_vectors(texts: Iterable[Any], settings: config.Text) -> np.ndarray | None:
    """float32 [N, W]: the frozen vectors of texts; None for `source: none`."""
    encoder = text_encoder(settings)
    return None if encoder is None else encoder.embed([str(text) for text in texts])


def read_user_texts(data: Dataset, settings: config.Model) -> int:
    """Let the batches of a data set carry the vectors of its users' texts, where a model with these settings reads any.

    Returns:
        The width of the vectors; 0 where the users have no texts, or the settings want none.

    Raises:
        ValueError: the text model is to be tuned: the texts of users are read by a frozen one.
    """
    if not (settings.user_text and settings.text.source != "none" and data.user_texts):
        return 0
    if settings.text.tuning != "frozen":
        raise ValueError(
            f"model.text.tuning is {settings.text.tuning!r}, and the users have texts (data.users.text), which only a "
            "frozen text model reads: set model.user_text to false, or tuning to frozen."
        )
    vectors = text_vectors(data.user_texts, settings.text)
    assert vectors is not None
    data.set_text_vectors(vectors)
    return vectors.shape[1]
