"""Writing of a version: a traced graph is saved, checked, described, and only then has its number; exports do it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrec.features import ITEM_ID
from tfrec.serving import event_tables, manifest, operations, stored_answers, warmup
from tfrec.serving.catalogue_check import MEASURED
from tfrec.serving.contract import CANDIDATE, Contract
from tfrec.serving.index.vectors import VectorTable
from tfrec.serving.options import ExportOptions
from tfrec.serving.requests import spread
from tfrec.serving.selfcheck import Check
from tfrec.serving.signatures import ID_FILE
from tfrec.serving.versions import building, place

logger = logging.getLogger(__name__)


class Graph(Protocol):
    """A traced graph."""

    def save(self, folder: Path) -> None:
        """Write the SavedModel."""


def write_version(
    make: Callable[[Path], Graph],
    check: Check,
    folder: Path,
    *,
    version: int | None,
    beside: Sequence[Path] = (),
    histories: Sequence[Sequence[str]] | None,
    about: Mapping[str, Any],
) -> Path:
    """Write a graph as a version, once it was checked; see `export`.

    Args:
        make: (file for the ids) -> the graph.
        check: what it is compared with.
        folder: the folder of versions.
        version: as for `export`.
        beside: further folders whose numbers are taken.
        histories: as for `export`.
        about: what the manifest says besides.

    Returns:
        The version's folder.
    """
    with building(folder) as built:
        with tempfile.TemporaryDirectory() as assets:
            make(Path(assets) / ID_FILE).save(built)
        (built / manifest.EXTRA).mkdir(exist_ok=True)
        _write_tables(built, check.contract)
        operations.check(built, text=about.get(manifest.KIND) == manifest.TEXT_MODEL)
        report = check.run(built, histories)
        signatures = report.pop("signatures")
        warmup.write(built / manifest.EXTRA, check.requests())
        stored_answers.write(built, check)
        manifest.write(built, check.contract, signatures, {**about, "self_check": report})
        placed = place(built, folder, version, *beside)
    stored_answers.write_real(placed, check, histories or ())
    logger.info("exported %s (scores within %.1g of the model's)", placed, report["largest_difference"])
    return placed


def _write_tables(folder: Path, contract: Contract) -> None:
    """What lies beside a model for those who ask it: the titles of its items, the categories to filter by.

    Of a ranker, which items of the catalogue may be recommended, too: it judges any.
    """
    items = contract.items.assign(**({CANDIDATE: contract.candidates} if contract.labels else {}))
    items.iloc[1:].to_parquet(folder / manifest.ITEMS, index=False)
    if contract.categories.values:
        contract.categories.table(contract.candidates).to_parquet(folder / manifest.CATEGORIES, index=False)


def said_of(dataset: Any, about: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the manifest says of the data set, and what the caller knows besides."""
    return {"data_hash": _content_hash(dataset), **(about or {}), "events": event_tables.recorded(dataset)}


def real_histories(dataset: Any, split: str = "test") -> list[list[str]] | None:
    """Whole histories of some users of a split, evenly spread over all; None where the data set has none."""
    if not hasattr(dataset, "histories"):
        return None
    lists, ids = dataset.histories(split), dataset.items[ITEM_ID].to_numpy(object)
    users = spread(range(len(lists.user_ids)), MEASURED)
    return [ids[lists.rows[lists.offsets[user] : lists.offsets[user + 1]]].tolist() for user in users] or None


def _content_hash(dataset: Any) -> str | None:
    return (getattr(dataset, "manifest", None) or {}).get("content_hash")


def stored(model: Any, options: ExportOptions) -> VectorTable:
    """The vectors of all items of a model, as an export stores them."""
    given = model.item_vectors() if hasattr(model, "item_vectors") else model.item_tower()
    vectors = np.asarray(tf.cast(given, tf.float32))
    return VectorTable.of(vectors, options.quantization, model.item_tower.dim)
