"""Folders of text models: by which hash they are known, and what one that was pretrained here says of itself."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

READING = 5  # Raised whenever the same model would read a text otherwise than before.
# What a folder that was pretrained here holds beside the files of its preset.
ABOUT, WEIGHTS, WEIGHTS_SHA256 = "pretraining.json", "model.weights.h5", "weights_sha256"

logger = logging.getLogger(__name__)


def mistake(source: str) -> str | None:
    """Why a folder's weights are not those that its `pretraining.json` was written for; None where all is well.

    Where they were trained when texts were read in another way, a warning says so.
    """
    about, weights = Path(source) / ABOUT, Path(source) / WEIGHTS
    if not (about.is_file() and weights.is_file()):
        return None
    try:
        said = json.loads(about.read_text(encoding="utf-8"))
        expected, reading, origin = said.get(WEIGHTS_SHA256), said.get("reading"), said.get("origin")
    except (ValueError, AttributeError) as error:
        return f"its {ABOUT} is damaged ({error})"
    if origin is not None and expected is None:
        return f"its {ABOUT} is damaged (it lacks {WEIGHTS_SHA256})"
    if reading is not None and reading != READING:
        logger.warning("%s was pretrained when texts were read in another way: pretrain it again", source)
    if expected is not None and file_hash(weights) != expected:
        return f"its {WEIGHTS} is not the one that {ABOUT} was written for: pretrain it again"
    return None


def source_mark(source: str) -> str:
    """A hash that knows a local folder by its content, and anything else by its name."""
    folder = Path(source)
    return folder_hash(folder) if folder.is_dir() else hashlib.sha256(source.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """A hash of the files that make a preset: weights, configuration, and the tokenizer's in folders below."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\x00{file_hash(path)}\n".encode())
    return digest.hexdigest()
