"""The collaborative paths that the section `ranking` names, begun from the labelled events of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrec import config
from tfrec.data import RankingData
from tfrec.features import event_feature
from tfrec.ranking import Collaborative, LabelReader, LatentFactors, Neighbourhood, Ratings, sample_factors


def collaborative(
    labelled: RankingData, names: Sequence[str], ranking: config.Ranking, seed: int = 0
) -> list[Collaborative]:
    """A layer for each label where the settings name a path; else none.

    Args:
        labelled: the labelled events.
        names: the labels that are predicted.
        ranking: the section `ranking`.
        seed: the samples of the factors follow from it.

    Raises:
        ValueError: no column of the history says the label, its label is known of no training event, or the catalogue
            is too large for pairs of items.
    """
    if not ranking.collaborative:
        return []
    return [_begun(labelled, name, ranking, seed + place) for place, name in enumerate(names)]


def _begun(labelled: RankingData, name: str, ranking: config.Ranking, seed: int) -> Collaborative:
    data, label = labelled.data, labelled.data.labels[name]
    items, ratings = len(data.items), _ratings(labelled, name)
    if not len(ratings.values):
        raise ValueError(f"The label {name!r} is known of no event in training: there is nothing to learn.")
    if label.column not in data.event_columns:
        raise ValueError(
            f"ranking.interactions names {ranking.collaborative[0]!r}, which reads the label {name!r} of past events: "
            f"add its column {label.column!r} to data.events.context."
        )
    reader = LabelReader(label.column, data.event_columns[label.column], name=f"{name}_reader")
    chosen, factors, neighbourhood = ranking.factors, None, None
    if "factors" in ranking.interactions:
        factors = LatentFactors(items, chosen.rank, chosen.samples, name=f"{name}_factors")
    if "neighbourhood" in ranking.interactions:
        neighbourhood = Neighbourhood(items, name=f"{name}_neighbourhood")
    low, high = label.range or (0.0, 1.0)
    layer = Collaborative(
        reader, low, high, factors=factors, neighbourhood=neighbourhood, name=f"{name}_collaborative"
    )  # fmt: skip
    layer.build()
    reader.start(_labels_of_codes(labelled, name))
    if factors is not None:
        drawn = {"burn_in": chosen.burn_in, "every": chosen.every, "seed": seed}
        factors.start(sample_factors(ratings, chosen.rank, chosen.samples, **drawn))
    if neighbourhood is not None:
        neighbourhood.start(ratings)
    return layer


def _ratings(labelled: RankingData, name: str) -> Ratings:
    sequences, events = labelled.data.sequences, labelled.training_events(name)
    return Ratings(
        sequences.owners[events],
        sequences.rows[events].astype(np.int64),
        sequences.labels[name][events],
        len(sequences.user_ids),
        len(labelled.data.items),
    )


def _labels_of_codes(labelled: RankingData, name: str) -> np.ndarray:
    """The label of each code of its column, float [V]; NaN where training does not say it."""
    data, events = labelled.data, labelled.training_events(name)
    column = data.labels[name].column
    codes, count = data.sequences.events[event_feature(column)][events], data.event_columns[column]
    sums, counts = np.bincount(codes, data.sequences.labels[name][events], count), np.bincount(codes, minlength=count)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
