"""The ranker that the sections `model` and `ranking` of a pipeline describe; names of interactions become layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfrec import config
from tfrec.build.collaborative import collaborative
from tfrec.build.model import behavior_tower, item_tower, start_user_texts
from tfrec.build.optimization import precision
from tfrec.build.text import decided_text, read_texts
from tfrec.build.words import item_words, word_attention
from tfrec.data import Dataset, RankingData
from tfrec.ranking import (
    BinaryHead,
    CandidateContext,
    CrossNetwork,
    Head,
    LossWeights,
    Perceptron,
    Ranker,
    RatingHead,
    TargetAttention,
)


def ranking_data(data: Dataset, ranking: config.Ranking | None = None) -> RankingData:
    """The labelled events of a data set, as the section `ranking` reads them.

    Raises:
        ValueError: see `RankingData`.
    """
    return RankingData(data, (ranking or config.Ranking()).context)


def check_labels(data: Dataset, ranking: config.Ranking) -> None:
    """See that what is predicted can be measured, before a long training.

    Raises:
        ValueError: a label is known of no event of validation or test, or the first one has one value in validation
            where the AUC chooses the epoch.
    """
    labelled, names = ranking_data(data, ranking), ranking.labels or tuple(data.labels)
    for split in ("validation", "test"):
        for name in names:
            if not len(labelled.judged_labels(split, name)):
                raise ValueError(
                    f"The label {name!r} is known of no event of {split}, and cannot be measured there: move the cut in"
                    " data.split, or leave the label out of ranking.labels."
                )
    found = labelled.judged_labels("validation", names[0])
    if ranking.monitor == "auc" and len(np.unique(found)) == 1:
        raise ValueError(
            f"ranking.monitor is auc, and the label {names[0]!r} is {found[0]:g} for all {len(found)} events of "
            "validation, where there is no AUC then: move the cut in data.split, or set ranking.monitor to log_loss."
        )


def ranker(
    data: Dataset,
    settings: config.Model | None = None,
    ranking: config.Ranking | None = None,
    *,
    training: config.Training | None = None,
    seed: int | None = None,
    **changes: Any,
) -> Ranker:
    """A ranker for a data set with labels, ready to be compiled; each head begins at the mean of its labels.

    Where the users have texts and the model reads them, the batches of `data` carry their vectors from then on, and
    with `word_attention` those of their words.

    Args:
        data: the prepared data set.
        settings: the section `model` of a pipeline; the defaults where None.
        ranking: the section `ranking`; the defaults where None.
        training: the section `training`, of which the precision and what is done to texts count.
        seed: the initial weights follow from it (`keras.utils.set_random_seed`); None leaves Keras's state as it is.
        **changes: settings of `ranking` by name, as in YAML: `interactions=["cross"]`.

    Raises:
        ValueError: the data set has no such label, a label has one value alone, or a setting cannot be.
    """
    settings, ranking = settings or config.Model(), config.change(ranking or config.Ranking(), changes)
    labelled = ranking_data(data, ranking)
    names = ranking.labels or tuple(data.labels)
    unknown = [name for name in names if name not in data.labels]
    if unknown:
        raise ValueError(f"ranking.labels names {unknown[0]!r}; the data set has {', '.join(data.labels)}.")
    settings = settings.model_copy(update={"text": decided_text(settings.text, data, tell=True)})
    training = training or config.Training()
    read = read_texts(data, settings, training.text_augmentation, ranking)
    words = item_words(data, settings, ranking)
    known = {name: labelled.training_labels(name) for name in names}
    if seed is not None:  # After the text model, whose loading draws numbers: it may or may not have been needed.
        keras.utils.set_random_seed(seed)
    with precision(training):
        model = Ranker(
            item_tower(data, settings, read),
            behavior_tower(data, settings, read.user_width),
            [_head(data, name, ranking, known[name]) for name in names],
            interactions=interactions(ranking, settings.dropout),
            collaborative=collaborative(labelled, names, ranking, seed or 0),
            target_attention=_target_attention(settings, ranking),
            word_attention=word_attention(settings, ranking, words),
            context=_context(data, settings, ranking, len(names)),
            loss_weights=LossWeights(
                names, None if ranking.weights == "learnt" else ranking.weights, name="loss_weights"
            ),
            name="ranker",
        )
    start_user_texts(model, data, read, settings)
    model.start(known)
    return model


def _head(data: Dataset, name: str, ranking: config.Ranking, known: np.ndarray) -> Head:
    label = data.labels[name]
    if label.range is not None:
        return RatingHead(*label.range, name=name)
    weight = ranking.positive_weight
    if weight == "balanced":
        share = float(np.clip(np.mean(known), 1e-6, 1 - 1e-6)) if len(known) else 0.5
        weight = (1 - share) / share
    return BinaryHead(weight, name=name)


def interactions(ranking: config.Ranking, dropout: float) -> list[keras.layers.Layer]:
    """The layers that the section `ranking` names, which read all inputs side by side."""
    made: dict[str, keras.layers.Layer] = {}
    if "mlp" in ranking.interactions:
        made["mlp"] = Perceptron(ranking.mlp.units, dropout, name="mlp")
    if "cross" in ranking.interactions:
        made["cross"] = CrossNetwork(ranking.cross.layers, ranking.cross.rank, name="cross")
    return list(made.values())


def _target_attention(settings: config.Model, ranking: config.Ranking) -> TargetAttention | None:
    if "target_attention" not in ranking.interactions:
        return None
    return TargetAttention(settings.dim, ranking.heads, settings.dropout, name="target_attention")


def _context(data: Dataset, settings: config.Model, ranking: config.Ranking, heads: int) -> CandidateContext | None:
    if not ranking.context:
        return None
    columns = {column: data.event_columns[column] for column in ranking.context}
    return CandidateContext(
        settings.dim, columns, ranking.neutral, heads, settings.input_dropout, name="candidate_context"
    )  # fmt: skip
