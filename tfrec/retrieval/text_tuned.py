"""A two-tower model whose text model trains with it; `without_text` is what is then evaluated and exported."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, PAD, TARGET
from tfrec.retrieval.catalogue_rows import places_of
from tfrec.retrieval.catalogue_texts import Texts
from tfrec.retrieval.objectives import no_rivals
from tfrec.retrieval.softmax import IMPOSSIBLE, log_sum_exp_of_products
from tfrec.retrieval.two_tower import TwoTower
from tfrec.towers.text import Embedder
from tfrec.towers.text_models import TextModel

logger = logging.getLogger(__name__)

# Texts of a step are sorted by length and cut into chunks here, as shares of their number from the longest on: lengths
# have a long tail, and a chunk is as wide as its longest text.
CUTS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 1.0)


class TextTunedTwoTower(TwoTower):
    """A two-tower model and the text model behind its text vectors, trained together.

    A step encodes the distinct texts of its batch (or a share of them, drawn anew at each step) with gradients; every
    other item, negatives included, stands there with the vector that it had when it was last encoded. Those vectors lie
    in the item tower's table, as in a frozen model; before each evaluation, all of them are computed anew.
    Source: candidates from a cache, as in the cross-batch memory of Wang et al., arXiv:1912.06798.

    The towers learn from the objective, over all of its candidates. The text model learns from it through the
    histories; as candidates, the texts of a step learn from a softmax among themselves. In the objective most of them
    are somebody's target, and those that should give way stand still: its gradient would pull all texts alike towards
    the users, which gains nothing once the rest is encoded anew. How often an item is among a step's is corrected for
    (logQ, Bengio and Senecal 2008; Yi et al. 2019).
    """

    def __init__(
        self,
        model: TwoTower,
        text: TextModel,
        texts: Texts,
        *,
        counts: Any = None,
        share: float = 1.0,
        masked: Any = None,
        mask_weight: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Join a model and the text model of its item tower.

        Args:
            model: the towers; its table of text vectors is brought up to date here and in training.
            text: the tuned model, see `text_tuning.tune`.
            texts: the texts of all rows.
            counts: [I], training events of each row; None = all have as many.
            share: share of a batch's texts that a step encodes anew.
            masked: a layer with `loss(ids, lengths, training)`, which is added for the texts of a step; None = none.
            mask_weight: weight of that loss.
            **kwargs: as for any Keras model.

        Raises:
            ValueError: the text model is not as wide as the vectors that the item tower was built for, or `share` is
                not above 0 and at most 1.
        """
        if text.width != model.item_tower.text_width:
            raise ValueError(
                f"`text` gives vectors of width {text.width}, and the item tower was built for "
                f"{model.item_tower.text_width}."
            )
        if not 0 < share <= 1:
            raise ValueError(f"`share` must be above 0 and at most 1; received {share}.")
        super().__init__(
            model.item_tower,
            model.behavior_tower,
            model.objective,
            candidates=model.candidates,
            similarity=model.similarity,
            temperature=model.temperature,
            cutoff=model.cutoff,
            new_items=model.new_items,
            **kwargs,
        )
        self.backbone, self.masked = text.backbone, masked  # Attributes, so that Keras tracks their weights.
        self.share, self.mask_weight = share, mask_weight
        self.draws = keras.random.SeedGenerator(0, name="texts")
        self._parts = SimpleNamespace(  # Held so that nothing of it is tracked twice.
            without_text=model, text=text, texts=texts, embedder=Embedder(text), chosen=None
        )
        self._popularity = _popularity(model.objective.trained_rows, counts, len(texts.ids))
        self._lengths = tf.constant(texts.lengths)
        self._vectors = _traced_once(text.vectors)[False]
        self._losses = _traced_once(masked.loss) if masked is not None else {}

    @property
    def without_text(self) -> TwoTower:
        """The towers alone, with the text vectors of the last `refresh`."""
        return self._parts.without_text

    @property
    def text(self) -> TextModel:
        """The text model."""
        return self._parts.text

    @property
    def tables(self) -> list[Any]:
        """Variables that a checkpoint need not hold: those of the catalogue, and what of the text model is frozen."""
        return [*super().tables, *self.backbone.non_trainable_variables]

    def refresh(self) -> None:
        """Compute all text vectors anew."""
        texts = self._parts.texts
        rows = np.flatnonzero(texts.lengths)
        vectors = np.zeros((len(texts.ids), self.item_tower.text_width), "float32")
        vectors[rows] = self._parts.embedder.encode(texts.ids[rows], texts.lengths[rows])
        self.item_tower.text.assign(vectors)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: Keras would merge the factors of LoRA and write the whole backbone.

        Raises:
            ValueError: always; it says what to save instead.
        """
        raise ValueError(
            "A model with its text model is saved in two parts: `model.without_text.save(path)` for the towers, and "
            "`tfrec.towers.text_weights.save(model.text, tuning, folder)` for what tuning changed."
        )

    def lend_ids(self) -> None:
        """Compute all text vectors anew, then give new items their ids: before each validation, and after training."""
        self.refresh()
        super().lend_ids()

    def compile(self, optimizer: Any = "adamw", *, jit_compile: bool = False, **kwargs: Any) -> None:
        """As for `TwoTower`, without XLA, which cannot compile texts of changing lengths.

        `tfrec.build.optimizer` makes an optimizer that gives the text model a rate of its own; one that has none is
        taken with a warning.

        Raises:
            ValueError: `jit_compile` is true, or what `TwoTower.compile` refuses.
        """
        if jit_compile:
            raise ValueError("`jit_compile` must be false where the text model trains: its texts change in length.")
        if not hasattr(optimizer, "slow_factor"):
            logger.warning(
                "the text model trains at the rate of the towers, which is far too high for pretrained weights: "
                "`tfrec.build.optimizer(training, steps_per_epoch, model=model, text=text)` gives it one of its own"
            )
        super().compile(optimizer, jit_compile=False, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of `TwoTower`, and the masked-language-model loss where there is one."""
        loss = super().compute_loss(x, training=training)
        if self.masked is None:
            return loss
        return loss + self.mask_weight * self._masked_loss(self._parts.chosen, training)

    def training_parts(self, rows: Any, features: Mapping[str, Any], training: bool = True) -> tuple[Any, Any]:
        """`item_vectors` of the step's rows, the batch's own texts encoded anew, and the loss among them.

        The texts are read without dropout: their vectors stay in the table, where serving knows none either. Augmented
        ones stay there until all are computed anew.
        """
        chosen = self._parts.chosen = self._chosen(features)  # Drawn once a step, for all losses.
        parts = _chunks(*self._parts.texts.read(chosen, self.draws if training else None))
        fresh = tf.concat([self._vectors(*part) for part in parts], axis=0)
        still = tf.stop_gradient(fresh)
        table = tf.convert_to_tensor(self.item_tower.text)
        known, places = (table, chosen) if rows is None else (tf.gather(table, rows), places_of(rows, chosen))
        self.item_tower.text.value.scatter_nd_update(chosen[:, None], still)
        vectors = self.item_vectors(
            rows, training=training, text=tf.tensor_scatter_nd_update(known, places[:, None], still)
        )
        # 0 in value: what carries the gradient to the texts, and to nothing else.
        moves = self.item_vectors(chosen, text=fresh) - self.item_vectors(chosen, text=still)
        rivals = tf.stop_gradient(tf.gather(vectors, places)) + moves

        def loss(queries: Any, targets: Any, _: Any, rows: Any, past: Any = None) -> Any:
            place = tf.fill(tf.shape(vectors)[:1], -1)
            place = tf.tensor_scatter_nd_update(place, places[:, None], tf.range(tf.size(chosen)))
            among = self._loss_among(chosen, rivals, tf.stop_gradient(queries), tf.gather(place, targets), past)
            return self.objective.loss(queries, targets, vectors, rows, past) + among - tf.stop_gradient(among)

        return tf.tensor_scatter_nd_add(vectors, places[:, None], moves), loss

    def _loss_among(self, rows: Any, rivals: Any, queries: Any, own: Any, past: Any = None) -> Any:
        """The mean loss of a softmax among those of some rows that are a target, over the positions that they are of.

        Args:
            rows: int [F].
            rivals: float [F, D], their vectors.
            queries: float [N, D].
            own: int [N], the target's place among them, -1 where it is none of them.
            past: what the users had had.
        """
        found = own >= 0
        none = no_rivals(self.objective, rows, tf.fill(tf.shape(own), PAD), past)
        none = tf.boolean_mask(none, found) & (tf.range(tf.size(rows))[None, :] != tf.boolean_mask(own, found)[:, None])
        # Among N targets an item of popularity p is found with the probability 1 - exp(-N * p), nearly.
        rate = tf.gather(self._popularity, rows) * tf.cast(tf.size(own), tf.float32)
        queries, own = tf.boolean_mask(queries, found), tf.boolean_mask(own, found)
        competes = tf.scatter_nd(own[:, None], tf.ones_like(own), [tf.size(rows)]) > 0
        corrections = tf.where(competes, -tf.math.log(-tf.math.expm1(-rate)), IMPOSSIBLE)
        ones = tf.ones_like(queries[:, :1])
        logits = tf.concat([queries, ones], axis=1), tf.concat([rivals, corrections[:, None]], axis=1)
        positive = tf.reduce_sum(queries * tf.gather(rivals, own), axis=1) + tf.gather(corrections, own)
        losses = log_sum_exp_of_products(*logits, none) - positive
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32))

    def _chosen(self, features: Mapping[str, Any]) -> Any:
        """int32 [F]: the distinct rows of a batch that have a text, or a share of them, the longest text first."""
        both = [tf.reshape(features[name], [-1]) for name in (HISTORY, TARGET)]
        rows = tf.unique(tf.concat(both, axis=0)).y
        rows = tf.boolean_mask(rows, (tf.gather(self._lengths, rows) > 0) & (rows != PAD))
        if self.share < 1:
            count = tf.cast(tf.math.ceil(self.share * tf.cast(tf.size(rows), tf.float32)), tf.int32)
            rows = keras.random.shuffle(rows, seed=self.draws)[:count]
        return tf.gather(rows, tf.argsort(tf.gather(self._lengths, rows), direction="DESCENDING", stable=True))

    def _masked_loss(self, rows: Any, training: bool) -> Any:
        """Mean over the chunks, each weighted by its tokens."""
        chunks = _chunks(*self._parts.texts.read(rows))
        losses = [self._losses[training](ids, lengths) for ids, lengths in chunks]
        tokens = [tf.cast(tf.reduce_sum(lengths), tf.float32) for _, lengths in chunks]
        total = sum(loss * weight for loss, weight in zip(losses, tokens, strict=True))
        return tf.math.divide_no_nan(total, sum(tokens))


