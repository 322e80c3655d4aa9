"""Settings of a second stage after retrieval: what it learns from, and what of its order an answer keeps."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tfrec.config.values import Count, Positive, Settings, Share, one_or_more

Fraction = Annotated[float, Field(ge=0, le=1)]


class Negatives(Settings):
    """Items beside what came next, which the second stage learns to put below it."""

    count: Count = Field(100, description="negatives of a position")
    mined: Fraction = Field(
        1.0,
        description="share of them that are mistakes of the retrieval model: recalled for that very history, and not "
        "what came next; the others are drawn from the catalogue",
    )
    alpha: Annotated[float, Field(ge=0)] = Field(
        0.75, description="the others are drawn by their training events to this power; 0: all alike"
    )


class Learning(Settings):
    """How the second stage learns."""

    events: Literal["held_out", "training"] = Field(
        "held_out",
        description="`held_out`: the validation events of a share of the users, which the retrieval model has not "
        "learnt, so that its scores are what they will be; `training`: those that it has learnt (docs/two_stages.md)",
    )
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.8,
        description="of `held_out`: share of the users whose validation events train; those of the others choose the "
        "epoch, and validation figures are theirs",
    )
    per_user: Count | None = Field(5, description="of `training`: the newest events of each user; `null`: all")
    loss: Literal["softmax", "binary"] = Field(
        "softmax", description="`softmax` over the candidates of a position, or `binary` cross-entropy of each one"
    )
    epochs: Count = Field(20, description="passes over the positions, at most")
    patience: Count | None = Field(
        None, description="epochs without a better `training.monitor` before it stops; `null`: never, as in `training`"
    )
    learning_rate: Positive = Field(3e-3, description="of AdamW, after the warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-3, description="of AdamW")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        100, description="steps until the learning rate is whole; an epoch's at most"
    )
    schedule: Literal["constant", "cosine"] = Field("cosine", description="as `training.schedule`")
    accumulate: Count = Field(1, description="batches whose gradients are averaged before a step of the optimizer")
    clip_norm: Positive | None = Field(1.0, description="the gradient's norm is clipped to this; `null`: not at all")
    dropout: Share = Field(0.1, description="of the interactions")
    batch_size: Count = Field(128, description="positions of a batch")

    @property
    def training(self) -> dict[str, Any]:
        """What of it the section `training` has under the same names."""
        names = "epochs learning_rate weight_decay warmup_steps schedule accumulate clip_norm".split()
        return {name: getattr(self, name) for name in names}


class Diversity(Settings):
    """Lists of items unlike one another: maximal marginal relevance, and caps per category."""

    trade_off: Fraction = Field(
        0.3, description="from 0, the order of the scores, to 1: items as unlike those before them as can be"
    )
    category: str | None = Field(None, description="column of `data.items.categorical` whose values are capped")
    most: Count = Field(
        3, description="items of one `category` in a list; more come only where nothing else was recalled"
    )
    curve: Annotated[tuple[Fraction, ...], BeforeValidator(one_or_more)] = Field(
        (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
        description="trade-offs that the report sets side by side, on the validation split",
    )

    @model_validator(mode="after")
    def _capped(self) -> Self:
        if self.category is None and self.most != type(self).model_fields["most"].default:
            raise ValueError("most caps the values of a category, and none is named")
        return self
