"""Settings of the two towers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tfrec.config.values import Count, Positive, Settings, Share, one_or_more

Branch = Literal["attention", "lstm", "convolution"]


class Text(Settings):
    """Where the texts of the items become vectors."""

    source: str = Field(
        "none",
        description="`none`, `minilm`, a folder with a Keras preset (relative to the working directory), or the name "
        "of a Keras Hub preset",
    )
    tuning: Literal["frozen"] = Field("frozen", description="what of the text tower is trained: nothing")


class Attention(Settings):
    """Causal self-attention over the history."""

    blocks: Count = Field(2, description="layers")
    heads: Count = Field(2, description="heads of a layer; `model.dim` is a multiple of it")
    expansion: Count = Field(4, description="width of the feed-forward part, in multiples of `model.dim`")


class Lstm(Settings):
    """A recurrent pass over the history."""

    layers: Count = Field(1, description="layers")
    units: Count | None = Field(None, description="width; `model.dim` by default")


class Convolution(Settings):
    """Dilated causal convolutions over the history."""

    blocks: Count = Field(2, description="layers")
    kernel: Count = Field(3, description="events that a filter sees at once")


class Model(Settings):
    """The two towers."""

    dim: Count = Field(64, description="width of item and user vectors")
    ids: bool = Field(True, description="learn a vector for each trained item")
    text: Text = Field(default_factory=Text, description="the text tower; `text: minilm` is short for its source")
    behavior: Annotated[tuple[Branch, ...], BeforeValidator(one_or_more), Field(min_length=1)] = Field(
        ("attention",), description="sequence encoders, side by side with a gate: `attention`, `lstm`, `convolution`"
    )
    attention: Attention = Field(default_factory=Attention, description="of the encoder `attention`")
    lstm: Lstm = Field(default_factory=Lstm, description="of the encoder `lstm`")
    convolution: Convolution = Field(default_factory=Convolution, description="of the encoder `convolution`")
    dropout: Share = Field(0.2, description="share of activations dropped in the behaviour tower")
    id_dropout: Share = Field(0.1, description="share of item ids hidden in training, so that text can stand alone")
    input_dropout: Share = Field(0.1, description="how often a whole optional input is missing in training")
    event_features: bool = Field(True, description="use event type and context columns")
    time_features: bool | None = Field(None, description="use the times of past events; `null`: where there are some")
    user_features: bool = Field(True, description="use the users' categorical columns")
    item_features: bool = Field(True, description="use the items' categorical and numeric columns")
    similarity: Literal["dot", "cosine"] = Field("dot", description="how a user vector scores an item vector")
    temperature: Positive | None = Field(None, description="scores are divided by it; `null`: a fitting default")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "attention" in self.behavior and self.dim % self.attention.heads:
            raise ValueError(f"dim is {self.dim} and attention.heads {self.attention.heads}: heads must divide dim")
        if len(set(self.behavior)) < len(self.behavior):
            raise ValueError(f"behavior names an encoder twice: {', '.join(self.behavior)}")
        if not self.ids and self.text.source == "none" and not self.item_features:
            raise ValueError("an item needs ids, text or item_features to be told apart")
        return self
