"""Predictions of an exported ranker in Python: what it says of candidates, with titles, the likeliest first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrec.features import CANDIDATES, HISTORY, ITEM_ID, RANK, TITLE
from tfrec.serving import manifest
from tfrec.serving.contract import CANDIDATE
from tfrec.serving.names import KNOWN, SERVING_DEFAULT
from tfrec.serving.opening import find, opened, warn_unknown
from tfrec.serving.versions import version_of

PREDICTED = "predicted_"  # The prefix of a label's column, as in a run's predictions.
A_REQUEST = 1000  # candidates
MOST_OF_CATALOGUE = 50_000  # candidates that are judged where none are named


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
        self._bundle, table = opened(folder, (SERVING_DEFAULT,))
        self._ask = self._bundle.signatures[SERVING_DEFAULT]
        self.items = table.set_index(ITEM_ID)[TITLE]
        self._catalogue = table.loc[table[CANDIDATE], ITEM_ID].tolist()
        self.labels = {told["label"]: told["output"] for told in self.manifest[manifest.LABELS]}

    def predict(
        self, history: Sequence[str], candidates: Sequence[str] | None = None, k: int | None = None
    ) -> pd.DataFrame:
        """What the model says of candidates after a history, those that it gives the most of the first label first.

        Args:
            history: item ids, oldest first. Ids that the model does not know are left out, and a warning names them.
            candidates: item ids, each of which gets a row, equal ones the same; all of the catalogue where None.
            k: the rows that are returned; all where None.

        Returns:
            Columns rank (1 = best), item_id, title, known (False for an item that the model does not know, which is
            judged as one of which nothing is known), and `predicted_...` of each label: a probability, or a rating.

        Raises:
            ValueError: `history` or `candidates` is no list of ids, `k` is below 1, or the catalogue is too large to
                be judged whole.
        """
        for name, ids in ((HISTORY, history), (CANDIDATES, candidates)):
            if isinstance(ids, str):
                raise ValueError(f"`{name}` must be a list of item ids; received {ids!r}.")
        if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
            raise ValueError(f"`k` must be a whole number of at least 1, or None for all; received {k!r}.")
        asked = self._all() if candidates is None else [str(item) for item in candidates]
        past = [str(item) for item in history]
        warn_unknown(self.items.index, past)
        found = self._answers(past, asked)
        columns: dict[str, Any] = {ITEM_ID: asked, TITLE: self.items.reindex(asked).fillna("").to_numpy()}
        columns[KNOWN] = found[KNOWN].astype(bool)
        columns |= {PREDICTED + label: found[output] for label, output in self.labels.items()}
        first = PREDICTED + next(iter(self.labels))
        table = pd.DataFrame(columns).sort_values(first, ascending=False, kind="stable", ignore_index=True)
        table.insert(0, RANK, np.arange(1, len(table) + 1))
        return table if k is None else table.head(k)

    def _all(self) -> list[str]:
        """The catalogue, where it may be judged whole."""
        if len(self._catalogue) > MOST_OF_CATALOGUE:
            raise ValueError(
                f"{self.folder} has {len(self._catalogue)} items that may be recommended, and without candidates at "
                f"most {MOST_OF_CATALOGUE} are judged: name candidates, such as those that a model that recommends "
                "gives."
            )
        return self._catalogue

    def _answers(self, history: Sequence[str], candidates: Sequence[str]) -> dict[str, np.ndarray]:
        """Output -> values [C], some candidates a request."""
        import tensorflow as tf

        past = tf.constant(np.array([[*history]], object).reshape(1, -1), tf.string)
        parts = []
        for start in range(0, max(1, len(candidates)), A_REQUEST):
            part = np.array([[*candidates[start : start + A_REQUEST]]], object).reshape(1, -1)
            parts.append(self._ask(**{HISTORY: past, CANDIDATES: tf.constant(part, tf.string)}))
        names = (KNOWN, *self.labels.values())
        return {name: np.concatenate([each[name].numpy()[0] for each in parts]) for name in names}


def load_ranker(model: str | Path) -> ExportedRanker:
    """Load an exported ranker.

    Args:
        model: as for `find`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no exported ranker.
    """
    return ExportedRanker(find(model))