def _chunks(ids: Any, lengths: Any) -> list[tuple[Any, Any]]:
    """Token ids [n, T] and lengths [n] of texts in their order, T the longest of each chunk."""
    count = tf.cast(tf.size(lengths), tf.float32)
    bounds = [tf.cast(tf.math.ceil(count * cut), tf.int32) for cut in CUTS]
    parts = [(ids[first:last], lengths[first:last]) for first, last in zip(bounds[:-1], bounds[1:], strict=True)]
    widths = [tf.reduce_max(tf.concat([length, [1]], axis=0)) for _, length in parts]
    return [(part[:, :width], length) for (part, length), width in zip(parts, widths, strict=True)]


def _popularity(trained: np.ndarray, counts: Any, items: int) -> Any:
    """float32 [I]: the share of the training events that is a row's; 0 where training does not know it."""
    known = np.zeros(items)
    known[trained] = 1.0 if counts is None else np.maximum(np.asarray(counts)[trained], 1.0)
    return tf.constant(known / known.sum(), tf.float32)


def _traced_once(function: Any) -> dict[bool, Any]:
    """`training` -> a graph function of ids [N, T] and lengths [N] that is traced once for all chunks, gradient too."""
    spec = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    return {
        training: tf.function(functools.partial(function, training=training), input_signature=spec, autograph=False)
        for training in (False, True)
    }
