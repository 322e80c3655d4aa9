"""Text models at random weights, sized for a catalogue's own texts, and the folder that a trained one leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.towers import text_files, text_models
from tfrec.towers.text_files import ABOUT
from tfrec.towers.text_models import TextModel

SCRATCH = "random weights"
EXPANSION = 4  # The feed-forward part's width, in widths of the model.


@dataclass(frozen=True)
class Shape:
    """How large a backbone is.

    Attributes:
        layers: transformer blocks.
        width: of a token's state; a multiple of `heads`.
        heads: of a block's attention.
        max_tokens: tokens of a text that can be read, marks included.
        dropout: share of activations dropped in training.
    """

    layers: int
    width: int
    heads: int
    max_tokens: int
    dropout: float = 0.1

    def arguments(self, tokenizer: Any) -> dict[str, Any]:
        """Those of a KerasHub backbone."""
        return {
            "vocabulary_size": tokenizer.vocabulary_size(),
            "num_layers": self.layers,
            "num_heads": self.heads,
            "hidden_dim": self.width,
            "intermediate_dim": EXPANSION * self.width,
            "max_sequence_length": self.max_tokens,
            "dropout": self.dropout,
            "dtype": "float32",
        }


def bert(tokenizer: Any, shape: Shape) -> TextModel:
    """A BERT for the tokenizer, its vectors the mean over the tokens."""
    import keras_nlp

    backbone = keras_nlp.models.BertBackbone(**shape.arguments(tokenizer))
    return TextModel(SCRATCH, tokenizer, backbone, "mean", shape.max_tokens)


def gpt2(tokenizer: Any, shape: Shape) -> TextModel:
    """A GPT-2 for the tokenizer, its vectors those of the closing mark."""
    import keras_nlp

    backbone = keras_nlp.models.GPT2Backbone(**shape.arguments(tokenizer))
    return TextModel(SCRATCH, tokenizer, backbone, "last", shape.max_tokens, causal=True)


def check_destination(folder: Path) -> None:
    """Refuse a folder that is none of `save`'s.

    Raises:
        ValueError: it holds something else.
    """
    if folder.exists() and not (folder / ABOUT).is_file():
        raise ValueError(f"{folder} holds something else than a pretrained text model: name another folder by --out.")


def save(model: TextModel, folder: Path, about: Mapping[str, Any], sample: Sequence[str]) -> None:
    """Write a preset that `text_models.load` reads; it appears whole, in place of what the folder held.

    Args:
        model: tokenizer and backbone.
        folder: where to.
        about: what is said of it, in `pretraining.json`.
        sample: texts whose vectors the written preset must give as the model does.

    Raises:
        ValueError: `folder` holds something else, or the preset reads a text otherwise than the model.
    """
    check_destination(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.backbone.save_to_preset(str(partial))
        model.tokenizer.save_to_preset(str(partial))
        _compare(model, text_models.load(partial, pooling=model.pooling, max_tokens=model.max_tokens), sample)
        checksum = text_files.file_hash(partial / text_files.WEIGHTS)
        said = {**about, "reading": text_files.READING, text_files.WEIGHTS_SHA256: checksum}
        (partial / ABOUT).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _compare(model: TextModel, written: TextModel, sample: Sequence[str]) -> None:
    """Refuse a written preset that is not the model."""
    here, there = (one.tokens(tf.constant(list(sample), tf.string)) for one in (model, written))
    if not all(np.array_equal(ours, theirs) for ours, theirs in zip(here, there, strict=True)):
        raise ValueError("the written text model splits texts otherwise than the trained one: nothing was kept.")
    if not np.allclose(model.vectors(*here), written.vectors(*here), atol=1e-5):
        raise ValueError("the written text model gives other vectors than the trained one: nothing was kept.")
