"""Predictions of an exported ranker for all users of a table of events, as a Parquet file, in Python and by command."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfrec.data.events import user_offsets
from tfrec.data.options import EventColumns
from tfrec.data.tables import Source
from tfrec.features import ITEM_ID, RANK, USER_ID
from tfrec.serving import event_tables
from tfrec.serving.exported_ranker import PREDICTED, ExportedRanker, check_k, load_ranker
from tfrec.serving.names import PREDICT_FULL
from tfrec.serving.opening import warn_unknown

PAIRS_A_CHUNK = 2**21  # of user and candidate, whose predictions are held at a time


def predict_file(
    model: str | Path | ExportedRanker,
    events: Source,
    output: str | Path,
    candidates: Sequence[str] | None = None,
    k: int | None = None,
    columns: EventColumns | None = None,
) -> Path:
    """Write what a ranker predicts of candidates for every user of a table of events.

    A user's history is all of the user's events in the table, in the order that `prepare` gave the model's data.
    Columns that the model was trained with, such as the ratings of past events, are sent under the names that they had
    then; what the table lacks is missing. A column of the users counts with its value at the user's last event.

    Args:
        model: as for `tfrec.serving.opening.find`, or a loaded ranker.
        events: .csv, .csv.gz or .parquet file, or DataFrame.
        output: the Parquet file to write; an old one is replaced when the new one is whole.
        candidates: item ids that are judged for each user; all of the catalogue where None.
        k: rows a user; all where None.
        columns: which column holds what; None takes the names that the model's data had, else the standard ones.

    Returns:
        `output`, with the columns user_id, item_id, rank (by the first label) and `predicted_...` of each label, users
        in the order of their ids.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: the table has other columns or cannot be read, `candidates` is no list of ids, `k` is below 1, the
            model is no ranker, or its catalogue is too large to be judged whole.
    """
    target = Path(output)
    if target.suffix != ".parquet":
        raise ValueError(f"`output` must name a .parquet file; received {str(output)!r}.")
    if isinstance(candidates, str):
        raise ValueError(f"`candidates` must be a list of item ids; received {candidates!r}.")
    check_k(k)
    loaded = model if isinstance(model, ExportedRanker) else load_ranker(model)
    asked = loaded.catalogue() if candidates is None else [str(item) for item in candidates]
    frame = event_tables.read(events, loaded.manifest, columns)
    warn_unknown(loaded.items.index, frame[ITEM_ID])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex[:12]}")
    try:
        _write_chunks(loaded, frame, temporary, asked, k)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _write_chunks(
    model: ExportedRanker, events: pd.DataFrame, path: Path, candidates: Sequence[str], k: int | None
) -> None:
    """Ask for some users at a time and write what comes back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    starts = user_offsets(events[USER_ID])
    users = events[USER_ID].to_numpy(object)[starts[:-1]]
    predicted = [(PREDICTED + label, pa.float32()) for label in model.labels]
    schema = pa.schema([(USER_ID, pa.string()), (ITEM_ID, pa.string()), (RANK, pa.int64()), *predicted])
    ids, size = np.array([*candidates], object), max(1, PAIRS_A_CHUNK // max(1, len(candidates)))
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(users), size):
            last = min(first + size, len(users))
            part, lengths = events.iloc[starts[first] : starts[last]], np.diff(starts[first : last + 1])
            inputs = event_tables.inputs(part, lengths, model.manifest, PREDICT_FULL)
            judged = model.judge(inputs, lengths, candidates)
            found = [judged[output] for output in model.labels.values()]
            order = np.argsort(-found[0], axis=1, kind="stable")[:, :k]
            count = order.shape[1]
            ranks = np.tile(np.arange(1, count + 1), last - first)
            values = [np.take_along_axis(each, order, axis=1).ravel() for each in found]
            columns = [np.repeat(users[first:last], count), ids[order].ravel(), ranks, *values]
            writer.write_table(pa.table(columns, schema=schema))
