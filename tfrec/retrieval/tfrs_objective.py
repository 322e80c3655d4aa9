"""In-batch and uniform negatives through TensorFlow Recommenders' `Retrieval` task: an objective of `TwoTower`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.retrieval.objectives import batch_and_negatives, trained_rows
from tfrec.retrieval.softmax import log_sum_exp

# TFRS clips sampling probabilities to [1e-6, 1], which is wrong for the rare items of large catalogues. A common
# factor changes no softmax, so probabilities are scaled to peak at 1; what a rarer item still lacks is added outside.
TFRS_SMALLEST = 1e-6
RAREST = 1e-30  # Stands for 0, of which there is no logarithm: a target that `counts` has never seen.


@keras.saving.register_keras_serializable(package="tfrec")
class TFRSRetrieval:
    """Softmax over the batch's targets and `negatives` uniform draws, logQ corrected, accidental hits removed.

    The candidates of a step are N targets, which are drawn as popularity has them, and S uniform rows; an item's
    sampling probability is that of the mixture, (N * popularity + S / I) / (N + S).
    Source: Yi et al., "Sampling-bias-corrected neural modeling" (RecSys 2019); `tfrs.tasks.Retrieval`.
    """

    def __init__(self, trained: Any, counts: Any, negatives: int = 1024) -> None:
        """Build the task.

        Args:
            trained: bool [I], or the rows that training events mention.
            counts: [I], training events of each row.
            negatives: uniform rows S a step.

        Raises:
            ValueError: `negatives` is negative, `trained` names no row, or `counts` does not reach the last one.
        """
        if negatives < 0:
            raise ValueError(f"`negatives` must be 0 or more; received {negatives}.")
        self.trained_rows, self.negatives, self.unseen = trained_rows(trained), negatives, False
        self.counts = np.asarray(counts, "float32")
        if len(self.counts) <= self.trained_rows[-1]:
            raise ValueError(
                f"`counts` must have a value for each of the rows up to {self.trained_rows[-1]}; "
                f"received {len(self.counts)} values."
            )
        self.popularity = self.counts / max(float(self.counts.sum()), 1.0)
        self.seeds = keras.random.SeedGenerator(0, name="negatives")
        task = _retrieval_task()
        # Keras 3 runs its steps without autograph, and the task needs it.
        self._task = tf.function(
            lambda queries, candidates, probability, ids: task(
                queries,
                candidates,
                candidate_sampling_probability=probability,
                candidate_ids=ids,
                compute_metrics=False,
                compute_batch_metrics=False,
            )
        )

    def rows(self, history: Any, target: Any) -> Any:
        """Rows to encode, int [R]: the distinct rows of the batch, then the negatives."""
        return batch_and_negatives(self, history, target)

    def loss(self, queries: Any, targets: Any, vectors: Any, rows: Any, past: Any = None) -> Any:
        """Loss at each position.

        Args:
            queries: float [N, D], scaled by the temperature.
            targets: int [N], places in `rows`.
            vectors: float [R, D], the vectors of `rows`.
            rows: int [R], the last `negatives` of which are the negatives.
            past: what the users had had; TFRS's task has no place for it, and it competes.

        Returns:
            float [N].
        """
        first = tf.shape(rows)[0] - self.negatives
        # Places are joined, not vectors: XLA mistakes the gradient of a concatenation whose sizes it does not know.
        places = tf.concat([targets, first + tf.range(self.negatives)], axis=0)
        candidates, ids = tf.gather(vectors, places), tf.gather(rows, places)
        probability = self.sampling_probability(ids, tf.shape(targets)[0])
        stated = tf.maximum(probability, TFRS_SMALLEST)
        # One more dimension carries log(stated / probability), 0 for all but the rarest items, into their logits.
        queries = tf.concat([queries, tf.ones_like(queries[:, :1])], axis=1)
        candidates = tf.concat([candidates, tf.math.log(stated / probability)[:, None]], axis=1)
        return self._task(queries, candidates, stated, ids)

    def sampling_probability(self, ids: Any, in_batch: Any) -> Any:
        """Probability of drawing each candidate, float [C], up to a common factor that makes the largest 1.

        Args:
            ids: int [C], rows of the catalogue.
            in_batch: int [], the number N of targets in the batch.
        """
        in_batch = tf.cast(in_batch, tf.float32)
        uniform = self.negatives / len(self.trained_rows)
        mixed = in_batch * tf.gather(self.popularity, ids) + uniform
        return tf.maximum(mixed / (in_batch * float(self.popularity.max()) + uniform), RAREST)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "trained": self.trained_rows.tolist(),
            "counts": self.counts.tolist(),
            "negatives": self.negatives,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TFRSRetrieval:
        """Rebuild the objective."""
        return cls(**config)


def recommenders() -> Any:
    """The library TensorFlow Recommenders; imported here, where it is first needed.

    Raises:
        ValueError: it does not import.
    """
    try:
        import tensorflow_recommenders
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            "tensorflow_recommenders did not import: it needs the variable TF_USE_LEGACY_KERAS=1 before TensorFlow's "
            f"Keras is first used. Import tfrec before tensorflow, or set the variable. ({error})"
        ) from error
    return tensorflow_recommenders


def _retrieval_task() -> Any:
    """TFRS's task with a loss a position."""
    tfrs = recommenders()

    def per_position(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return log_sum_exp(y_pred) - tf.linalg.diag_part(y_pred)  # The labels are TFRS's: position i has candidate i.

    return tfrs.tasks.Retrieval(loss=per_position, remove_accidental_hits=True)
