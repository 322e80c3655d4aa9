"""Titles with words that follow one another, and text models of a few thousand weights, for tests that pretrain."""

import numpy as np

from tfrec.towers import text_scratch, text_vocabulary
from tfrec.towers.text import TextEncoder
from tfrec.towers.text_models import TextModel

COLOURS, THINGS = ("red", "blue", "green", "black"), ("running shoes", "rain coat", "winter hat")
STRANGE = ("跑步鞋 男士", "🎁 box 👨‍👩‍👧", "Café crème", "x" * 300)
SHAPE = text_scratch.Shape(layers=1, width=16, heads=2, max_tokens=12, dropout=0.1)


def titles(count: int = 60) -> list[str]:
    """Distinct titles: a colour, a thing, a size; the last four are strange."""
    rng = np.random.default_rng(0)
    made = dict.fromkeys(
        f"{rng.choice(COLOURS)} {rng.choice(THINGS)}, size {rng.integers(100)}" for _ in range(20 * count)
    )
    return [*list(made)[: count - len(STRANGE)], *STRANGE]


def bert(texts: list[str] | None = None, size: int = 200) -> TextModel:
    """A BERT with a vocabulary of the texts."""
    return text_scratch.bert(text_vocabulary.word_pieces(texts or titles(), size), SHAPE)


def gpt2(texts: list[str] | None = None, size: int = 300) -> TextModel:
    """A GPT-2 with a vocabulary of the texts."""
    return text_scratch.gpt2(text_vocabulary.byte_pairs(texts or titles(), size), SHAPE)


class Hashed(TextEncoder):
    """An encoder whose vectors, 8 wide, follow from the bytes of a text alone; no weights are loaded."""

    def embed(self, texts, *, tell=True):
        draw = lambda text: np.random.default_rng(list(text.encode())).normal(size=8)  # noqa: E731
        return np.stack([draw(text) / 3 if text.strip() else np.zeros(8) for text in texts]).astype("float32")
