"""Objectives of the two-tower model: softmax over the whole catalogue, or over negatives that a step shares.

An objective is a plain object with two methods. `rows(history, target)` says which item rows a step must encode (None =
all of them), so that a step over a large catalogue touches few; `loss(queries, targets, vectors, rows, past)` is the
loss at each position. Where `unseen` is set, what a user has had does not compete with the next item: it is not
recommended again, and a model need not learn to rank it low.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import PAD
from tfrec.retrieval.chunked_softmax import bounded_log_sum_exp
from tfrec.retrieval.past import Past
from tfrec.retrieval.softmax import log_sum_exp_of_products, without, without_pairs

# What was had is taken out place by place where histories are shorter than this share of the items; else by a matrix.
FEW_IN = 64


@keras.saving.register_keras_serializable(package="tfrec")
class FullSoftmax:
    """Cross-entropy against every item that training events mention.

    Items outside training are not negatives: nothing in training says that they are not wanted, and pushing them
    away would bury new items. Source: gSASRec, arXiv:2308.07192, on what sampled negatives cost.
    """

    def __init__(self, trained: Any, *, unseen: bool = False) -> None:
        """Remember the rows to compete.

        Args:
            trained: bool [I], or the rows themselves.
            unseen: whether what a user has had does not compete.
        """
        self.trained_rows, self.unseen = trained_rows(trained), unseen
        self.whole = False  # Whether logits are never computed in chunks: XLA would not know their size.
        # Row -> its place among the rivals; a target that is none of them has no place, and fails rather than misleads.
        self._place = np.full(int(self.trained_rows.max()) + 1, -1, "int32")
        self._place[self.trained_rows] = np.arange(len(self.trained_rows), dtype="int32")

    def rows(self, history: Any, target: Any) -> None:
        """None: every row is encoded."""
        return None

    def loss(self, queries: Any, targets: Any, vectors: Any, rows: Any = None, past: Past | None = None) -> Any:
        """Loss at each position.

        Args:
            queries: float [N, D], scaled by the temperature.
            targets: int [N], rows of the catalogue.
            vectors: float [I, D], all item vectors.
            rows: None.
            past: what the users had had; needed where `unseen` is set.

        Returns:
            float [N].
        """
        rivals = tf.gather(vectors, self.trained_rows)
        places = tf.gather(tf.constant(self._place), targets)
        own = tf.gather(rivals, places)
        masked = functools.partial(self._had, past, places) if self.unseen and past is not None else None
        if self.whole:
            total = log_sum_exp_of_products(queries, rivals, masked and masked(0, len(self.trained_rows)))
        else:
            total = bounded_log_sum_exp(queries, rivals, masked)
        return total - tf.reduce_sum(queries * own, axis=-1)

    def _had(self, past: Past, places: Any, start: Any, stop: Any) -> Any:
        """The rivals between two places that a user has had, but for the target itself; as `softmax` takes them."""
        known, count = len(self._place), stop - start
        found = tf.gather(tf.constant(self._place), tf.minimum(past.history, known - 1))
        among = (past.history < known) & (found >= start) & (found < stop)

        def all_at_once() -> Any:
            held = past.holds_places(tf.where(among, found - start, count), count)
            return held & (tf.range(start, stop)[None, :] != places[:, None])

        def one_by_one() -> Any:
            return past.pairs(tf.where(among, found - start, -1), places - start)

        if self.whole:
            return all_at_once()
        few = tf.shape(past.history)[1] * FEW_IN < count
        return lambda logits: tf.cond(
            few, lambda: without_pairs(logits, one_by_one()), lambda: without(logits, all_at_once())
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"trained": self.trained_rows.tolist(), "unseen": self.unseen}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FullSoftmax:
        """Rebuild the objective."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfrec")
