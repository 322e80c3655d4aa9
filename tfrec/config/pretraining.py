"""Settings of `tfrec pretrain`: a text model that is learnt from the catalogue's own texts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tfrec.config.values import Count, Positive, Settings, Share

_OF_A_NEW_MODEL = ("vocabulary", "layers", "width", "heads", "dropout")
_BYTES = 256


class Pretraining(Settings):
    """What `tfrec pretrain` learns from the texts of the items, by itself; `tfrec run` leaves it alone."""

    source: str | None = Field(
        None,
        description="go on from `minilm`, a folder, a Keras Hub preset or a handle, and keep its tokenizer; `null`: "
        "learn a vocabulary and start at random weights",
    )
    architecture: Literal["bert", "gpt2"] = Field(
        "bert",
        description="`bert`: WordPiece and masked language modelling, `gpt2`: byte-level BPE and next-token "
        "prediction; a `source` must be of the kind, a masked or a causal model",
    )
    vocabulary: Annotated[int, Field(ge=32)] = Field(
        8000, description="most tokens of the vocabulary; fewer where the texts hold no more"
    )
    layers: Count = Field(4, description="transformer blocks")
    width: Count = Field(256, description="of a token's state, and of a text's vector")
    heads: Count | None = Field(None, description="of a block's attention; `null`: one for each 64 of the width")
    dropout: Share = Field(0.1, description="share of activations dropped in training")
    max_tokens: Annotated[int, Field(ge=3)] = Field(
        64, description="tokens of a text that are read, marks included; `model.text.max_tokens` can be no more"
    )
    mask: Annotated[float, Field(gt=0, lt=1)] = Field(0.15, description="share of a text's words that `bert` hides")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of the distinct texts that validate and are not learnt from"
    )
    epochs: Count = Field(20, description="passes over the texts, at most; the learning rate falls until the last")
    patience: Count | None = Field(3, description="epochs without a better perplexity before it stops; `null`: never")
    learning_rate: Positive | None = Field(
        None, description="of AdamW, after the warm-up; 1e-3 for a new model and 1e-4 for a `source` by default"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="of AdamW")
    tokens_per_batch: Count = Field(1024, description="tokens of a batch, padding included")

    @property
    def resolved_heads(self) -> int:
        """The heads that are set, else one for each 64 of the width, where they divide it."""
        if self.heads is not None:
            return self.heads
        return next(heads for heads in range(max(1, self.width // 64), 0, -1) if self.width % heads == 0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.heads is not None and self.width % self.heads:
            raise ValueError(f"width is {self.width} and heads {self.heads}: heads must divide width")
        if self.source == "none":
            raise ValueError("source is none; null starts at random weights")
        if self.source is not None:
            changed = [name for name in _OF_A_NEW_MODEL if getattr(self, name) != type(self).model_fields[name].default]
            if changed:
                raise ValueError(f"{changed[0]} is for a new model; source keeps its own")
        elif self.architecture == "gpt2" and self.vocabulary < _BYTES + 2:
            raise ValueError(
                f"vocabulary is {self.vocabulary}, and gpt2 needs {_BYTES + 2} or more: each byte, the end mark, a pair"
            )
        return self
