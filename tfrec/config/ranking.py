"""Settings of the ranking stage: what it predicts of a candidate, and how its inputs interact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tfrec.config.data import Data, Label
from tfrec.config.model import Model
from tfrec.config.second_stage import Diversity, Learning, Negatives
from tfrec.config.values import Count, Counts, Names, Positive, Settings, one_or_more

Interaction = Literal["mlp", "cross", "target_attention", "word_attention", "factors", "neighbourhood"]
ATTENTIONS = ("target_attention", "word_attention")  # Each is one more input of the interactions.

# What is said of one kind of ranking alone: of labels, and of a second stage after retrieval.
OF_LABELS = ("labels", "context", "neutral", "weights", "positive_weight", "monitor", "words")
OF_RECALL = ("recall", "rank", "vectors", "negatives", "learning", "diversity")


class Mlp(Settings):
    """Dense layers over all inputs of a candidate."""

    units: Counts = Field((128, 64), description="width of each layer")


class Cross(Settings):
    """Explicit products of the inputs (DCN V2)."""

    layers: Count = Field(2, description="crosses, one after the other")
    rank: Count | None = Field(64, description="inner width of a cross; `null`: a whole matrix")


class Factors(Settings):
    """Bayesian matrix factorisation of the labels, by Gibbs sampling before the first epoch."""

    rank: Count = Field(10, description="latent factors of an item")
    samples: Count = Field(32, description="samples of the items' factors that the model keeps, and averages")
    burn_in: Count = Field(16, description="sweeps before the first sample")
    every: Count = Field(2, description="sweeps from one sample to the next")


class Ranking(Settings):
    """The ranker: of `data.events.labels` in place of the next item, or with `recall` the second stage after it."""

    recall: Count | None = Field(
        None,
        description="items that the retrieval model hands to the ranker, in a pipeline without labels; `null`: the "
        "ranker predicts labels",
    )
    rank: Count = Field(10, description="with `recall`: items that an answer of both stages holds")
    labels: Names | None = Field(None, description="labels that are predicted, each by a head; `null`: all")
    interactions: Annotated[tuple[Interaction, ...], BeforeValidator(one_or_more), Field(min_length=1)] = Field(
        ("target_attention", "mlp"),
        description="`target_attention` (what the candidate finds in the history) and `word_attention` (what the words "
        "of the user's text and of the candidate's find in one another) are one more input each; of `mlp` and "
        "`cross`, side by side, at least one is needed then; `factors` and `neighbourhood` say what a label will be "
        "from those of the history, alone or beside the others: its column must be in `data.events.context`",
    )
    mlp: Mlp = Field(default_factory=Mlp, description="of the interaction `mlp`")
    cross: Cross = Field(default_factory=Cross, description="of the interaction `cross`")
    factors: Factors = Field(default_factory=Factors, description="of the interaction `factors`")
    heads: Count = Field(2, description="heads of each attention; `model.dim` is a multiple of it")
    words: Count = Field(
        16,
        description="words of a text, the first ones, that `word_attention` reads: tokens of the text model, of which "
        "a rare word is several",
    )
    context: Names = Field(
        (), description="columns of `data.events.context` that are read of the candidate's event too"
    )
    neutral: Names = Field(
        (),
        description="those of `context` that only shift the logits in training and are missing when the model is "
        "asked, such as the place on the page",
    )
    weights: dict[str, Positive] | Literal["learnt"] = Field(
        default_factory=dict, description="weight of each label's loss, 1 where it is not named; or `learnt`"
    )
    positive_weight: Positive | Literal["balanced"] = Field(
        1.0,
        description="how often an event with the label 1 counts in training; `balanced`: as makes both classes count "
        "alike; predicted probabilities are set right again",
    )

    monitor: Literal["log_loss", "auc", "rmse", "mae"] | None = Field(
        None,
        description="validation figure of the first label that chooses the epoch; `null`: `log_loss` of yes and no, "
        "`rmse` of a rating",
    )
    vectors: bool = Field(
        False,
        description="with `recall`: the vectors of user and candidate and their product are inputs too, beside the "
        "score and what else speaks for a candidate",
    )
    negatives: Negatives = Field(default_factory=Negatives, description="with `recall`: what it learns to put below")
    learning: Learning = Field(default_factory=Learning, description="with `recall`: how it learns")
    diversity: Diversity | None = Field(
        None, description="with `recall`: lists of items unlike one another; `diversity: {}` for the defaults"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        dense = {"mlp", "cross"} & set(self.interactions)
        attentions = [name for name in ATTENTIONS if name in self.interactions]
        if attentions and not dense:
            raise ValueError(f"interactions needs mlp or cross beside {attentions[0]}")
        if set(self.context) - set(self.neutral) and not dense:
            raise ValueError("context that is not neutral is read by mlp and cross, and interactions names neither")
        if len(set(self.interactions)) < len(self.interactions):
            raise ValueError(f"interactions names one twice: {', '.join(self.interactions)}")
        unknown = [name for name in self.neutral if name not in self.context]
        if unknown:
            raise ValueError(f"neutral names {unknown[0]}, which is not in context")
        if isinstance(self.weights, dict) and self.labels is not None:
            unknown = [name for name in self.weights if name not in self.labels]
            if unknown:
                raise ValueError(f"weights names {unknown[0]}, which is not in labels")
        self._of_one_kind()
        return self

    @property
    def collaborative(self) -> list[str]:
        """Those of `interactions` that say what a label will be from those of the history."""
        return [name for name in self.interactions if name in ("factors", "neighbourhood")]

    @property
    def reads_words(self) -> bool:
        """Whether the words of texts are read."""
        return "word_attention" in self.interactions

    def _of_one_kind(self) -> None:
        foreign = [name for name in (OF_RECALL if self.recall is None else OF_LABELS) if self._changed(name)]
        if foreign and self.recall is None:
            raise ValueError(f"{foreign[0]} is of a second stage, and needs recall, such as recall: 200")
        if foreign:
            raise ValueError(f"{foreign[0]} is of labels, and with recall the next item is predicted: leave one out")
        if self.recall is not None and self.recall < self.rank:
            raise ValueError(f"recall is {self.recall}, less than rank, which is {self.rank}: nothing is left to rank")

    def _changed(self, name: str) -> bool:
        return getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True)

    def settings(self) -> dict[str, Any]:
        """What a ranker of labels follows from, as plain values: without what is of a second stage alone."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name not in OF_RECALL}

    def problem(self, data: Data, model: Model) -> str | None:
        """What of the other sections the section `ranking` does not go with, in words."""
        return self._of_recall(data, model) if self.recall is not None else self._of_labels(data, model)

    def _of_recall(self, data: Data, model: Model) -> str | None:
        if data.events is not None and data.events.labels:
            return (
                f"ranking.recall is {self.recall}, for a second stage that orders next items, and data.events.labels "
                f"names {', '.join(data.events.labels)}, for a ranker of labels: leave one of them out"
            )
        if self.collaborative:
            return f"ranking.interactions names {self.collaborative[0]}, which is of labels, and ranking.recall is set"
        if self.reads_words:
            return "ranking.interactions names word_attention, which is of labels, and ranking.recall is set"
        category = self.diversity.category if self.diversity is not None else None
        known = tuple(data.items.categorical) if data.items is not None else ("category",) if data.simulated else ()
        if category is not None and category not in known:
            told = ", ".join(known) or "none"
            return f"ranking.diversity.category is {category}, and data.items.categorical has {told}"
        if data.split.kind == "folds_events":
            return "ranking.recall needs validation events that come after training: another data.split.kind"
        return self._indivisible(model)

    def _indivisible(self, model: Model) -> str | None:
        if set(ATTENTIONS) & set(self.interactions) and model.dim % self.heads:
            return f"model.dim is {model.dim} and ranking.heads {self.heads}: heads must divide dim"
        return None

    def _of_labels(self, data: Data, model: Model) -> str | None:
        labels = data.labels
        if not labels:
            return (
                "ranking predicts data.events.labels, and none is named, such as click: {column: rating, at_least: 4}; "
                "for a second stage after retrieval say ranking.recall, such as 200"
            )
        for problem in (self._misnamed(labels, data.context), self._unread(labels, data.context)):
            if problem is not None:
                return problem
        chosen = [labels[name] for name in self.labels or labels]
        if self._changed("positive_weight") and all(label.range is not None for label in chosen):
            return f"ranking.positive_weight is {self.positive_weight}, for yes and no, and all labels are ratings"
        first = chosen[0]
        if self.monitor is not None and (self.monitor in ("rmse", "mae")) == (first.range is None):
            return f"ranking.monitor is {self.monitor}, which is not measured of the first label"
        if self._indivisible(model):
            return self._indivisible(model)
        if model.text.tuning != "frozen":
            return f"model.text.tuning is {model.text.tuning}, and a ranker reads a frozen text model"
        return self._wordless(data, model) if self.reads_words else None

    def _wordless(self, data: Data, model: Model) -> str | None:
        """Why there are no words to read, in words."""
        told = "ranking.interactions names word_attention, which reads the words of users' and items' texts, and"
        if model.text.source == "none":
            return f"{told} model.text is none: name a text model, such as minilm"
        if data.users is None or not data.users.text:
            return f"{told} data.users.text names no column: name a profile or a query, or leave it out"
        if data.items is None or not data.items.text:
            return f"{told} data.items.text names no column: name one, or leave it out"
        if not model.user_text:
            return f"{told} model.user_text is false: leave one of them out"
        if self.words > model.text.max_tokens:
            most = model.text.max_tokens
            return f"ranking.words is {self.words}, and of a text model.text.max_tokens, {most}, are read: lower it"
        return None

    def _misnamed(self, labels: Mapping[str, Label], context: Sequence[str]) -> str | None:
        """Which name of a label or a column there is not, in words."""
        for name in (*(self.labels or ()), *(self.weights if isinstance(self.weights, dict) else ())):
            if name not in labels:
                return f"ranking names the label {name}; data.events.labels has {', '.join(labels)}"
        for column in self.context:
            if column not in context:
                return f"ranking.context names {column}, which is not in data.events.context"
            if any(label.column == column for label in labels.values()):
                return f"ranking.context names {column}, the column of a label, which tells the answer"
        return None

    def _unread(self, labels: Mapping[str, Label], context: Sequence[str]) -> str | None:
        """Which label of the past is to be read and cannot be, in words."""
        for name in (self.labels or labels) if self.collaborative else ():
            if labels[name].column not in context:
                return (
                    f"ranking.interactions names {self.collaborative[0]}, which reads the label {name} of past events, "
                    f"and its column {labels[name].column} is not in data.events.context: add it there"
                )
        return None
