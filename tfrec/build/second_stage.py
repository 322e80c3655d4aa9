"""The second stage that the section `ranking` of a pipeline describes, on top of a trained two-tower model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfrec import config
from tfrec.build.ranker import interactions
from tfrec.data import CandidatePlan, Dataset, EvaluationUsers, NegativeDraws, RecalledLists, neighbours
from tfrec.ranking import Diversity, Evidence, TargetAttention, TwoStage, VectorInputs
from tfrec.retrieval import TwoTower

NEIGHBOURS, DISTANCE = 32, 20  # Length of an item's list of neighbours, and how many events apart they are at most.


@dataclass(frozen=True)
class Positions:
    """What a second stage learns from, and what chooses its epoch.

    Attributes:
        train: histories with what came next.
        members: int64, which of them train.
        validation: histories of the validation split.
        held_back: int64, which of these choose the epoch: of users none of whose validation events train.
    """

    train: EvaluationUsers
    members: np.ndarray
    validation: EvaluationUsers
    held_back: np.ndarray

    @property
    def held_back_ids(self) -> np.ndarray:
        """The ids of the users who choose the epoch."""
        return self.validation.histories.user_ids[self.held_back]


def positions(data: Dataset, ranking: config.Ranking, seed: int = 0) -> Positions:
    """The positions that a second stage learns from, and those that choose its epoch.

    Args:
        data: the prepared data set.
        ranking: the section `ranking`.
        seed: which users validate follows from it.

    Raises:
        ValueError: the catalogue has a single item, too few users have validation events, or no event can train.
    """
    validation, learning = data.evaluation_users("validation"), ranking.learning
    users = len(validation.histories.user_ids)
    check_second_stage(data, users if learning.events != "training" else None)
    if learning.events == "training":
        train = data.training_positions(learning.per_user)
        _refuse_few(len(train.histories.user_ids), "events of training have an earlier one of their user")
        return Positions(train, np.arange(len(train.histories.user_ids)), validation, np.arange(users))
    order = np.random.default_rng([seed, 7]).permutation(users)
    cut = int(np.clip(round(users * learning.share), 1, users - 1))
    return Positions(validation, np.sort(order[:cut]), validation, np.sort(order[cut:]))


def check_second_stage(data: Dataset, users: int | None) -> None:
    """Refuse data that a second stage cannot learn from: a single item, or fewer `users` that validate than two.

    Raises:
        ValueError: so it is.
    """
    count = int(data.candidates("validation").sum())
    if count < 2:
        raise ValueError(
            f"ranking.recall asks for a second stage, and the catalogue has {count} item: there is nothing to order. "
            "Leave `ranking` out."
        )
    if users is not None:
        _refuse_few(users, "users have a validation event, of which some train and the others choose the epoch")


def _refuse_few(count: int, what: str) -> None:
    if count < 2:
        raise ValueError(
            f"ranking.recall asks for a second stage, and {count} {what}: it needs 2 at least. Leave `ranking` out, or "
            "give it a longer log."
        )


def candidate_plan(
    data: Dataset, found: Positions, recalled: RecalledLists, ranking: config.Ranking, seed: int = 0
) -> CandidatePlan:
    """The batches that the second stage learns from.

    Args:
        data: the prepared data set.
        found: the positions.
        recalled: what the retrieval model recalls of `found.train`.
        ranking: the section `ranking`.
        seed: of the draws.

    Raises:
        ValueError: nothing that came next was recalled.
    """
    candidates = data.candidates("validation")
    counts, chosen = data.items["count"].to_numpy(np.float64), ranking.negatives
    draws = NegativeDraws(chosen.count, chosen.mined, np.where(candidates, np.maximum(counts, 1) ** chosen.alpha, 0))
    size = ranking.learning.batch_size
    return CandidatePlan(found.train, found.members, recalled, draws, batch_size=size, seed=seed)


def two_stage(
    retrieval: TwoTower,
    data: Dataset,
    ranking: config.Ranking | None = None,
    *,
    seed: int | None = None,
    **changes: Any,
) -> TwoStage:
    """Both stages as one model, ready to be compiled; the first one is frozen, the second in the order of the first.

    Args:
        retrieval: trained on `data`.
        data: the prepared data set.
        ranking: the section `ranking` of a pipeline, with `recall`; 200 where None.
        seed: the initial weights follow from it; None leaves Keras's state as it is.
        **changes: settings of `ranking` by name, as in YAML: `interactions=["cross"]`.

    Raises:
        ValueError: a setting cannot be.
    """
    ranking = config.change(ranking or config.Ranking(recall=200), changes)
    if ranking.recall is None:
        raise ValueError("`ranking` must name `recall`, the items that the second stage orders; received None.")
    if seed is not None:
        keras.utils.set_random_seed(seed)
    tower, dropout = retrieval.item_tower, ranking.learning.dropout
    evidence = Evidence(tower.items, NEIGHBOURS, text=bool(tower.text_width), dim=tower.dim, name="evidence")
    evidence.build()
    counts = data.items["count"].to_numpy()
    evidence.set_tables(counts, *neighbours(data.training_sequences(), tower.items, most=NEIGHBOURS, distance=DISTANCE))
    return TwoStage(
        retrieval,
        evidence,
        interactions(ranking, dropout),
        vectors=_vectors(tower.dim, ranking),
        recall=ranking.recall,
        rank=ranking.rank,
        loss=ranking.learning.loss,
        diversity=diversity(data, ranking),
        name="two_stage",
    )


def _vectors(dim: int, ranking: config.Ranking) -> VectorInputs | None:
    attention = None
    if "target_attention" in ranking.interactions:
        attention = TargetAttention(dim, ranking.heads, ranking.learning.dropout, name="target_attention")
    if attention is None and not ranking.vectors:
        return None
    return VectorInputs(dim, products=ranking.vectors, attention=attention, name="vector_inputs")


def diversity(data: Dataset, ranking: config.Ranking, trade_off: float | None = None) -> Diversity | None:
    """What makes the items of an answer unlike one another; None where the section names nothing.

    Args:
        data: the prepared data set.
        ranking: the section `ranking`.
        trade_off: in place of that of the section.

    Raises:
        ValueError: the items have no such category.
    """
    chosen = ranking.diversity
    if chosen is None:
        return None
    trade_off = chosen.trade_off if trade_off is None else trade_off
    if chosen.category is None:
        return Diversity(trade_off, name="diversity")
    if chosen.category not in data.item_categories:
        known = ", ".join(data.item_categories) or "none"
        raise ValueError(f"ranking.diversity.category is {chosen.category!r}; categories of the items: {known}.")
    codes = data.item_categories[chosen.category]
    made = Diversity(trade_off, most=chosen.most, shape=codes.shape, name="diversity")
    made.set_categories(codes)
    return made