class SampledSoftmax:
    """Cross-entropy against the target and `negatives` rows drawn uniformly, shared by all positions of a step.

    Uniform sampling needs no correction of the logits: every negative has the same probability. A negative that is
    a position's own target is masked there. Source: Jean et al., arXiv:1412.2007.
    """

    def __init__(self, trained: Any, negatives: int = 1024, *, unseen: bool = False) -> None:
        """Remember the rows to draw from.

        Args:
            trained: bool [I], or the rows.
            negatives: the number a step.
            unseen: whether what a user has had does not compete.

        Raises:
            ValueError: fewer than one negative.
        """
        if negatives < 1:
            raise ValueError(f"`negatives` must be at least 1; received {negatives}.")
        self.trained_rows, self.negatives, self.unseen = trained_rows(trained), negatives, unseen
        self.seeds = keras.random.SeedGenerator(0, name="negatives")

    def rows(self, history: Any, target: Any) -> Any:
        """Rows to encode, int [R]: the distinct rows of the batch, then the negatives."""
        return batch_and_negatives(self, history, target)

    def loss(self, queries: Any, targets: Any, vectors: Any, rows: Any, past: Past | None = None) -> Any:
        """Loss at each position.

        Args:
            queries: float [N, D], scaled by the temperature.
            targets: int [N], places in `rows`.
            vectors: float [R, D], the vectors of `rows`.
            rows: int [R], the last `negatives` of which are the negatives.
            past: what the users had had; needed where `unseen` is set.

        Returns:
            float [N].
        """
        positive = tf.reduce_sum(queries * tf.gather(vectors, targets), axis=-1)
        first = tf.shape(rows)[0] - self.negatives
        none = no_rivals(self, rows[first:], tf.gather(rows, targets), past)
        negative = log_sum_exp_of_products(queries, vectors[first:], none)
        return tf.nn.softplus(negative - positive)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"trained": self.trained_rows.tolist(), "negatives": self.negatives, "unseen": self.unseen}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SampledSoftmax:
        """Rebuild the objective."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfrec")
class GBCE:
    """Binary cross-entropy of the target and of `negatives` rows drawn uniformly, shared by all positions of a step.

    The target's probability enters with a power below 1, which undoes the overconfidence that sampled negatives cause.
    The loss is the mean over the target and the negatives, as in the paper: a sum would be clipped by
    `training.clip_norm` at every step. Negatives that do not count cost nothing. Logits are the scores and an offset,
    at which the target's pull and the push of all negatives are alike where scores are 0: without it a model first
    learns that nearly everything is a negative, a direction that all users and items share, and epochs pass before it
    tells items apart.
    Source: gSASRec, arXiv:2308.07192, equations 15 and 17; there each sequence has negatives of its own, and no offset.
    The offset is that of rare classes in RetinaNet, arXiv:1708.02002, section 4.1.
    """

    def __init__(self, trained: Any, negatives: int = 256, calibration: float = 0.75, *, unseen: bool = False) -> None:
        """Remember the rows to draw from.

        Args:
            trained: bool [I] or the rows.
            negatives: the number a step.
            calibration: t of the paper, from 0 (plain binary cross-entropy) to 1 (fully calibrated).
            unseen: whether what a user has had does not compete.

        Raises:
            ValueError: fewer than one negative, or a calibration outside 0 to 1.
        """
        if negatives < 1:
            raise ValueError(f"`negatives` must be at least 1; received {negatives}.")
        if not 0 <= calibration <= 1:
            raise ValueError(f"`calibration` must be from 0 to 1; received {calibration}.")
        self.trained_rows, self.negatives, self.calibration = trained_rows(trained), negatives, calibration
        self.unseen = unseen
        self.seeds = keras.random.SeedGenerator(0, name="negatives")
        share = min(1.0, negatives / max(1, len(self.trained_rows) - 1))
        self.power = calibration * (share - 1) + 1
        self.offset = math.log(self.power / negatives)

    def rows(self, history: Any, target: Any) -> Any:
        """Rows to encode, int [R]: the distinct rows of the batch, then the negatives."""
        return batch_and_negatives(self, history, target)

    def loss(self, queries: Any, targets: Any, vectors: Any, rows: Any, past: Past | None = None) -> Any:
        """Loss at each position; arguments and result are those of `SampledSoftmax.loss`."""
        positive = tf.reduce_sum(queries * tf.gather(vectors, targets), axis=-1) + self.offset
        first = tf.shape(rows)[0] - self.negatives
        none = no_rivals(self, rows[first:], tf.gather(rows, targets), past)
        logits = tf.matmul(queries, vectors[first:], transpose_b=True) + self.offset
        others = tf.reduce_sum(tf.where(none, 0.0, tf.nn.softplus(logits)), axis=-1)
        return (self.power * tf.nn.softplus(-positive) + others) / (self.negatives + 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = ("negatives", "calibration", "unseen")
        return {"trained": self.trained_rows.tolist(), **{name: getattr(self, name) for name in own}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GBCE:
        """Rebuild the objective."""
        return cls(**config)


def batch_and_negatives(objective: Any, history: Any, target: Any) -> Any:
    """Rows to encode, int [R]: the distinct ones of a batch, padding first, then the uniform draws."""
    flat = tf.concat([[PAD], tf.reshape(history, [-1]), tf.reshape(target, [-1])], axis=0)
    rows = objective.trained_rows
    drawn = keras.random.randint((objective.negatives,), 0, len(rows), seed=objective.seeds)
    return tf.concat([tf.unique(flat).y, tf.gather(rows, drawn)], axis=0)


def no_rivals(objective: Any, drawn: Any, targets: Any, past: Past | None) -> Any:
    """Bool [N, K]: the draws, int [K], that do not compete with the target rows, int [N]: themselves, and the past."""
    none = targets[:, None] == drawn[None, :]
    return none | past.holds(drawn) if objective.unseen and past is not None else none


def trained_rows(trained: Any) -> np.ndarray:
    """int32 [J]: the rows that `trained` names, a mask over the catalogue or the rows themselves, in ascending order.

    Raises:
        ValueError: it names none, one twice, or the padding row.
    """
    trained = np.asarray(trained)
    rows = np.flatnonzero(trained) if trained.dtype == bool else np.unique(trained)
    if not len(rows):
        raise ValueError("`trained` names no item: there is no training event to learn from.")
    if rows[0] <= PAD:
        raise ValueError(f"`trained` must name rows from {PAD + 1} on, row {PAD} is padding; received {rows[0]}.")
    if trained.dtype != bool and len(rows) < len(trained):
        raise ValueError(
            f"`trained` must be bool [I] or distinct rows; received {len(trained) - len(rows)} repetitions."
        )
    return rows.astype("int32")
