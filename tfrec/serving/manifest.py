"""The manifest of a version: what it answers, what it was made of, and the hash of each of its files."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

import tfrec
from tfrec.serving.contract import Contract
from tfrec.serving.versions import SAVED_MODEL

EXTRA = "assets.extra"
MANIFEST = f"{EXTRA}/manifest.json"
ITEMS = f"{EXTRA}/items.parquet"
CATEGORIES = f"{EXTRA}/categories.parquet"  # What `recommend_filtered` may be asked; only where items have categories.
FORMAT = 1
REQUIRED = {
    **dict.fromkeys(("items", "max_length"), int),
    **dict.fromkeys(("inputs", "signatures", "files", "self_check"), dict),
}
SCORE = "score"  # What a score means, see `score_meaning`.
# What else than recommending a history's next items: a text model, `NAME_text`; a ranker, which judges candidates.
KIND, TEXT_MODEL, RANKER = "kind", "text", "ranker"
LABELS = "labels"  # Of a ranker: of each `label` the `output` that holds its prediction, what that `is`, its `range`.


def write(folder: Path, contract: Contract, signatures: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the manifest of a finished SavedModel; `about` is what the caller knows of its making, JSON values."""
    manifest = {
        **about,
        "format": FORMAT,
        "items": len(contract.items) - 1,
        "candidates": int(contract.candidates.sum()),
        **({} if contract.labels else {"k_max": contract.k_max, "answer_size": contract.width}),
        "max_length": contract.max_length,
        "seen": contract.seen,
        "categories": contract.categories.described(),
        "inputs": dict(contract.columns),
        "signatures": dict(signatures),
        "software": _software(),
        "files": _files(folder),
    }
    _dump(folder, manifest)


def add(folder: Path, **said: Any) -> None:
    """Say something besides in the manifest of a folder that is being built; JSON values."""
    _dump(folder, {**read(folder), **said})


def _dump(folder: Path, manifest: Mapping[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True, default=_plain)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a version folder.

    Raises:
        ValueError: the folder is no SavedModel, or none that tfrec exported.
    """
    if not (folder / SAVED_MODEL).is_file():
        raise ValueError(f"{folder} is not a SavedModel: it has no {SAVED_MODEL}. Name a folder that tfrec exported.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is a SavedModel that tfrec did not export: it has no {MANIFEST}.") from error
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} is damaged ({error}); export the model again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder / MANIFEST} is of another version of tfrec; export the model again.")
    answers = {LABELS: list} if manifest.get(KIND) == RANKER else {"k_max": int, "answer_size": int}
    required = {**answers, **REQUIRED}
    wrong = [name for name, kind in required.items() if not isinstance(manifest.get(name), kind)]
    wrong += ["self_check.tolerance"] * ("self_check" not in wrong and not _has_limits(manifest["self_check"]))
    if wrong:
        raise ValueError(
            f"{folder / MANIFEST} is damaged: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} missing or no "
            "such value; export the model again."
        )
    return manifest


def kind(told: Mapping[str, Any]) -> str:
    """What a version does, in words, by its manifest."""
    return {TEXT_MODEL: "text model", RANKER: "ranker"}.get(told.get(KIND, ""), "model that recommends")


def _has_limits(self_check: Mapping[str, Any]) -> bool:
    limits = [self_check.get("tolerance"), self_check.get("recall_floor", 1.0)]
    return all(isinstance(limit, float | int) and not isinstance(limit, bool) for limit in limits)


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, after each file was found to be what was exported.

    Raises:
        ValueError: a file is missing, changed or one too many; the message names it.
    """
    manifest, found = read(folder), _files(folder)
    promised = manifest["files"]
    for name in sorted(promised.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{folder} is incomplete: {name} is missing; export the model again.")
        if name not in promised:
            raise ValueError(f"{folder} was changed after its export: {name} was not in it; remove it.")
        if promised[name] != found[name]:
            raise ValueError(f"{folder} was changed after its export: {name} differs; export the model again.")
    return manifest


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _hash(path)} for path in paths
    }


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _software() -> dict[str, str]:
    try:
        keras = version("keras")
    except PackageNotFoundError:
        keras = "unknown"
    python = platform.python_version()
    return {"tfrec": tfrec.__version__, "tensorflow": tf.__version__, "keras": keras, "python": python}


def _plain(value: Any) -> Any:
    """JSON has no NumPy numbers, paths or dates."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
