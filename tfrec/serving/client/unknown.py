"""What a client's log says of histories whose ids the model does not know; `client` asks before it answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

logger = logging.getLogger(__name__)


def warn_by_titles(rows: Sequence[Sequence[str]], titles: Mapping[str, str]) -> None:
    """Name what the model does not know, and say how many histories hold nothing else.

    Args:
        rows: the histories.
        titles: of every item that the model knows.
    """
    unknown = list(dict.fromkeys(item for row in rows for item in row if item and item not in titles))
    if unknown:
        lost = sum(bool(row) and all(item not in titles for item in row) for row in rows)
        named = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        also = f"; {lost} histories hold nothing else, and are answered as empty ones" if lost else ""
        logger.warning("left out: %d item ids that the model does not know: %s%s", len(unknown), named, also)


def warn_by_counts(rows: Sequence[Sequence[str]], known_events: np.ndarray) -> None:
    """Say how many histories hold nothing that the model knows.

    Args:
        rows: the histories, N or more.
        known_events: int [N], how many ids of the first N the model knows.
    """
    lost = [row for row, known in zip(rows, known_events, strict=False) if any(row) and not known]
    if lost:
        logger.warning(
            "%d histories hold no item id that the model knows, and are answered as empty ones: such as %.100s",
            len(lost), list(lost[0]),
        )  # fmt: skip
