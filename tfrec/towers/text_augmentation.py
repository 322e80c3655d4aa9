"""Texts with words deleted and moved, as training may see them; between the catalogue and the text model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

# Scripts without blanks whose characters stand for words, or parts of them; the last is Japanese's mark of length.
_CHARACTER = r"([\p{Han}\p{Hiragana}\p{Katakana}\x{30FC}])"
_MARK = "\x1f"  # Stands at both sides of such a character, so that two of them can be joined again without a blank.
_STEPS = 2**24  # A random number is one of so many.


@dataclass(frozen=True)
class TextAugmentation:
    """Random deletion and random swap of the words of a text, as in EDA (Wei and Zou, 2019, arXiv:1901.11196).

    What blanks part is a word, and so is each Chinese or Japanese character. One word of a text always stays. What is
    done to a text follows from the text and the seed alone, whatever stands beside it.

    Attributes:
        drop: how likely a word is deleted.
        swap: how likely a word is one of those that change places, at random.
    """

    drop: float
    swap: float

    def __post_init__(self) -> None:
        """Refuse what would leave nothing of a text, or change nothing."""
        for name in ("drop", "swap"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 0 and below 1; received {getattr(self, name)}.")
        if not (self.drop or self.swap):
            raise ValueError("`drop` and `swap` are both 0, which changes no text; received 0.0 and 0.0.")

    def __call__(self, texts: Any, seed: Any) -> Any:
        """String [N]: the texts, string [N], changed as `seed`, whole numbers of any shape, says; also in a graph."""
        texts = tf.convert_to_tensor(texts, tf.string)
        seed = tf.strings.as_string(tf.reshape(tf.cast(seed, tf.int64), [-1]))
        source = tf.strings.as_string(tf.strings.to_hash_bucket_fast(texts, 2**62))
        source = tf.strings.join([tf.strings.reduce_join(seed, separator=","), source], separator=":")
        words = _swapped(self._kept(_words(texts), source), source, self.swap)
        joined = tf.strings.reduce_join(words, axis=-1, separator=" ")
        joined = tf.strings.regex_replace(joined, f"{_MARK} {_MARK}", "")
        return tf.strings.regex_replace(joined, _MARK, "")

    def _kept(self, words: Any, source: Any) -> Any:
        """Ragged string [N, words]: those that are not deleted, the luckiest one in any case."""
        luck = _uniform(words, source, "drop")
        best = tf.gather(tf.reduce_max(luck, axis=1), words.value_rowids())
        return tf.ragged.boolean_mask(words, luck.with_values((luck.values >= self.drop) | (luck.values >= best)))


def _words(texts: Any) -> Any:
    """Ragged string [N, words]."""
    blank = tf.strings.regex_replace(texts, r"\p{Z}", " ")
    return tf.strings.split(tf.strings.regex_replace(blank, _CHARACTER, rf" {_MARK}\1{_MARK} "))


def _swapped(words: Any, source: Any, share: float) -> Any:
    """The words, a share of each text's in another order among themselves."""
    chosen = tf.where(_uniform(words, source, "swap").values < share)[:, 0]
    places = tf.cast(tf.gather(words.value_rowids(), chosen), tf.float64)
    order = tf.argsort(places + tf.gather(_uniform(words, source, "place").values, chosen))
    index = tf.range(tf.size(words.values, tf.int64))
    index = tf.tensor_scatter_nd_update(index, chosen[:, None], tf.gather(chosen, order))
    return words.with_values(tf.gather(words.values, index))


def _uniform(words: Any, source: Any, purpose: str) -> Any:
    """Ragged float64 [N, words], at least 0 and below 1: a hash of the text and its seed, the purpose and the place."""
    place = tf.strings.as_string(tf.ragged.range(words.row_lengths()).values)
    keys = tf.strings.join([tf.gather(source, words.value_rowids()), purpose, place], separator=":")
    return words.with_values(tf.cast(tf.strings.to_hash_bucket_fast(keys, _STEPS), tf.float64) / _STEPS)
