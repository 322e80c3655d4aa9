"""Predictions of an exported ranker in Python: what it says of candidates, with titles, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrec.features import CANDIDATES, CONTEXT_PREFIX, HISTORY, ITEM_ID, RANK, TITLE
from tfrec.serving import event_tables, manifest, requests
from tfrec.serving.contract import CANDIDATE
from tfrec.serving.names import KNOWN, PREDICT_FULL, SERVING_DEFAULT
from tfrec.serving.opening import find, opened, warn_unknown
from tfrec.serving.versions import version_of

PREDICTED = "predicted_"  # The prefix of a label's column, as in a run's predictions.
A_REQUEST = 1000  # candidates
MOST_OF_CATALOGUE = 50_000  # candidates that are judged where none are named
PAIRS_A_REQUEST = 2**22  # of candidate and event, padding included


class ExportedRanker:
    """One version of an exported ranker.

    Attributes:
        folder: its folder.
        version: its number, None where the folder's name is none.
        manifest: what it was made of.
        items: item_id -> title, every item that it knows.
        labels: label -> the output that holds what is predicted; candidates are ordered by the first one.
    """

    def __init__(self, folder: Path) -> None:
        """Load a version folder; `load_ranker` finds it."""
        self.folder, self.version, self.manifest = folder, version_of(folder), manifest.read(folder)
        if self.manifest.get(manifest.KIND) != manifest.RANKER:
            raise ValueError(
                f"{folder} is a {manifest.kind(self.manifest)}, and judges no candidates: ask it with a history alone, "
                "or load it with tfrec.serving.load."
            )
        self._bundle, table = opened(folder, (SERVING_DEFAULT, PREDICT_FULL))
        self.items = table.set_index(ITEM_ID)[TITLE]
        self._catalogue = table.loc[table[CANDIDATE], ITEM_ID].tolist()
        self.labels = {told["label"]: told["output"] for told in self.manifest[manifest.LABELS]}

    def predict(
        self,
        history: Sequence[str],
        candidates: Sequence[str] | None = None,
        k: int | None = None,
        events: Mapping[str, Sequence[Any]] | None = None,
        *,
        user: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """What the model says of candidates after a history, those that it gives the most of the first label first.

        Args:
            history: item ids, oldest first. Ids that the model does not know are left out, and a warning names them.
            candidates: item ids, each of which gets a row, equal ones the same; all of the catalogue where None.
            k: the rows that are returned; all where None.
            events: what is known of the events of the history: columns of the data of the model, `timestamp` and
                `event_type` among them where it reads these -> a value for each of the ids, None where one is missing.
                What is not given is missing.
            user: what is known of the user: columns of the users -> a value.
            context: what is known of where the candidates are shown: columns of `ranking.context`, without the neutral
                ones -> one value for all of them, or one for each.

        Returns:
            Columns rank (1 = best), item_id, title, known (False for an item that the model does not know, which is
            judged as one of which nothing is known), and `predicted_...` of each label: a probability, or a rating.

        Raises:
            ValueError: `history` or `candidates` is no list of ids, `k` is below 1, the catalogue is too large to
                be judged whole, or `events`, `user` or `context` names what the model does not read, or has not a value
                for each.
        """
        for name, ids in ((HISTORY, history), (CANDIDATES, candidates)):
            if isinstance(ids, str):
                raise ValueError(f"`{name}` must be a list of item ids; received {ids!r}.")
        check_k(k)
        asked = self.catalogue() if candidates is None else [str(item) for item in candidates]
        past = np.array([str(item) for item in history], object)
        warn_unknown(self.items.index, past)
        told = event_tables.given(event_tables.EVENTS, events or {}, len(past), self.manifest, PREDICT_FULL)
        told |= event_tables.given(event_tables.USER, user or {}, 1, self.manifest, PREDICT_FULL)
        shown = event_tables.given(event_tables.CONTEXT, context or {}, len(asked), self.manifest, PREDICT_FULL)
        judged = self.judge({HISTORY: past, **told}, np.array([len(past)]), asked, shown)
        found = {name: values[0] for name, values in judged.items()}
        columns: dict[str, Any] = {ITEM_ID: asked, TITLE: self.items.reindex(asked).fillna("").to_numpy()}
        columns[KNOWN] = found[KNOWN].astype(bool)
        columns |= {PREDICTED + label: found[output] for label, output in self.labels.items()}
        first = PREDICTED + next(iter(self.labels))
        table = pd.DataFrame(columns).sort_values(first, ascending=False, kind="stable", ignore_index=True)
        table.insert(0, RANK, np.arange(1, len(table) + 1))
        return table if k is None else table.head(k)

    def catalogue(self) -> list[str]:
        """The items that may be recommended.

        Raises:
            ValueError: they are too many to be judged, all of them.
        """
        if len(self._catalogue) > MOST_OF_CATALOGUE:
            raise ValueError(
                f"{self.folder} has {len(self._catalogue)} items that may be recommended, and without candidates at "
                f"most {MOST_OF_CATALOGUE} are judged: name candidates, such as those that a model that recommends "
                "gives."
            )
        return self._catalogue

    def judge(
        self,
        inputs: Mapping[str, np.ndarray],
        lengths: np.ndarray,
        candidates: Sequence[str],
        shown: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """What the model says of the same candidates for each user; by `predict_full` where more than ids is told.

        Args:
            inputs: `HISTORY` and inputs of the events, back to back [sum(lengths)]; inputs of the users [N]. What the
                model knows besides is missing.
            lengths: int [N], the events of each user.
            candidates: C item ids.
            shown: inputs of the candidates, [C] each.

        Returns:
            `known` and the output of each label -> [N, C].
        """
        import tensorflow as tf

        shown = shown or {}
        signature = self._bundle.signatures[PREDICT_FULL if len(inputs) > 1 or shown else SERVING_DEFAULT]
        specs = signature.structured_input_signature[1]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        names = (KNOWN, *self.labels.values())
        found = {name: np.zeros((len(lengths), len(candidates)), np.float32) for name in names}
        for users in _batches(lengths, min(len(candidates), A_REQUEST)):
            told = {name: requests.tensor(inputs.get(name), spec, users, starts) for name, spec in specs.items()}
            for first in range(0, len(candidates), A_REQUEST):
                some = slice(first, first + A_REQUEST)
                part = np.array([*candidates[some]], object)
                nothing = np.full(len(part), "", object)
                of_each = {CANDIDATES: part}
                of_each |= {
                    name: shown[name][some] if name in shown else nothing
                    for name in specs
                    if name.startswith(CONTEXT_PREFIX)
                }
                asked = {
                    name: tf.constant(np.broadcast_to(values, (len(users), len(part))), tf.string)
                    for name, values in of_each.items()
                }
                outputs = signature(**{**told, **asked})
                for name in names:
                    found[name][users, first : first + len(part)] = outputs[name].numpy()
        return found


def check_k(k: int | None) -> None:
    """Refuse a number of rows that there cannot be."""
    if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise ValueError(f"`k` must be a whole number of at least 1, or None for all; received {k!r}.")


def _batches(lengths: np.ndarray, candidates: int) -> Iterator[np.ndarray]:
    """Users of similar length, as many as one request should hold."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, PAIRS_A_REQUEST // max(1, int(lengths[order[start]]) * candidates))
        yield order[start : start + size]
        start += size


def load_ranker(model: str | Path) -> ExportedRanker:
    """Load an exported ranker.

    Args:
        model: as for `find`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no exported ranker.
    """
    return ExportedRanker(find(model))
