"""Answers of an exported model in Python: recommendations with titles, for histories or for a whole file of events."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrec.data.events import user_offsets
from tfrec.data.options import EventColumns
from tfrec.data.tables import Source
from tfrec.features import HISTORY, ITEM_ID, RANK, SCORE, TIMESTAMP, TITLE, USER_ID
from tfrec.serving import event_tables, manifest, server_config
from tfrec.serving.versions import SAVED_MODEL, version_of, versions

logger = logging.getLogger(__name__)

ROW = "row"
USERS_A_CHUNK = 2048
CELLS_A_BATCH = 2**16  # ids of a request, padding included
SCORES_A_BATCH = 2**25  # scores that a request computes: 128 MB


class ExportedModel:
    """One version of an exported model.

    Attributes:
        folder: its folder.
        version: its number, None where the folder's name is none.
        manifest: what it was made of.
        items: item_id -> title, every item that it knows.
        k_max: items that may be asked for.
        answer_size: items of an answer: `k_max`, or all that may be recommended where they are fewer.
    """

    def __init__(self, folder: Path) -> None:
        """Load a version folder; `load` finds it."""
        self.folder, self.version, self.manifest = folder, version_of(folder), manifest.read(folder)
        try:
            table = pd.read_parquet(folder / manifest.ITEMS)
            self._bundle = _loaded(folder)
            self._signatures = self._bundle.signatures
            self._signatures["serving_default"], self._signatures["recommend_full"]
        except Exception as error:  # TensorFlow and Parquet raise many kinds for a damaged file.
            reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
            raise ValueError(f"{folder} cannot be loaded: {reason} Export the model again.") from error
        self.items = table.set_index(ITEM_ID)[TITLE]
        self.k_max, self.answer_size = int(self.manifest["k_max"]), int(self.manifest["answer_size"])

    def recommend(self, histories: Sequence[Sequence[str]], k: int = 10) -> pd.DataFrame:
        """The k best next items of each history.

        Args:
            histories: item ids, oldest first. Ids that the model does not know are left out, and a warning names them.
            k: items of each answer; fewer where a history leaves fewer.

        Returns:
            Columns row (place in `histories`), rank (1 = best), item_id, title, score.

        Raises:
            ValueError: `k` is not between 1 and `k_max`, or `histories` is not a list of lists.
        """
        self.check_k(k)
        if isinstance(histories, str) or any(isinstance(history, str) for history in histories):
            raise ValueError(f"`histories` must be a list of lists of item ids; received {histories!r}.")
        lengths = np.array([len(history) for history in histories], np.int64)
        flat = np.array([str(item) for history in histories for item in history], object)
        self.warn_unknown(flat)
        ids, scores = self.answer({HISTORY: flat}, lengths)
        rows, ranks = np.nonzero(ids[:, :k] != "")
        found = ids[rows, ranks]
        titles = self.items.reindex(found).to_numpy()
        return pd.DataFrame({ROW: rows, RANK: ranks + 1, ITEM_ID: found, TITLE: titles, SCORE: scores[rows, ranks]})

    def answer(self, inputs: Mapping[str, np.ndarray], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whole answers; `recommend_full` is asked where `inputs` holds more than the history, else `serving_default`.

        Args:
            inputs: `HISTORY` and inputs of the events, back to back [sum(lengths)]; inputs of the users [N]. What the
                model knows besides is missing.
            lengths: int [N], the events of each user.

        Returns:
            item_ids object [N, answer_size] of str, "" where nothing is left, and scores float32 of the same shape.
        """
        signature = self._signatures["recommend_full" if len(inputs) > 1 else "serving_default"]
        specs = signature.structured_input_signature[1]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.full((len(lengths), self.answer_size), "", object)
        scores = np.zeros(ids.shape, np.float32)
        for users in self._batches(lengths):
            request = {name: _rows(inputs.get(name), spec, users, starts) for name, spec in specs.items()}
            outputs = signature(**request)
            ids[users] = _decoded(outputs["item_ids"].numpy())
            scores[users] = outputs["scores"].numpy()
        return ids, scores

    def _batches(self, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Users of similar length, as many as one request should hold."""
        most = max(1, min(256, SCORES_A_BATCH // (len(self.items) + 1)))
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, min(most, CELLS_A_BATCH // max(1, int(lengths[order[start]]))))
            yield order[start : start + size]
            start += size

    def check_k(self, k: int) -> None:
        """Refuse a k that an answer cannot have."""
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= self.k_max:
            raise ValueError(
                f"`k` must be from 1 to {self.k_max}, the k_max this model was exported with; received {k!r}."
            )

    def warn_unknown(self, ids: Any) -> None:
        """Name the ids that the model does not know; they are left out of the histories."""
        unique = pd.Index(pd.unique(pd.Series(ids, dtype=object)))
        unknown = [item for item in unique[self.items.index.get_indexer(unique) < 0] if item]
        if unknown:
            named = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
            logger.warning("left out: %d item ids that the model does not know: %s", len(unknown), named)


def load(model: str | Path) -> ExportedModel:
    """Load an exported model.

    Args:
        model: one version's folder, or a folder of versions: the one labelled `stable` where a `models.config` beside
            the folder or in it says so, else the newest.

    Returns:
        The model.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no exported model.
    """
    folder = Path(model)
    if not folder.exists():
        raise FileNotFoundError(f"There is no model {folder}; name a folder that `tfrec export` or `publish` wrote.")
    if (folder / SAVED_MODEL).is_file():
        return ExportedModel(folder)
    found = versions(folder)
    if not found:
        raise ValueError(
            f"{folder} is not a SavedModel, and holds no version of one: name a folder that tfrec exported."
        )
    folder = folder.resolve()
    named = server_config.labels(folder.parent, folder.name) or server_config.labels(folder, folder.name)
    stable = named.get(server_config.STABLE)
    return ExportedModel(folder / str(stable if stable in found else found[-1]))


def recommend_file(
    model: str | Path | ExportedModel,
    events: Source,
    output: str | Path,
    k: int = 10,
    columns: EventColumns | None = None,
) -> Path:
    """Write recommendations for every user of a table of events.

    A user's history is all of the user's events in the table, in the order that `prepare` gave the model's data.
    Where the table has columns that the model was trained with, under the names they had then, or times and the model
    reads times, they are sent too (`recommend_full`); what it lacks is missing. A column of the users counts with its
    value at the user's last event. With nothing but ids, `serving_default` is asked.

    Args:
        model: as for `load`, or a loaded model.
        events: .csv, .csv.gz or .parquet file, or DataFrame.
        output: the Parquet file to write; an old one is replaced when the new one is whole.
        k: items a user; fewer where the catalogue is exhausted.
        columns: which column holds what; None takes the names that the model's data had, else the standard ones.

    Returns:
        `output`, with the columns user_id, item_id, rank and score, users in the order of their ids.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: the table has other columns or cannot be read, `k` is too large, the model is none.
    """
    target = Path(output)
    if target.suffix != ".parquet" or target.is_dir():
        raise ValueError(f"`output` must name a .parquet file; received {str(output)!r}.")
    loaded = model if isinstance(model, ExportedModel) else load(model)
    loaded.check_k(k)
    frame = event_tables.read(events, loaded.manifest, columns)
    loaded.warn_unknown(frame[ITEM_ID])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex[:12]}")
    try:
        _write_chunks(loaded, frame, temporary, k)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _write_chunks(model: ExportedModel, events: pd.DataFrame, path: Path, k: int) -> None:
    """Ask for some users at a time and write what comes back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    starts = user_offsets(events[USER_ID])
    users = events[USER_ID].to_numpy(object)[starts[:-1]]
    kinds = [(USER_ID, pa.string()), (ITEM_ID, pa.string()), (RANK, pa.int64()), (SCORE, pa.float32())]
    schema = pa.schema(kinds)
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(users), USERS_A_CHUNK):
            last = min(first + USERS_A_CHUNK, len(users))
            part = events.iloc[starts[first] : starts[last]]
            lengths = np.diff(starts[first : last + 1])
            ids, scores = model.answer(_inputs(model, part, lengths), lengths)
            rows, ranks = np.nonzero(ids[:, :k] != "")
            found = [users[first:last][rows], ids[rows, ranks], ranks + 1, scores[rows, ranks]]
            writer.write_table(pa.table(found, schema=schema))


