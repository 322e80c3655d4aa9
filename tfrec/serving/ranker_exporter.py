"""Export of a ranker: `NAME/<version>/` that judges candidates, checked as any version before it has its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrec.ranking import RatingHead
from tfrec.serving import manifest
from tfrec.serving.contract import Contract, ServedData
from tfrec.serving.options import ExportOptions
from tfrec.serving.ranker_check import RankerCheck
from tfrec.serving.ranker_signatures import MOST_CANDIDATES, RankerGraph
from tfrec.serving.version_writer import real_histories, said_of, stored, write_version


def export_ranker(
    model: Any,
    dataset: ServedData,
    folder: Path,
    *,
    version: int | None = None,
    base_path: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    options: ExportOptions | None = None,
) -> Path:
    """Write `folder/<version>/`: a SavedModel of a ranker; see `RankerGraph`, and `export` for the arguments.

    Of `options` the quantization of the item vectors counts: there is nothing to search.

    Returns:
        The version's folder.

    Raises:
        ValueError: an argument is wrong, the version exists, or the check failed.
        PermissionError: the folder cannot be written.
    """
    options = options or ExportOptions()
    contract, table = Contract.of_ranker(model, dataset), stored(model, options)
    return write_version(
        lambda id_file: RankerGraph(model, table, contract, id_file),
        RankerCheck(model, table.restored, contract),
        folder,
        version=version,
        beside=[Path(base_path)] if base_path else [],
        histories=real_histories(dataset),
        about={
            **said_of(dataset, about),
            manifest.KIND: manifest.RANKER,
            manifest.LABELS: [_described(head, contract.labels[head.name]) for head in model.heads],
            "max_candidates": MOST_CANDIDATES,
            "item_vectors": {"kind": options.quantization, **table.sizes},
        },
    )


def _described(head: Any, output: str) -> dict[str, Any]:
    """What a manifest says of a label."""
    told = {"label": head.name, "output": output}
    if isinstance(head, RatingHead):
        return {**told, "is": "rating", "range": [head.low, head.high]}
    return {**told, "is": "probability", "range": [0.0, 1.0]}
