"""Opening an exported version in Python: which folder is meant, and what lies in it; answers and predictions use it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tfrec.serving import manifest, server_config
from tfrec.serving.versions import SAVED_MODEL, versions

logger = logging.getLogger(__name__)


def find(model: str | Path) -> Path:
    """The version that a path means.

    Args:
        model: one version's folder, or a folder of versions: the one labelled `stable` where a `models.config` beside
            the folder or in it says so, else the newest.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no exported model.
    """
    folder = Path(model)
    if not folder.exists():
        raise FileNotFoundError(f"There is no model {folder}; name a folder that `tfrec export` or `publish` wrote.")
    if (folder / SAVED_MODEL).is_file():
        return folder
    found = versions(folder)
    if not found:
        raise ValueError(
            f"{folder} is not a SavedModel, and holds no version of one: name a folder that tfrec exported."
        )
    folder = folder.resolve()
    named = server_config.labels(folder.parent, folder.name) or server_config.labels(folder, folder.name)
    stable = named.get(server_config.STABLE)
    if stable not in found and (named or (folder.parent / server_config.FILE).is_file()):
        raise ValueError(
            f"{folder} has no version that is {server_config.STABLE} (there is {', '.join(map(str, found))}): run "
            "`tfrec publish`, or name one version."
        )
    return folder / str(stable or found[-1])


def judges(model: str | Path) -> bool:
    """Whether a path means a ranker; arguments and errors as for `find`."""
    return manifest.read(find(model)).get(manifest.KIND) == manifest.RANKER


def opened(folder: Path, needed: Sequence[str], *, text_ops: bool = False) -> tuple[Any, pd.DataFrame]:
    """Load a version: the SavedModel, and the table of its items.

    Args:
        folder: the version.
        needed: signatures that it must have.
        text_ops: whether it holds operations of tensorflow-text.

    Raises:
        ValueError: it cannot be loaded.
    """
    try:
        table = pd.read_parquet(folder / manifest.ITEMS)
        bundle = _loaded(folder, text_ops=text_ops)
        for name in needed:
            bundle.signatures[name]
    except Exception as error:  # TensorFlow and Parquet raise many kinds for a damaged file.
        reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise ValueError(f"{folder} cannot be loaded: {reason} Export the model again.") from error
    return bundle, table


def warn_unknown(known: pd.Index, ids: Any) -> None:
    """Name the ids of histories that a model does not know; they are left out."""
    unique = pd.Index(pd.unique(pd.Series(ids, dtype=object)))
    unknown = [item for item in unique[known.get_indexer(unique) < 0] if item]
    if unknown:
        named = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        logger.warning("left out: %d item ids that the model does not know: %s", len(unknown), named)


def _loaded(folder: Path, *, text_ops: bool) -> Any:
    import tensorflow as tf

    from tfrec.serving.session import load_text_ops, quiet

    if text_ops:
        load_text_ops()
    with quiet():
        return tf.saved_model.load(str(folder))
