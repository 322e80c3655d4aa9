"""Titles of recommended items, from the table that lies in an exported version; `client` adds them to its answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tfrec.features import ITEM_ID, TITLE
from tfrec.serving import manifest
from tfrec.serving.versions import SAVED_MODEL, versions

logger = logging.getLogger(__name__)

KEPT = 2  # Tables: while a server swaps, both versions answer.


class Titles:
    """item_id -> title, of the version that answered where its table is there, else of the newest."""

    def __init__(self, place: str | Path | None) -> None:
        """Find the tables; each is read when first needed.

        Args:
            place: a folder of versions, one version, a Parquet table with item_id and title, or None for no titles.

        Raises:
            FileNotFoundError: there is no such place.
            ValueError: no table of items is there.
        """
        self._read: dict[Path, Mapping[str, str]] = {}  # The last one read is the last.
        self._complaint = ""
        self._place = None if place is None else Path(place)
        if self._place is not None:
            if not self._place.exists():
                raise FileNotFoundError(f"There is no {place}; `titles` is a model's folder, or a table of its items.")
            self._table(None)

    def of(self, version: int | None) -> Mapping[str, str] | None:
        """The titles for what a version answered; None where there are none.

        A table that cannot be read any more costs no answer: those that were read last stand in for it.
        """
        if self._place is None:
            return None
        try:
            table = self._table(version)
            assert table is not None
            if table not in self._read:
                frame = pd.read_parquet(table, columns=[ITEM_ID, TITLE])
                self._read[table] = dict(zip(frame[ITEM_ID].astype(str), frame[TITLE].astype(str), strict=True))
                for old in list(self._read)[:-KEPT]:
                    self._read.pop(old, None)
            return self._read[table]
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:  # Once, not with every answer.
                logger.warning("the titles of version %s cannot be read: %s", version, error)
            self._complaint = str(error)
            return next(reversed(list(self._read.values())), None)

    def _table(self, version: int | None) -> Path | None:
        place = self._place
        if place is None or place.is_file():
            return place
        if (place / SAVED_MODEL).is_file():
            return place / manifest.ITEMS
        found = versions(place)
        if not found:
            raise ValueError(f"{place} holds no version of a model; `titles` is such a folder, or a table of items.")
        return place / str(version if version in found else found[-1]) / manifest.ITEMS
