"""Export: a trained model becomes a version folder that TensorFlow Serving loads, checked before it has its name."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrec.ranking import Ranker, RankerEnsemble, TwoStage
from tfrec.serving import manifest, score_meaning
from tfrec.serving.catalogue_check import CatalogueCheck
from tfrec.serving.catalogue_signatures import CatalogueGraph
from tfrec.serving.contract import Contract, ServedData
from tfrec.serving.index.building import Index, build
from tfrec.serving.options import WORTH, ExportOptions
from tfrec.serving.ranker_exporter import export_ranker
from tfrec.serving.second_check import SecondCheck
from tfrec.serving.version_writer import real_histories, said_of, stored, write_version

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
        model: the trained two-tower model; the trained two-stage model, which answers as that does; or the trained
            ranker, or an ensemble of some (see `tfrec.serving.ranker_signatures`).
        dataset: the data set it was trained on, or anything with its `items`, `vocabularies`, `seen` and `max_length`
            (see `ServedData`).
        folder: the folder of versions; created where it is missing.
        k_max: items of an answer; fewer where the catalogue has fewer. A ranker answers for each candidate.
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
    if isinstance(model, (Ranker, RankerEnsemble)):
        return export_ranker(
            model, dataset, Path(folder), version=version, base_path=base_path, about=about, options=options
        )
    model = getattr(model, "without_text", model)  # What tuning did is in the vectors that the tower holds.
    options, second, first = options or ExportOptions(), None, model
    if isinstance(model, TwoStage):
        _refuse_of_two_stages(options)
        second, first, k_max = SecondCheck(model), model.retrieval, min(k_max, model.rank)
    contract = Contract.of(first, dataset, k_max)
    table = stored(first, options)
    check = CatalogueCheck(first, table.restored, contract, second=second)
    index = None if second is not None else _index(check, dataset, options)
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
            manifest.SCORE: score_meaning.of_products(first) if second is None else score_meaning.of_stages(model),
            "item_vectors": {"kind": options.quantization, **table.sizes},
        },
    )


def _refuse_of_two_stages(options: ExportOptions) -> None:
    """Refuse what would change the scores that the second stage reads.

    Raises:
        ValueError: the first stage is to round or to pass over items.
    """
    if options.quantization != "float32" or options.index == "ivf":
        raise ValueError(
            "a model of two stages is exported with quantization float32 and without an index, for the second stage "
            f"reads the scores of the first; received {options.quantization} and {options.index}."
        )


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