def _inputs(model: ExportedModel, events: pd.DataFrame, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs that a table of ordered events gives."""
    inputs = {HISTORY: events[ITEM_ID].to_numpy(object)}
    shapes = model.manifest["signatures"]["recommend_full"]["inputs"]
    for feature, column in model.manifest["inputs"].items():
        if column not in events:
            continue
        values = events[column].to_numpy(np.int64 if feature == TIMESTAMP else object)
        if feature == TIMESTAMP:
            values = np.maximum(values, 0)
        of_event = len(shapes[feature]["shape"]) > 1
        inputs[feature] = values if of_event else values[np.cumsum(lengths) - 1]
    return inputs


def _rows(values: np.ndarray | None, spec: Any, users: np.ndarray, starts: np.ndarray) -> Any:
    """The tensor of one input for some users: event values padded to [B, T], user values [B], or all missing."""
    import tensorflow as tf

    kind, missing = (object, "") if spec.dtype == tf.string else (np.int64, 0)
    if len(spec.shape) == 1:
        chosen = np.full(len(users), missing, kind) if values is None else values[users]
        return tf.constant(chosen, spec.dtype)
    lengths = starts[users + 1] - starts[users]
    table = np.full((len(users), max(1, int(lengths.max(initial=0)))), missing, kind)
    if values is not None:
        for row, user in zip(table, users, strict=True):
            row[: starts[user + 1] - starts[user]] = values[starts[user] : starts[user + 1]]
    return tf.constant(table, spec.dtype)


def _decoded(ids: np.ndarray) -> np.ndarray:
    return np.array([item.decode() for item in ids.ravel()], object).reshape(ids.shape)


def _loaded(folder: Path) -> Any:
    import tensorflow as tf

    from tfrec.serving.session import quiet

    with quiet():
        return tf.saved_model.load(str(folder))
