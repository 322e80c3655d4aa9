"""The attention between the words of users' and items' texts that a ranker's settings ask for, and the items' words."""

from __future__ import annotations

import numpy as np

from tfrec import config
from tfrec.build.text import refuse_too_many_words, text_encoder
from tfrec.data import Dataset
from tfrec.features import TEXT
from tfrec.ranking import WordAttention


def item_words(data: Dataset, settings: config.Model, ranking: config.Ranking) -> np.ndarray | None:
    """float16 [I, K, W], the words of the catalogue; None where `ranking.interactions` reads none.

    Args:
        data: the prepared data set.
        settings: the section `model`, with `text.source` decided.
        ranking: the section `ranking`.

    Raises:
        ValueError: there is no text model, users or items have no text, or their words would fill the memory.
    """
    if not ranking.reads_words:
        return None
    encoder = text_encoder(settings.text)
    told = "ranking.interactions names word_attention, which reads the words of users' and items' texts, and"
    if encoder is None:
        raise ValueError(f"{told} no text model reads them: model.text.source is none, or MiniLM is not installed.")
    if not settings.user_text:
        raise ValueError(f"{told} model.user_text is false: leave one of them out.")
    for texts, what, where in (
        (data.user_texts, "users", "data.users.text"),
        (data.items[TEXT].tolist(), "items", "data.items.text"),
    ):
        if not any(text.strip() for text in texts):
            raise ValueError(f"{told} the {what} have none: name columns that hold some in {where}.")
    vectors = encoder.embed(data.user_texts[:1])
    refuse_too_many_words(len(data.items), vectors.shape[1], ranking, "items")
    return encoder.words(data.items[TEXT].tolist(), ranking.words)


def word_attention(settings: config.Model, ranking: config.Ranking, words: np.ndarray | None) -> WordAttention | None:
    """The layer with what `item_words` gives; None for None."""
    if words is None:
        return None
    items, most, width = words.shape
    attention = WordAttention(
        settings.dim,
        items,
        width,
        most,
        heads=ranking.heads,
        dropout=settings.dropout,
        hidden=settings.input_dropout,
        name="word_attention",
    )
    attention.set_words(words)
    return attention
