"""What `model.text` becomes: the text model by its name, what of it trains, and the vectors of texts."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrec import config
from tfrec.data import Dataset
from tfrec.features import TEXT
from tfrec.retrieval import Texts, TextTunedTwoTower, TwoTower
from tfrec.towers import text_models, text_weights
from tfrec.towers.masked_language import MaskedLanguageModel
from tfrec.towers.text import INSTALL_MINILM, TextEncoder, minilm_folder, minilm_is_installed
from tfrec.towers.text_augmentation import TextAugmentation
from tfrec.towers.text_files import ABOUT, READING, folder_hash
from tfrec.towers.text_tuning import Tuning, tune

# What the settings leave open, by tuning: the size (see `text_tuning.Tuning`), the learning rate of the text model, and
# the weight of the masked-language-model loss.
SIZES = {"lora": 4, "adapter": 32, "prefix": 8, "partial": 2}
WHOLE_RATE, ADDED_RATE, MASK_WEIGHT, SHARE = 2e-5, 1e-4, 0.1, 0.25
VARIANTS = 4  # Augmented variants of each text of a frozen text model, where the settings say no number.
# Vectors of one text may differ by this much, from batch to batch and machine to machine.
SAME_VECTOR = 1e-3
# What the words of all items, or of all users' texts, may take.
MOST_WORD_BYTES = 2**31
# The largest catalogue whose texts `auto` reads: MiniLM takes about ten minutes for as many titles on one core.
MOST_ITEMS = 100_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadTexts:
    """What a model reads of texts.

    Attributes:
        vectors: float32 [I, W], those of the items' texts; None where they are not read.
        variants: float32 [V, I, W], those that training reads in their place at times; None for none.
        user_width: W where the users' texts are read, whose vectors are in the batches; else 0.
    """

    vectors: np.ndarray | None
    variants: np.ndarray | None
    user_width: int


def read_texts(
    data: Dataset,
    settings: config.Model,
    augmentation: config.TextAugmentation | None,
    ranking: config.Ranking | None = None,
) -> ReadTexts:
    """The texts of items and users as a model reads them; its source is decided, the arguments of `read_user_texts`.

    Raises:
        ValueError: see `read_user_texts` and `text_variants`.
    """
    variants = text_variants(data.items[TEXT], settings.text, augmentation)
    users = read_user_texts(data, settings, augmentation, ranking)
    return ReadTexts(text_vectors(data.items[TEXT], settings.text), variants, users)


def decided_text(settings: config.Text, data: Dataset, *, tell: bool = False) -> config.Text:
    """The settings with `source: auto` decided: MiniLM, where it is installed and there are texts, but not too many.

    Args:
        settings: the section `model.text`.
        data: the data set, with the texts of its items and users.
        tell: say it where MiniLM is missed.
    """
    if settings.source != "auto":
        return settings
    texts = data.items[TEXT].str.strip().any() or bool(data.user_texts)
    source = "minilm" if texts and len(data.items) <= MOST_ITEMS else "none"
    if source == "minilm" and not minilm_is_installed():
        source = "none"
        if tell:
            logger.warning("model.text: the texts are not read: run `%s`, or say `text: none`", INSTALL_MINILM)
    return settings.model_copy(update={"source": source})


def text_mark(settings: config.Text) -> str | None:
    """A hash of what the settings name by its place: a local text model, tuned weights; and of how texts are read.

    None where no text is.

    Raises:
        ValueError: `tuned` holds no tuned weights, or damaged ones.
    """
    if settings.source == "none" or (settings.source == "auto" and not minilm_is_installed()):
        return None
    marks = [str(READING)]
    if settings.source not in ("auto", "minilm") and Path(settings.source).is_dir():
        marks.append(folder_hash(Path(settings.source)))
    if settings.tuned is not None:
        marks.append(text_weights.read(settings.tuned)["sha256"])
    return hashlib.sha256("".join(marks).encode()).hexdigest()


def text_provenance(settings: config.Text) -> str:
    """Where the weights of a text model come from, in words for a table; nothing is called pretrained unread."""
    origin = _origin(settings.source)
    return origin if settings.tuned is None else f"{origin}, tuned: {settings.tuned}"


def _origin(source: str) -> str:
    if source in ("none", "auto", "minilm"):
        return f"{source} (pretrained)" if source == "minilm" else source
    folder = Path(source)
    if not folder.is_dir():
        local = "://" not in source and (os.sep in source or source.startswith("."))
        return f"{source} ({'there is no such folder' if local else 'published preset'})"
    try:
        return f"{folder.name} ({json.loads((folder / ABOUT).read_text(encoding='utf-8'))['origin']})"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{folder.name} (a folder that does not say where its weights come from)"


def text_encoder(settings: config.Text, tuned: Path | None = None) -> TextEncoder | None:
    """What embeds texts as the settings say, MiniLM where they leave it open; None for `source: none`.

    Args:
        settings: the section `model.text`.
        tuned: a folder of tuned weights, which goes before that of the settings.

    Raises:
        ValueError: MiniLM is asked for and its weights are absent or damaged.
    """
    if settings.source == "none":
        return None
    chosen = tuned or settings.tuned
    return TextEncoder(_source(settings), pooling=settings.pooling, max_tokens=settings.max_tokens, tuned=chosen)


def text_vectors(texts: Iterable[Any], settings: config.Text) -> np.ndarray | None:
    """float32 [N, W]: the frozen vectors of texts; None for `source: none`."""
    encoder = text_encoder(settings)
    return None if encoder is None else encoder.embed([str(text) for text in texts])


def text_variants(
    texts: Iterable[Any], settings: config.Text, augmentation: config.TextAugmentation | None
) -> np.ndarray | None:
    """float32 [V, N, W]: the frozen vectors of augmented variants of N texts, zeros where one says nothing.

    They follow from each text alone, so that all trainings on it share them.

    Returns:
        None where nothing is augmented beforehand: without `augmentation`, or where the text model trains.

    Raises:
        ValueError: texts are to be augmented, and none is read.
    """
    if augmentation is None:
        return None
    encoder = text_encoder(settings)
    if encoder is None:
        raise ValueError(
            "training.text_augmentation is set, and no text is read: model.text is none, or `auto`, which decides for "
            "none where there are no texts, too many, or MiniLM is not installed. Name a text model, or leave it out."
        )
    if settings.tuning != "frozen":
        return None
    augmented, plain = augments(augmentation), [str(text) for text in texts]
    numbers = range(1, (augmentation.variants or VARIANTS) + 1)
    changed = [text.decode() for number in numbers for text in augmented(plain, number).numpy().tolist()]
    vectors = encoder.embed(changed, tell=False)
    return vectors.reshape(len(numbers), len(plain), -1)


def augments(settings: config.TextAugmentation) -> TextAugmentation:
    """What changes texts as the settings say."""
    return TextAugmentation(settings.drop, settings.swap)


def tuning(settings: config.Text) -> Tuning | None:
    """What of the text model trains; None where nothing does."""
    if settings.tuning == "frozen":
        return None
    kind = "full" if settings.tuning == "joint" else settings.tuning
    return Tuning(kind, settings.size or SIZES.get(kind, 1))


def text_tuned(
    model: TwoTower,
    data: Dataset,
    settings: config.Text,
    *,
    seed: int | None = None,
    augmentation: config.TextAugmentation | None = None,
) -> TextTunedTwoTower:
    """A two-tower model together with its text model, of which the settings say what trains.

    Args:
        model: what `two_tower` returned for the same settings.
        data: the data set.
        settings: the section `model.text`, its tuning not `frozen`.
        seed: what is added to the text model starts from it; None leaves Keras's state as it is.
        augmentation: how training changes the texts; None for not at all.

    Raises:
        ValueError: `tuning: frozen`, or the text model does not allow the tuning.
    """
    chosen = tuning(settings)
    if chosen is None:
        raise ValueError(f"`settings` must tune something; received tuning={settings.tuning!r}.")
    text = text_models.load(_source(settings), pooling=settings.pooling, max_tokens=settings.max_tokens)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    text = tune(text, chosen)
    masked = MaskedLanguageModel(text, name="masked_language") if settings.tuning == "joint" else None
    texts = Texts.of(data.items[TEXT], text, None if augmentation is None else augments(augmentation))
    return TextTunedTwoTower(
        model,
        text,
        texts,
        counts=data.items["count"],
        share=settings.share or SHARE,
        masked=masked,
        mask_weight=settings.mask_weight or MASK_WEIGHT,
        name="text_tuned",
    )


def text_rate(settings: config.Text) -> float:
    """The learning rate of the text model."""
    whole = settings.tuning in ("partial", "full", "joint")
    return settings.learning_rate or (WHOLE_RATE if whole else ADDED_RATE)


def _source(settings: config.Text) -> str | Path:
    return minilm_folder() if settings.source in ("auto", "minilm") else settings.source


def read_user_texts(
    data: Dataset,
    settings: config.Model,
    augmentation: config.TextAugmentation | None = None,
    ranking: config.Ranking | None = None,
) -> int:
    """Let the batches of a data set carry the vectors of its users' texts, where a model with these settings reads any.

    Args:
        data: the data set.
        settings: the section `model`.
        augmentation: how training changes the texts; None for not at all.
        ranking: the section `ranking`; where it names `word_attention`, batches carry the words of those texts too.

    Returns:
        The width of the vectors; 0 where the users have no texts, or the settings want none.

    Raises:
        ValueError: the text model is to be tuned: the texts of users are read by a frozen one.
    """
    text = decided_text(settings.text, data)
    if not (settings.user_text and text.source != "none" and data.user_texts):
        return 0
    if text.tuning != "frozen":
        raise ValueError(
            f"model.text.tuning is {text.tuning!r}, and the users have texts (data.users.text), which only a "
            "frozen text model reads: set model.user_text to false, or tuning to frozen."
        )
    encoder = text_encoder(text)
    assert encoder is not None
    vectors, words = encoder.embed(data.user_texts), None
    if ranking is not None and ranking.reads_words:
        refuse_too_many_words(len(data.user_texts), vectors.shape[1], ranking, "texts of users")
        words = encoder.words(data.user_texts, ranking.words)
    data.set_text_vectors(vectors, text_variants(data.user_texts, text, augmentation), words)
    return vectors.shape[1]


def refuse_too_many_words(count: int, width: int, ranking: config.Ranking, what: str) -> None:
    """Refuse to hold the words of so many texts, each `width` numbers wide, where they would fill the memory.

    Raises:
        ValueError: they take more than `MOST_WORD_BYTES`.
    """
    needed = count * ranking.words * width * np.dtype("float16").itemsize
    if needed > MOST_WORD_BYTES:
        raise ValueError(
            f"ranking.words is {ranking.words}: the words of {count} {what} would take {needed / 2**30:.1f} GiB, and "
            f"{MOST_WORD_BYTES / 2**30:.1f} GiB is the most: lower it, or leave word_attention out of "
            "ranking.interactions."
        )
