"""What the section `pretraining` becomes: the catalogue's texts, a text model, its objective and its optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfrec import config
from tfrec.build.optimization import optimizer
from tfrec.build.simulation import made_up, simulated_options
from tfrec.build.tables import prepare_options, tables
from tfrec.build.text import text_encoder
from tfrec.data.items import read_items
from tfrec.features import TEXT
from tfrec.towers import text_models, text_scratch, text_vocabulary
from tfrec.towers.masked_language import MaskedLanguageModel
from tfrec.towers.next_token import NextTokenModel
from tfrec.towers.text_models import TextModel

WARMUP = 0.1  # Of the steps.
# Learning rates where the settings name none: of a new model, and of one that is gone on with.
NEW_RATE, CONTINUED_RATE = 1e-3, 1e-4


def catalogue_texts(data: config.Data) -> list[str]:
    """The distinct texts of the items, in the table's order, the empty ones left out.

    Raises:
        FileNotFoundError: the table of items is not there.
        ValueError: there is no such table or no text column, or the table cannot be read.
    """
    if data.made_up:
        texts = read_items(made_up(data).items, simulated_options(data).items)[TEXT]
    else:
        _, items, _ = tables(data)
        if data.items is None or items is None:
            raise ValueError("data.items is missing: tfrec pretrain learns from the texts of the items.")
        if not data.items.text:
            raise ValueError("data.items.text names no column: tfrec pretrain learns from the texts of the items.")
        texts = read_items(items, prepare_options(data).items)[TEXT]
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if not distinct:
        raise ValueError("data.items.text: every text is empty, and there is nothing to learn from.")
    return distinct


def language_model(settings: config.Pretraining, texts: Sequence[str], seed: int) -> TextModel:
    """The text model that is to be trained: a new one at its seed's random weights, or the one to go on from.

    Raises:
        ValueError: the source cannot be loaded, the texts give no vocabulary.
    """
    keras.utils.set_random_seed(seed)
    if settings.source is not None:
        return _continued(settings.source, settings)
    learn, make = {
        "bert": (text_vocabulary.word_pieces, text_scratch.bert),
        "gpt2": (text_vocabulary.byte_pairs, text_scratch.gpt2),
    }[settings.architecture]
    tokenizer = learn(texts, settings.vocabulary)
    heads = settings.resolved_heads
    shape = text_scratch.Shape(settings.layers, settings.width, heads, settings.max_tokens, settings.dropout)
    return make(tokenizer, shape)


def language_objective(
    model: TextModel, settings: config.Pretraining, seed: int
) -> MaskedLanguageModel | NextTokenModel:
    """What the model is asked: hidden tokens of a BERT, next tokens of a GPT-2.

    Raises:
        ValueError: the model is not of the kind that `architecture` says.
    """
    if model.causal != (settings.architecture == "gpt2"):
        kind, other = ("causal", "gpt2") if model.causal else ("not causal", "bert")
        raise ValueError(
            f"pretraining.source: {settings.source!r} ({type(model.backbone).__name__}) is {kind}, and "
            f"pretraining.architecture is {settings.architecture}: set architecture: {other}, or name another source."
        )
    return NextTokenModel(model) if model.causal else MaskedLanguageModel(model, settings.mask, seed)


def language_optimizer(settings: config.Pretraining, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """AdamW; its rate rises over the first tenth of the steps, an epoch at most, and falls along a cosine."""
    chosen = config.Training(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate or (CONTINUED_RATE if settings.source else NEW_RATE),
        weight_decay=settings.weight_decay,
        warmup_steps=round(WARMUP * settings.epochs * steps_per_epoch),
        schedule="cosine",
    )
    return optimizer(chosen, steps_per_epoch)


def _continued(source: str, settings: config.Pretraining) -> TextModel:
    try:
        encoder = text_encoder(config.Text(source=source))
        assert encoder is not None
        return text_models.load(encoder.preset, max_tokens=settings.max_tokens)
    except ValueError as error:
        message = str(error).replace("model.text.source", "pretraining.source")
        raise ValueError(message.replace("`max_tokens`", "pretraining.max_tokens")) from error
