"""Answers of an exported model in Python: recommendations with titles, for histories or for a whole file of events."""

from __future__ import annotations

import functools
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
from tfrec.features import HISTORY, ITEM_ID, RANK, SCORE, TEXT, TITLE, USER_ID
from tfrec.serving import event_tables, manifest, requests
from tfrec.serving.names import RECOMMEND_FULL
from tfrec.serving.opening import find, opened, warn_unknown
from tfrec.serving.versions import SAVED_MODEL, text_folder, version_of

logger = logging.getLogger(__name__)

ROW = "row"
USERS_A_CHUNK = 2048
CELLS_A_BATCH = 2**16  # ids of a request, padding included
TEXTS_LOOKED_AT = 100
SCORES_A_BATCH = 2**25  # scores that a request computes: 128 MB


class ExportedModel:
    """One version of an exported model.

    Attributes:
        folder: its folder.
        version: its number, None where the folder's name is none.
        manifest: what it was made of.
        reads_text: whether it is a text model, `NAME_text`, which takes a text beside a history.
        items: item_id -> title, every item that it knows.
        k_max: items that may be asked for.
        answer_size: items of an answer: `k_max`, or all that may be recommended where they are fewer.
    """

    def __init__(self, folder: Path) -> None:
        """Load a version folder; `load` finds it."""
        self.folder, self.version, self.manifest = folder, version_of(folder), manifest.read(folder)
        if self.manifest.get(manifest.KIND) == manifest.RANKER:
            raise ValueError(
                f"{folder} is a ranker, which judges the candidates that it is given: ask it with `tfrec recommend "
                "--history ... --candidates ...`, or load it with tfrec.serving.load_ranker."
            )
        self.reads_text = self.manifest.get(manifest.KIND) == manifest.TEXT_MODEL
        needed = "embed_text" if self.reads_text else "recommend_full"
        self._bundle, table = opened(folder, ("serving_default", needed), text_ops=self.reads_text)
        self._signatures = self._bundle.signatures
        self.items = table.set_index(ITEM_ID)[TITLE]
        self.k_max, self.answer_size = int(self.manifest["k_max"]), int(self.manifest["answer_size"])

    @functools.cached_property
    def text_model(self) -> ExportedModel:
        """The text model of the same version, which lies beside it; the model itself where it is one.

        Raises:
            ValueError: there is none.
        """
        if self.reads_text:
            return self
        folder = text_folder(self.folder)
        if not (folder / SAVED_MODEL).is_file():
            raise ValueError(
                f"{self.folder} takes no text: its text model, {folder}, is not there. Export a pipeline whose "
                "model.text names a text model, with export.text_model: true, or ask with a history alone."
            )
        return ExportedModel(folder)

    def recommend(
        self, histories: Sequence[Sequence[str]], k: int = 10, texts: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The k best next items of each history.

        Args:
            histories: item ids, oldest first. Ids that the model does not know are left out, and a warning names them.
            k: items of each answer; fewer where a history leaves fewer.
            texts: a text (a query, a profile) beside each history, either of which may be empty; the text model of
                the same version answers (see `text_model`).

        Returns:
            Columns row (place in `histories`), rank (1 = best), item_id, title, score.

        Raises:
            ValueError: `k` is not between 1 and `k_max`, `histories` is not a list of lists, `texts` is not as long,
                or there is no text model.
        """
        if texts is not None and not self.reads_text:
            return self.text_model.recommend(histories, k, texts)
        self.check_k(k)
        if isinstance(histories, str) or any(isinstance(history, str) for history in histories):
            raise ValueError(f"`histories` must be a list of lists of item ids; received {histories!r}.")
        lengths = np.array([len(history) for history in histories], np.int64)
        flat = np.array([str(item) for history in histories for item in history], object)
        self.warn_unknown(flat)
        inputs = {HISTORY: flat} if texts is None else {HISTORY: flat, TEXT: requests.texts(texts, len(lengths))}
        if texts is not None:
            self.warn_unread(inputs[TEXT])
        ids, scores = self.answer(inputs, lengths)
        rows, ranks = np.nonzero(ids[:, :k] != "")
        found = ids[rows, ranks]
        titles = self.items.reindex(found).to_numpy()
        return pd.DataFrame({ROW: rows, RANK: ranks + 1, ITEM_ID: found, TITLE: titles, SCORE: scores[rows, ranks]})

    def answer(self, inputs: Mapping[str, np.ndarray], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whole answers; `recommend_full` is asked where `inputs` holds more than the history, else `serving_default`.

        Args:
            inputs: `HISTORY` and inputs of the events, back to back [sum(lengths)]; inputs of the users [N], vectors
                of texts [N, W]; `TEXT` [N] for a text model. What the model knows besides is missing.
            lengths: int [N], the events of each user.

        Returns:
            item_ids object [N, answer_size] of str, "" where nothing is left, and scores float32 of the same shape.
        """
        full = len(inputs) > 1 and not self.reads_text
        signature = self._signatures["recommend_full" if full else "serving_default"]
        specs = signature.structured_input_signature[1]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.full((len(lengths), self.answer_size), "", object)
        scores = np.zeros(ids.shape, np.float32)
        for users in self._batches(lengths):
            request = {name: requests.tensor(inputs.get(name), spec, users, starts) for name, spec in specs.items()}
            outputs = signature(**request)
            ids[users] = requests.decoded(outputs["item_ids"].numpy())
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
        warn_unknown(self.items.index, ids)

    def warn_unread(self, texts: Any) -> None:
        """Name a text of which the text model knows no word, among the first ones; it says nothing."""
        asked = [text for text in dict.fromkeys(texts) if text.strip()][:TEXTS_LOOKED_AT]
        if asked:
            vectors = self._signatures["embed_text"](text=asked)["vector"].numpy()
            for text, vector in zip(asked, vectors, strict=True):
                if not vector.any():
                    logger.warning("the text model knows no word of %r, which says nothing", text.decode()[:60])


def load(model: str | Path) -> ExportedModel:
    """Load an exported model that recommends.

    Args:
        model: as for `find`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no exported model, or a ranker.
    """
    return ExportedModel(find(model))


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
        model: as for `find`, or a loaded model.
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
            inputs = event_tables.inputs(part, lengths, model.manifest, RECOMMEND_FULL)
            ids, scores = model.answer(inputs, lengths)
            rows, ranks = np.nonzero(ids[:, :k] != "")
            found = [users[first:last][rows], ids[rows, ranks], ranks + 1, scores[rows, ranks]]
            writer.write_table(pa.table(found, schema=schema))
