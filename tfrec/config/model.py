"""Settings of the two towers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tfrec.config.values import Count, Positive, Settings, Share, one_or_more

Branch = Literal["attention", "lstm", "convolution"]


# Defaults that runs from before wrote into their `config.yaml`, for frozen text models too: they stay readable.
OLD_SHARE, OLD_MASK_WEIGHT = 1.0, 0.1
DECAY = 0.01
# What of `model.text` a start may say otherwise: how it is tuned, not what it reads.
_TUNING = ("tuning", "size", "start", "learning_rate", "weight_decay", "share", "mask_weight")
Tuning = Literal["frozen", "lora", "adapter", "prefix", "partial", "full", "joint"]


class Text(Settings):
    """How the texts of the items become vectors, and what of that trains."""

    source: str = Field(
        "auto",
        description="`auto` (`minilm` where it is installed and items or users have texts, and there are up to 100,000 "
        "items; else `none`), `none`, `minilm`, a folder with a Keras or Hugging Face preset (relative to the working "
        "directory), such as one that `tfrec pretrain` wrote, the name of a Keras Hub preset, or a handle `hf://...`, "
        "`kaggle://...`",
    )
    pooling: Literal["auto", "mean", "first", "last"] = Field(
        "auto", description="tokens to one vector; `auto`: `last` for causal models such as GPT-2, else `mean`"
    )
    max_tokens: Annotated[int, Field(ge=3)] = Field(64, description="tokens of a text that are read, marks included")
    tuned: str | None = Field(
        None, description="folder of tuned weights of this source, such as `checkpoints/text` of a run"
    )
    tuning: Tuning = Field(
        "frozen",
        description="what of the text model trains: nothing (`frozen`: vectors are computed once), low-rank factors "
        "(`lora`), bottlenecks (`adapter`), learnt states before the text (`prefix`), its top blocks (`partial`), all "
        "of it (`full`), or all of it with a masked-language-model loss beside (`joint`)",
    )
    size: Count | None = Field(
        None,
        description="rank of `lora` (4 by default), width of `adapter` (32), states of `prefix` (8), blocks of "
        "`partial` (2)",
    )
    start: str | None = Field(
        None,
        description="folder of a finished run with `tuning: frozen` whose towers the training starts from; "
        "`variant:NAME` in a grid: that variant, at the same seed",
    )
    learning_rate: Positive | None = Field(
        None, description="of the text model; 2e-5 for `partial`, `full` and `joint`, 1e-4 for the others"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(DECAY, description="of the text model")
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="share of a batch's texts that are encoded anew at a step; the rest keep their last vectors; 0.25 "
        "by default",
    )
    mask_weight: Positive | None = Field(
        None, description="of the masked-language-model loss of `joint`; 0.1 by default"
    )
    delta: Positive | None = Field(
        None,
        description="longest an item's id vector may be, in lengths of its text's vector, so that the text leads; "
        "`null`: no bound",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.source in ("none", "auto"):
            given = [name for name in ("tuned", "start", "delta") if getattr(self, name) is not None]
            if self.tuning != "frozen" or given:
                what = given[0] if given else f"tuning: {self.tuning}"
                raise ValueError(f"{what} needs a text model; source is {self.source}")
        if self.tuning != "frozen" and self.tuned is not None:
            raise ValueError(f"tuned goes with tuning: frozen; tuning is {self.tuning}")
        trains = self.learning_rate is not None or self.share not in (None, OLD_SHARE) or self.weight_decay != DECAY
        if self.tuning == "frozen" and trains:
            raise ValueError("learning_rate, weight_decay and share are of a text model that trains; tuning is frozen")
        if self.tuning in ("frozen", "full", "joint") and self.size is not None:
            raise ValueError(f"size is for lora, adapter, prefix and partial; tuning is {self.tuning}")
        if self.tuning != "joint" and self.mask_weight not in (None, OLD_MASK_WEIGHT):
            raise ValueError(f"mask_weight is for joint; tuning is {self.tuning}")
        return self


class NewItems(Settings):
    """What stands for the ids of items that training did not see."""

    neighbours: Annotated[int, Field(ge=0)] = Field(
        10, description="items with the nearest texts, whose mean id vector a new item borrows; 0: none"
    )
    bonus: float = Field(
        0.0, description="added to a new item's score, since no training event speaks for it; chosen on validation"
    )


class Attention(Settings):
    """Causal self-attention over the history."""

    # Validation NDCG@10 on Beauty, 2 blocks: LiGR's 0.0822, SASRec's 0.0801, HSTU's 0.0788; one of LiGR's 0.0797.
    kind: Literal["ligr", "hstu", "sasrec"] = Field(
        "ligr", description="what a block is: LiGR's (gated residuals, SwiGLU), HSTU's (no softmax), SASRec's"
    )
    blocks: Count = Field(2, description="blocks, one after the other")
    heads: Count = Field(2, description="heads of a block; `model.dim` is a multiple of it")
    expansion: Count | None = Field(
        None,
        description="width of the feed-forward part, of `hstu` its gate's, in multiples of `model.dim`; `null`: 4 for "
        "`ligr`, 1 for the others",
    )
    position_bias: bool = Field(True, description="tell attention how many events lie between two")
    time_bias: bool = Field(
        True, description="tell attention how much time lies between two events, where the model reads times"
    )


class Lstm(Settings):
    """A recurrent pass over the history."""

    layers: Count = Field(1, description="layers")
    units: Count | None = Field(None, description="width; `model.dim` by default")


class Convolution(Settings):
    """Dilated causal convolutions over the history."""

    blocks: Count = Field(
        6,
        description="layers; together they read 1 + (kernel - 1) * (2 ** blocks - 1) events, 127 by default",
    )
    kernel: Count = Field(3, description="events that a filter sees at once")


class Model(Settings):
    """The two towers.

    Where a default was chosen among others, its figure and theirs stand beside it: validation NDCG@10, seed 1. All of
    them, and how finely they tell, are in docs/ablations.md.
    """

    # MovieLens-1M 0.2177, 64 wide 0.2041; Beauty 0.0822, 64 wide 0.0722.
    dim: Count = Field(128, description="width of item and user vectors")
    ids: bool = Field(True, description="learn a vector for each trained item")
    text: Text = Field(default_factory=Text, description="the text tower; `text: minilm` is short for its source")
    # Beauty: attention 0.0822, LSTM 0.0783, both 0.0817, convolution 0.0801; MovieLens-1M, 64 wide: 0.2041, both 0.2056
    behavior: Annotated[tuple[Branch, ...], BeforeValidator(one_or_more), Field(min_length=1)] = Field(
        ("attention",), description="sequence encoders, side by side with a gate: `attention`, `lstm`, `convolution`"
    )
    attention: Attention = Field(default_factory=Attention, description="of the encoder `attention`")
    lstm: Lstm = Field(default_factory=Lstm, description="of the encoder `lstm`")
    convolution: Convolution = Field(default_factory=Convolution, description="of the encoder `convolution`")
    # MovieLens-1M, 64 wide: 0.2041, 0.3 0.1955; Beauty: 0.0822, 0.3 0.0822, 0.5 0.0802, none 0.0794.
    dropout: Share = Field(0.2, description="share of activations dropped in the behaviour tower")
    # Beauty: 0.0815, 0.3 0.0803.
    id_dropout: Share = Field(0.0, description="share of item ids hidden in training, so that text can stand alone")
    input_dropout: Share = Field(0.1, description="how often a whole optional input is missing in training")
    event_features: bool = Field(True, description="use event type and context columns")
    time_features: bool | None = Field(None, description="use the times of past events; `null`: where there are some")
    user_features: bool = Field(True, description="use the users' categorical columns")
    user_text: bool = Field(
        True, description="use the users' texts (`data.users.text`), where `text` names a text model; needs it frozen"
    )
    item_features: bool = Field(True, description="use the items' categorical and numeric columns")
    new_items: NewItems = Field(default_factory=NewItems, description="of items without a trained id")
    # Beauty: cosine 0.0822 (over 0.05 0.0796, over 0.1 0.0793), dot 0.0802; MovieLens-1M, 64 wide: 0.2048, dot 0.2009.
    similarity: Literal["dot", "cosine"] = Field("cosine", description="how a user vector scores an item vector")
    temperature: Positive | Literal["learnt"] | None = Field(
        None, description="scores are divided by it, a number or `learnt`; `null`: 1 for `dot`, 0.07 for `cosine`"
    )

    def untuned(self) -> dict[str, Any]:
        """The settings by dotted name, but for how the text model is tuned.

        The weights of the towers, and the vectors that they read, follow from these; a run may start from another
        where they agree.
        """
        plain = self.model_dump()
        text = {f"text.{name}": value for name, value in plain.pop("text").items() if name not in _TUNING}
        return {**plain, **text}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "attention" in self.behavior and self.dim % self.attention.heads:
            raise ValueError(f"dim is {self.dim} and attention.heads {self.attention.heads}: heads must divide dim")
        if len(set(self.behavior)) < len(self.behavior):
            raise ValueError(f"behavior names an encoder twice: {', '.join(self.behavior)}")
        if not self.ids and self.text.source == "none" and not self.item_features:
            raise ValueError("an item needs ids, text or item_features to be told apart")
        return self
