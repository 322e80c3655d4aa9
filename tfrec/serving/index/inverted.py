"""An inverted file in a graph: a query reads the lists that are worth most to it, and answers with the best of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import PAD
from tfrec.retrieval.ranks import REMOVED
from tfrec.serving.index.lists import DEVIATIONS
from tfrec.serving.index.probes import Probes


class InvertedFile:
    """Answers queries from some lists of items, of which each is a range of rows.

    A query reads at least `probes.lists` of the lists, and so many that they hold an answer and all that its user has
    seen: an answer is never shorter than it would be from all items.
    """

    def __init__(self, probes: Probes, starts: tf.Variable, scores_of: Callable[[Any, Any], Any], width: int) -> None:
        """Create the variables.

        Args:
            probes: the summaries of the lists, and how many are read.
            starts: int32 [L + 1], the row where each list begins, and the end.
            scores_of: (query float32 [D], rows int32 [N]) -> scores float32 [N].
            width: items of an answer; all lists together hold as many.
        """
        self._probes, self._starts, self._scores_of, self._width = probes, starts, scores_of, width
        summaries = probes.summaries
        self._means = tf.Variable(summaries.means, trainable=False, name="list_means")
        self._spreads = tf.Variable(summaries.spreads, trainable=False, name="list_spreads")

    @property
    def variables(self) -> list[tf.Variable]:
        """What a saved graph must track besides the starts."""
        return [self._means, self._spreads]

    def best(self, queries: Any, seen: Any) -> tuple[Any, Any]:
        """The best rows of each query, one query after the other: so many vectors are read that their sum would count.

        Args:
            queries: float32 [B, D].
            seen: int32 [B, S], rows that the query is not answered with, and `PAD`; S may be 0.

        Returns:
            int32 [B, width] rows, best first, and float32 scores of the same shape; where nothing is left the score is
            `REMOVED`, and the row any.
        """
        shapes = tf.TensorSpec([self._width], tf.int32), tf.TensorSpec([self._width], tf.float32)
        found = tf.map_fn(lambda one: self._best(*one), (queries, seen), fn_output_signature=shapes)
        return found[0], found[1]

    def _best(self, query: Any, seen: Any) -> tuple[Any, Any]:
        """`best` for query float32 [D] and seen int32 [S]."""
        rows = self._rows(query, self._width + tf.math.count_nonzero(seen != PAD, dtype=tf.int32))
        scores = self._scores_of(query, rows)
        top = tf.math.top_k(scores, tf.minimum(tf.size(rows), self._width + tf.size(seen)))
        rows = tf.gather(rows, top.indices)
        known = tf.concat([tf.sort(seen), [np.iinfo(np.int32).max]], axis=0)
        left = tf.gather(known, tf.searchsorted(known, rows)) != rows
        scores = tf.concat([tf.where(left, top.values, REMOVED), tf.fill([self._width], REMOVED)], axis=0)
        top = tf.math.top_k(scores, self._width)
        return tf.gather(tf.pad(rows, [[0, self._width]], constant_values=PAD), top.indices), top.values

    def _rows(self, query: Any, needed: Any) -> Any:
        """int32 [N]: the rows of the worthiest lists, at least `needed` where there are as many."""
        summaries, enough = self._probes.summaries, self._probes.lists
        worth = tf.linalg.matvec(self._means, query) + DEVIATIONS * tf.norm(query) * self._spreads
        # No list is empty, so that as many lists as rows are needed hold them in any case.
        most = tf.minimum(len(summaries.means), tf.maximum(enough, needed))
        lists = tf.math.top_k(worth, most).indices
        first, end = tf.gather(self._starts, lists), tf.gather(self._starts, lists + 1)
        before = tf.cumsum(end - first, exclusive=True)
        read = (tf.range(most) < enough) | (before < needed)
        return tf.ragged.range(first, tf.where(read, end, first), row_splits_dtype=tf.int32).flat_values
