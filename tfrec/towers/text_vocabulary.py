"""Tokenizers learnt from a catalogue's own texts, in any language: WordPiece and byte-level BPE; before pretraining."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
END = "<|endoftext|>"
BYTES = 256
SUFFIX = "##"
# A longer piece must occur this often: what occurs once teaches nothing.
LEAST_COUNT = 2
# KerasHub's BERT tokenizer takes longer words for unknown ones.
_LONGEST_WORD = 100
# How `TextModel.tokens` and it split a text: these are dropped, ...
_BLANKS = r"[ \t\n\r\f]|\p{Z}|\p{Cc}|\p{Cf}"
# ... and each of these is a word of its own: punctuation, and Chinese characters, which need no blanks between words.
_ALONE = (
    r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}|[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2A6DF}]"
    r"|[\x{2A700}-\x{2B73F}]|[\x{2B740}-\x{2B81F}]|[\x{2B820}-\x{2CEAF}]|[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]"
)


def word_pieces(texts: Sequence[str], size: int) -> Any:
    """A BERT tokenizer, lower-casing, whose WordPiece vocabulary is learnt from texts.

    All characters of the texts come first, the most frequent ones where there is no room for all; a word with another
    character is unknown. Longer pieces follow, in the order in which pairs of pieces are joined by frequency. Accents
    stay, since other scripts write vowels that way, but where the texts have none: then a later "café" is read "cafe".

    Args:
        texts: the texts.
        size: most pieces, the five special ones included.

    Returns:
        A `keras_nlp` `BertTokenizer`.

    Raises:
        ValueError: `size` leaves no room for a character, or the texts hold none.
    """
    import keras_nlp

    if size <= len(SPECIAL):
        raise ValueError(f"`size` must be above {len(SPECIAL)}, the special tokens; received {size}.")
    splitter = _splitter()
    words = _folded(_count_words(splitter, texts))
    if not words:
        raise ValueError("`texts` hold no word: there is no vocabulary to learn.")
    pieces = [*SPECIAL, *_characters(splitter, words), *_joined_pieces(splitter, words, size)][:size]
    accents = any(unicodedata.combining(c) for piece in pieces for c in unicodedata.normalize("NFD", piece))
    return keras_nlp.models.BertTokenizer(pieces, lowercase=True, strip_accents=not accents)


def byte_pairs(texts: Sequence[str], size: int) -> Any:
    """A GPT-2 tokenizer whose byte-level BPE vocabulary is learnt from texts: no word of any language is unknown.

    Args:
        texts: the texts.
        size: most tokens: the end mark, the 256 bytes, and what is joined of them.

    Returns:
        A `keras_nlp` `GPT2Tokenizer`.

    Raises:
        ValueError: `size` leaves no room for the bytes.
    """
    import keras_nlp
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if size <= BYTES:
        raise ValueError(f"`size` must be above {BYTES}, the bytes, for byte-level BPE; received {size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=LEAST_COUNT,
        special_tokens=[END],
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    return keras_nlp.models.GPT2Tokenizer(learnt["vocab"], [" ".join(pair) for pair in learnt["merges"]])


def _splitter() -> Any:
    """Splits a text into words as KerasHub's BERT tokenizer does."""
    from tokenizers import Regex, pre_tokenizers

    dropped = pre_tokenizers.Split(Regex(_BLANKS), "removed")
    return pre_tokenizers.Sequence([dropped, pre_tokenizers.Split(Regex(_ALONE), "isolated")])


def _count_words(splitter: Any, texts: Iterable[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    return words


def _folded(words: Counter[str]) -> Counter[str]:
    """The words in lower case, as the tokenizer folds them in the graph (NFKC): it is not Python's `lower`."""
    import tensorflow_text

    folded: Counter[str] = Counter()
    lower = tensorflow_text.case_fold_utf8(tf.constant(list(words), tf.string)).numpy()
    for word, count in zip(lower, words.values(), strict=True):
        if 0 < len(word) <= _LONGEST_WORD:
            folded[word.decode("utf-8", "replace")] += count
    return folded


def _characters(splitter: Any, words: Counter[str]) -> list[str]:
    """Every character as it begins a word or goes on with one, the most frequent first; then in the other of the two.

    The other form serves words to come; a character that is always a word of its own has none.
    """
    forms: Counter[str] = Counter()
    for word, count in words.items():
        for place, character in enumerate(word):
            if not character.isspace():
                forms[SUFFIX * (place > 0) + character] += count
    seen = sorted(forms, key=lambda form: (-forms[form], form))
    inner = [c for c in sorted({form[-1] for form in seen}) if len(splitter.pre_tokenize_str(f"a{c}a")) == 1]
    return seen + [form for c in inner for form in (c, SUFFIX + c) if form not in forms]


def _joined_pieces(splitter: Any, words: Counter[str], size: int) -> list[str]:
    """The longer pieces, in the order in which they are learnt."""
    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=LEAST_COUNT, show_progress=False, limit_alphabet=size
    )
    repeated = (" ".join([word] * count) for word, count in sorted(words.items()))
    tokenizer.train_from_iterator(repeated, trainer)
    learnt: dict[str, int] = tokenizer.get_vocab()
    return [piece for piece in sorted(learnt, key=lambda one: learnt[one]) if len(piece.removeprefix(SUFFIX)) > 1]
