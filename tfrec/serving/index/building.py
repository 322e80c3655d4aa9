"""The index of a catalogue: the order that its items take in the graph, their lists, and how many of these are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrec.features import PAD
from tfrec.serving.index.lists import part
from tfrec.serving.index.probes import Asked, Probes, find
from tfrec.serving.index.vectors import lengths

ITEMS_ASKED = 1024  # items for whose neighbours lists are counted


@dataclass(frozen=True)
class Index:
    """Where things lie in the catalogue of the graph: padding, the lists one after the other, what is no candidate.

    Attributes:
        order: int64 [I], the row of the model that each row of the graph is.
        starts: int64 [L + 1], the row of the graph where each list begins, and the end.
        answers: for queries; by the vectors.
        neighbours: for items; by the vectors' directions.
    """

    order: np.ndarray
    starts: np.ndarray
    answers: Probes
    neighbours: Probes

    @property
    def described(self) -> dict[str, Any]:
        """What a manifest says of it."""
        of_kind = {
            name: {"lists": probes.lists, "share_of_items": round(probes.read, 4), "recall@10": round(probes.recall, 4)}
            for name, probes in (("answers", self.answers), ("similar_items", self.neighbours))
        }
        return {"kind": "ivf", "lists": len(self.starts) - 1, "read": of_kind}


def build(
    vectors: np.ndarray, dim: int, candidates: np.ndarray, asked: Sequence[Asked], floor: float, seed: int = 0
) -> Index:
    """Part the candidates into lists and find how many of these must be read.

    Args:
        vectors: float32 [I, D], as the graph reads them.
        dim: the numbers of a vector that say what the item is like; the rest is a bonus.
        candidates: bool [I], what may be recommended; one at least.
        asked: queries, by kind; what was seen is in rows of `vectors`.
        floor: of the recall, between 0 and 1.
        seed: of what is drawn.

    Raises:
        ValueError: vectors are not finite.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("The item vectors are not finite; the model's weights may have diverged.")
    lists = part(vectors, np.flatnonzero(candidates), seed)
    places = np.full(len(vectors), -1)
    places[lists.order] = np.arange(len(lists.order))
    listed = [Asked(kind.queries, [_there(places[rows]) for rows in kind.seen]) for kind in asked]
    ordered = vectors[lists.order]
    answers = find(ordered, lists.starts, listed, floor)
    unit = ordered[:, :dim]
    unit /= np.maximum(lengths(unit), np.float32(1e-30))[:, None]  # In place: there is no use for the others any more.
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(unit.any(axis=1)))[:ITEMS_ASKED]
    rest = np.flatnonzero(~candidates)
    return Index(
        order=np.concatenate([[PAD], lists.order, rest[rest != PAD]]),
        starts=lists.starts + 1,
        answers=answers,
        neighbours=find(unit, lists.starts, [Asked(unit[drawn], list(drawn[:, None]))], floor),
    )


def _there(places: np.ndarray) -> np.ndarray:
    """The places of those that lie in a list."""
    return places[places >= 0]
