"""Tokenizers learnt from a catalogue's own texts, in any language: WordPiece and byte-level BPE; before pretraining."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfrec.towers.text_models import LONG_RUNS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
END = "<|endoftext|>"
BYTES = 256
SUFFIX = "##"
# A longer piece must occur this often: what occurs once teaches nothing.
LEAST_COUNT = 2
# Code points that stand for characters while pieces are learnt: no text means anything by them.
_PRIVATE = (*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))
# KerasHub's BERT tokenizer takes longer words for unknown ones; `TextModel.tokens` cuts most of them before.
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
    pieces = [*SPECIAL, *_characters(splitter, words)][:size]
    pieces += _joined_pieces(words, set(pieces), size - len(pieces))
    accents = any(unicodedata.combining(c) for piece in pieces for c in unicodedata.normalize("NFD", piece))
    return keras_nlp.models.BertTokenizer(pieces, lowercase=True, strip_accents=not accents)


def byte_pairs(texts: Sequence[str], size: int) -> Any:
    """A GPT-2 tokenizer whose byte-level BPE vocabulary is learnt from texts: no word of any language is unknown.

    Args:
        texts: the texts.
        size: most tokens: the end mark, the 256 bytes, and what is joined of them, at least one pair.

    Returns:
        A `keras_nlp` `GPT2Tokenizer`.

    Raises:
        ValueError: `size` leaves no room for the bytes and a pair, or the texts hold no pair.
    """
    import keras_nlp

    if size < BYTES + 2:
        raise ValueError(f"`size` must be {BYTES + 2} or more for byte-level BPE; received {size}.")
    learnt = _learn_bytes(texts, size, LEAST_COUNT)
    if not learnt["merges"]:  # Few and short texts: what occurs once has to do.
        learnt = _learn_bytes(texts, size, 1)
    if not learnt["merges"]:
        raise ValueError("`texts` hold no word of two bytes: there is no vocabulary to learn.")
    return keras_nlp.models.GPT2Tokenizer(learnt["vocab"], [" ".join(pair) for pair in learnt["merges"]])


def _learn_bytes(texts: Sequence[str], size: int, least_count: int) -> dict[str, Any]:
    """`vocab`, token -> id, and `merges`, pairs in their order."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=least_count,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def _splitter() -> Any:
    """Splits a text into words as KerasHub's BERT tokenizer does."""
    from tokenizers import Regex, pre_tokenizers

    dropped = pre_tokenizers.Split(Regex(_BLANKS), "removed")
    return pre_tokenizers.Sequence([dropped, pre_tokenizers.Split(Regex(_ALONE), "isolated")])


def _count_words(splitter: Any, texts: Iterable[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        for run, cut in LONG_RUNS:
            text = re.sub(run, cut, text)
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


def _forms(word: str) -> list[str]:
    """The characters of a word, all but the first as they are written inside a word."""
    return [SUFFIX * (place > 0) + character for place, character in enumerate(word)]


def _characters(splitter: Any, words: Counter[str]) -> list[str]:
    """Every character as it begins a word or goes on with one, the most frequent first; then in the other of the two.

    The other form serves words to come; a character that is always a word of its own has none.
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for form in _forms(word):
            if not form[-1].isspace():
                counts[form] += count
    seen = sorted(counts, key=lambda form: (-counts[form], form))
    inner = [c for c in sorted({form[-1] for form in seen}) if len(splitter.pre_tokenize_str(f"a{c}a")) == 1]
    return seen + [form for c in inner for form in (c, SUFFIX + c) if form not in counts]


def _joined_pieces(words: Counter[str], known: set[str], count: int) -> list[str]:
    """The `count` longer pieces of words with known characters alone, in the order in which they are learnt.

    To the trainer each form of a character is a character by itself: `tokenizers` has a trainer for WordPiece, but what
    that one learns differs from call to call.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    spelled = {word: _forms(word) for word in sorted(words)}
    spelled = {word: forms for word, forms in spelled.items() if known.issuperset(forms)}
    forms = sorted({form for word in spelled.values() for form in word})[: len(_PRIVATE)]
    if count < 1 or not forms:
        return []
    private = {form: chr(point) for form, point in zip(forms, _PRIVATE, strict=False)}
    lines = ("".join(private.get(form, " ") for form in word) for word in spelled.values())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=len(forms) + count, min_frequency=LEAST_COUNT, show_progress=False)
    often = (" ".join([line] * words[word]) for word, line in zip(spelled, lines, strict=True))
    tokenizer.train_from_iterator(often, trainer)
    learnt: dict[str, int] = tokenizer.get_vocab()
    public = {character: form for form, character in private.items()}
    longer = sorted((piece for piece in learnt if len(piece) > 1), key=lambda piece: learnt[piece])
    return [public[piece[0]] + "".join(public[c].removeprefix(SUFFIX) for c in piece[1:]) for piece in longer]
