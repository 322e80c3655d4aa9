"""Export: a trained model becomes a version folder that TensorFlow Serving loads, checked before it has its name."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import ITEM_ID
from tfrec.serving import event_tables, manifest, operations, score_meaning, stored_answers, warmup
from tfrec.serving.catalogue_check import MEASURED, CatalogueCheck
from tfrec.serving.catalogue_signatures import CatalogueGraph
from tfrec.serving.contract import Contract, ServedData
from tfrec.serving.index.building import Index, build
from tfrec.serving.index.vectors import VectorTable
from tfrec.serving.options import WORTH, ExportOptions
from tfrec.serving.selfcheck import Check, spread
from tfrec.serving.signatures import ID_FILE, ServingGraph
from tfrec.serving.versions import building, place

logger = logging.getLogger(__name__)


def export(
    model: Any,
    dataset: ServedData,
    folder: str | Path,
    *,
    k_max: int = 100,
    version: int | None = None,
    base_path: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    options: ExportOptions | None = None,
) -> Path:
    """Write `folder/<version>/`: a SavedModel with its manifest and the titles of its items.

    The folder is built under a hidden name, loaded and compared with the model (see `tfrec.serving.selfcheck`), and
    renamed when everything agreed; nothing is left of it otherwise. It can be moved, and served as it is. Whole
    histories of the data set's test split are asked, where it has one, else histories drawn from the catalogue.

    Args:
        model: the trained two-tower model.
        dataset: the data set it was trained on, or anything with its `items`, `vocabularies`, `seen` and `max_length`
            (see `ServedData`).
        folder: the folder of versions; created where it is missing.
        k_max: items of an answer; fewer where the catalogue has fewer.
        version: the number; None takes one more than the largest in `folder` and in `base_path`.
        base_path: another folder of versions of the same model, such as the published ones.
        about: what the manifest says besides: `settings`, `metrics`, `data_hash`; JSON values.
        options: how vectors are stored and searched; None for `ExportOptions()`.

    Returns:
        The version's folder.

    Raises:
        ValueError: an argument is wrong, the version exists, or the check failed.
        PermissionError: the folder cannot be written.
    """
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        raise ValueError(f"`version` must be a whole number of at least 1; received {version!r}.")
    model = getattr(model, "without_text", model)  # What tuning did is in the vectors that the tower holds.
    contract = Contract.of(model, dataset, k_max)
    options = options or ExportOptions()
    table = stored(model, options)
    check = CatalogueCheck(model, table.restored, contract)
    index = _index(check, dataset, options)
    if index is not None:
        check = dataclasses.replace(check, recall_floor=options.recall)
    described = {"index": {"kind": "exact"} if index is None else index.described}
    return write_version(
        lambda id_file: CatalogueGraph(model, table, contract, id_file, index),
        check,
        Path(folder),
        version=version,
        beside=[Path(base_path)] if base_path else [],
        histories=real_histories(dataset),
        about={
            **said_of(dataset, about),
            **described,
            manifest.SCORE: score_meaning.of_products(model),
            "item_vectors": {"kind": options.quantization, **table.sizes},
        },
    )


def stored(model: Any, options: ExportOptions) -> VectorTable:
    """The vectors of all items of a model, as an export stores them."""
    vectors = np.asarray(tf.cast(model.item_vectors(), tf.float32))
    return VectorTable.of(vectors, options.quantization, model.item_tower.dim)


def _index(check: CatalogueCheck, dataset: Any, options: ExportOptions) -> Index | None:
    """The index that an export asks for; None where every item is scored.

    Its lists are counted on histories that validate, its recall is measured on those that test.
    """
    candidates = check.contract.candidates
    if not options.approximate(int(candidates.sum())):
        return None
    asked = check.queries(real_histories(dataset, "validation"), seed=1)
    index = build(check.vectors, check.model.item_tower.dim, candidates, asked, options.recall)
    read = index.answers.read
    if options.index == "auto" and read > WORTH:
        logger.info("no index: it would read %.0f %% of the items; every one is scored", 100 * read)
        return None
    logger.info("index of %d lists: an answer reads %.1f %% of the items", len(index.starts) - 1, 100 * read)
    return index


def write_version(
    make: Callable[[Path], ServingGraph],
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
    """What lies beside a model for those who ask it: the titles of its items, the categories to filter by."""
    contract.items.iloc[1:].to_parquet(folder / manifest.ITEMS, index=False)
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
