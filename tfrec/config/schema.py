"""The whole pipeline's settings: names, types, defaults and meaning; `docs/settings.md` is written from here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tfrec.config.data import Data
from tfrec.config.model import Model
from tfrec.config.noise import Disturbed, Noise, TextAugmentation
from tfrec.config.pretraining import Pretraining
from tfrec.config.ranking import Ranking
from tfrec.config.unread import unread
from tfrec.config.values import Count, Counts, Positive, Settings

STAGES = ("prepare", "train", "evaluate", "export", "publish")


class Objective(Settings):
    """What training minimises."""

    name: Literal["auto", "softmax", "retrieval", "sampled_softmax", "gbce"] = Field(
        "auto",
        description="`softmax` over all items, `retrieval` (in-batch and uniform negatives, TFRS), `sampled_softmax`, "
        "`gbce` (gSASRec's), or `auto`: softmax up to 2 GiB of logits a step and 100,000 rows of the catalogue, else "
        "sampled_softmax. Softmax computes logits of more than 512 MiB in chunks, which takes a third longer and "
        "bounds its memory",
    )
    negatives: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="uniform negatives of a batch, shared by its events: of `retrieval` (0 = in-batch only), "
        "`sampled_softmax` and `gbce`; `null`: 2,048 of `sampled_softmax`, else 512",
    )
    calibration: Annotated[float, Field(ge=0, le=1)] = Field(
        0.75, description="of `gbce`: from 0, plain binary cross-entropy, to 1, where scores are fully calibrated"
    )
    unseen: bool | None = Field(
        None,
        description="what a user has had does not compete with the next item; `null`: where `data.seen` is `remove`, "
        "since it is not recommended then. With `retrieval` it always competes",
    )

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if self.name in ("sampled_softmax", "gbce") and self.negatives == 0:
            raise ValueError(f"{self.name} needs negatives of 1 or more")
        if self.name == "retrieval" and self.unseen:
            raise ValueError("unseen is for the other objectives: with retrieval what a user has had competes too")
        return self


class Training(Settings):
    """How the weights are found; docs/ablations.md has what the defaults are worth."""

    objective: Objective = Field(default_factory=Objective, description="`objective: softmax` is short for its name")
    epochs: Count | None = Field(
        None,
        description="passes over the training events, at most; `null`: 20, and 10 where items have under 25 events",
    )
    # Not by default: under `cosine` the rate is low in the last epochs alone, and the best epoch is kept in any case.
    patience: Count | None = Field(None, description="epochs without a better `monitor` before it stops; `null`: never")
    # Validation NDCG@10: MovieLens-1M, 64 wide, cosine from 0.002 0.2048, constant 0.001 0.2008; Beauty 0.0822, 0.0816.
    learning_rate: Positive = Field(2e-3, description="of AdamW, after the warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="of AdamW")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        100, description="steps until the learning rate is whole; an epoch's at most"
    )
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="of the learning rate after the warm-up; `cosine` falls until the last of `epochs`"
    )
    tokens_per_batch: Count | None = Field(
        None, description="events of a batch, padding included; `null`: 4096, and fewer where an epoch has few steps"
    )
    ensemble: Annotated[int, Field(ge=1, le=32)] = Field(
        1,
        description="trainings, each from its own seed, `seed` and those after it; the model is their mean: of scores, "
        "or of a ranker's logits; of two stages the first alone is an ensemble",
    )
    accumulate: Count = Field(1, description="batches whose gradients are averaged before a step of the optimizer")
    row_wise: bool | None = Field(
        None,
        description="a step updates of the items' id vectors only those that it reads, so that it takes no longer the "
        "more items there are: for objectives that sample, without `accumulate` and `adversarial`; "
        "`null`: there, from 20,000 items on (docs/large_catalogues.md)",
    )
    clip_norm: Positive | None = Field(1.0, description="the gradient's norm is clipped to this; `null`: not at all")
    adversarial: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="each step learns as much from the batch with the items' id vectors moved against it, by this "
        "share of their mean length; 0: not at all, else a step takes twice as long; of two stages the first alone",
    )
    attack: Literal["items", "history"] = Field(
        "items",
        description="what `adversarial` moves: `items`, their id vectors wherever they stand; `history`, the vector of "
        "each event of a history for itself",
    )
    disturbed: Noise | None = Field(
        None,
        description="noise in the histories that each epoch trains, drawn anew; `disturbed: {}` for the defaults; next "
        "items only",
    )
    text_augmentation: TextAugmentation | None = Field(
        None,
        description="words deleted and swapped in the texts that training reads; `text_augmentation: {}` for defaults",
    )
    monitor: Annotated[str, Field(pattern=r"^val_(hr|ndcg|mrr)@[1-9][0-9]*$")] = Field(
        "val_ndcg@10", description="the validation figure that chooses the epoch"
    )
    devices: Count = Field(
        1,
        description="devices of one machine that share each batch: GPUs, or parts of the CPU where there is none. What "
        "is learnt does not depend on it (docs/several_machines.md)",
    )
    worker_seconds: Positive = Field(
        600.0, description="the longest wait for the other workers, where `TF_CONFIG` names several machines"
    )
    jit: bool = Field(False, description="compile the training step with XLA")
    mixed_precision: bool = Field(
        False,
        description="the towers, and a ranker of labels, compute in bfloat16 and keep float32 weights; a text model "
        "and the second one of two stages stay in float32",
    )

    @model_validator(mode="after")
    def _by_row(self) -> Self:
        if self.row_wise:
            wrong = {"objective.name": self.objective.name == "softmax", "accumulate": self.accumulate > 1}
            wrong["adversarial"] = self.adversarial > 0
            for name in (name for name, bad in wrong.items() if bad):
                value = self.objective.name if "." in name else getattr(self, name)
                raise ValueError(f"row_wise is true, and {name} is {value}, which moves all items at each step")
        return self


class Evaluation(Settings):
    """What is measured."""

    cutoffs: Counts = Field((1, 5, 10, 20, 50), description="the k of `hr@k` and the like")
    depth: Count = Field(50, description="recommendations written for every test user")
    disturbed: Disturbed | None = Field(
        None,
        description="measure the model on disturbed histories too; `disturbed: {}` for the defaults; rankings only",
    )

    @model_validator(mode="after")
    def _deep_enough(self) -> Self:
        if max(self.cutoffs) > self.depth:
            raise ValueError(f"depth is {self.depth}, less than the cut-off {max(self.cutoffs)}")
        return self


class Export(Settings):
    """What is handed to TensorFlow Serving."""

    k_max: Count = Field(100, description="items that an answer holds; a caller may cut it shorter")
    text_model: bool = Field(
        True, description="export `NAME_text` too, which takes a text beside a history, where `model.text` names one"
    )
    text_weight: Positive = Field(
        4.0,
        description="how much a text counts beside the history, for a model that was not trained with users' texts: "
        "points of score a standard deviation of likeness",
    )
    quantization: Literal["float32", "float16", "int8"] = Field(
        "float32", description="how item vectors are stored; `int8` has a float32 scale for each item besides"
    )
    index: Literal["auto", "exact", "ivf"] = Field(
        "auto",
        description="`exact`: every item is scored; `ivf`: those of the likeliest lists of an inverted file, but for "
        "`recommend_filtered` and `NAME_text`; `auto`: `ivf` above 200,000 candidates where it reads a fifth at most",
    )
    recall: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.98,
        description="share of the best 10 items that an answer of the index must hold on average, measured on held "
        "histories; below it the export is refused",
    )
    base_path: str = Field(
        "saved_models", description="folder that the server reads, relative to the working directory"
    )
    keep: Count = Field(3, description="versions kept, the newest ones; a labelled version stays in any case")
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = Field(
        "stable",
        description="the label that `publish` moves: `stable` for all clients that name it, another one, such as "
        "`canary`, for those that name that one; `tfrec rollback --label canary --remove` takes it away",
    )
    settle_seconds: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="pause between listing a new version and moving `stable` to it: more than a running server's poll "
        "interval, since TF Serving moves a label only to a version that it has loaded; 0 where none is running; with "
        "`server` the longest wait, 0 for 300 s",
    )
    server: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+[^?#\s]*$")] | None = Field(
        None,
        description="REST address of a server that runs meanwhile, such as `http://localhost:8501`: `stable` moves "
        "when it says that it has loaded the version; the variable `TFREC_TOKEN` is sent as its bearer token",
    )
    max_slowdown: Annotated[float, Field(ge=1)] | None = Field(
        2.0,
        description="how many times as long as from the published version a request may take (up to 2 ms more always "
        "may), or the new one is not published; `null`: any time",
    )
    max_growth: Annotated[float, Field(ge=1)] | None = Field(
        2.0,
        description="how many times as large as the published version's the files may be (up to 32 MiB more always "
        "may), or the new one is not published; `null`: any size",
    )


class Pipeline(Settings):
    """One pipeline, from tables to a served model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] = Field(
        description="names the run's folder and the published model: letters, digits, `_`, `.` and `-`"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(1, description="all that is random follows from it")
    data: Data = Field(description="tables, filters, split")
    model: Model = Field(default_factory=Model, description="the two towers")
    ranking: Ranking | None = Field(
        None,
        description="predict labels of events, such as clicks, in place of the next item; or, with `recall`, order "
        "what the retrieval model recalls",
    )
    training: Training = Field(default_factory=Training, description="how the weights are found")
    pretraining: Pretraining = Field(
        default_factory=Pretraining, description="what `tfrec pretrain` learns from the items' texts"
    )
    evaluation: Evaluation = Field(default_factory=Evaluation, description="what is measured")
    export: Export = Field(default_factory=Export, description="what is handed to TensorFlow Serving")

    @property
    def two_stages(self) -> bool:
        """Whether a ranker orders what the retrieval model recalls."""
        return self.ranking is not None and self.ranking.recall is not None

    @property
    def predicts_labels(self) -> bool:
        """Whether labels of events are predicted in place of the next item."""
        return self.ranking is not None and self.ranking.recall is None

    @model_validator(mode="after")
    def _tunable(self) -> Self:
        if self.model.text.tuning != "frozen":
            what = f"model.text.tuning is {self.model.text.tuning}"
            if self.training.jit:
                raise ValueError(f"{what}, and training.jit is true: XLA compiles no texts of changing lengths")
            if self.training.ensemble > 1:
                raise ValueError(f"{what}, and training.ensemble is above 1: an ensemble shares a frozen text model")
            users = self.data.users
            if users is not None and users.text and self.model.user_text:
                raise ValueError(
                    f"{what}, and data.users.text names texts of users, which only a frozen text model reads: set "
                    "model.user_text to false, or tuning to frozen"
                )
        return self

    @model_validator(mode="after")
    def _augmentable(self) -> Self:
        chosen = self.training.text_augmentation
        if chosen is not None:
            what, cure = "training.text_augmentation is set", "leave it out"
            if self.model.text.source == "none":
                raise ValueError(f"{what}, and model.text is none, which reads no texts: name a text model, or {cure}")
            if chosen.variants is not None and self.model.text.tuning != "frozen":
                raise ValueError(
                    f"training.text_augmentation.variants is {chosen.variants}, for a frozen text model, and "
                    f"model.text.tuning is {self.model.text.tuning}, which augments at each step: leave variants out"
                )
            if self.ranking is not None and set(self.ranking.interactions) <= set(self.ranking.collaborative):
                named = ", ".join(self.ranking.interactions)
                raise ValueError(f"{what}, and of ranking.interactions ({named}) none reads texts: {cure}")
        return self

    @model_validator(mode="after")
    def _rankable(self) -> Self:
        if self.ranking is not None:
            problem = self.ranking.problem(self.data, self.model) or self._unserved() or unread(self)
            for section in ("evaluation", "training"):
                if getattr(self, section).disturbed is not None and self.ranking.recall is None:
                    what = "for rankings, and with ranking set nothing is ranked"
                    problem = f"{section}.disturbed is {what}: leave it out"
            if self.ranking.recall is not None and self.ranking.recall < min(self.evaluation.cutoffs):
                problem = f"ranking.recall is {self.ranking.recall}, and evaluation.cutoffs has none up to that"
            if problem:
                raise ValueError(problem)
        return self

    def _unserved(self) -> str | None:
        """What of the section `export` the section `ranking` does not go with, in words."""
        if self.export.index == "ivf":
            return "export.index is ivf, and a ranker judges every candidate: leave it out"
        if self.two_stages and self.export.quantization != "float32":
            return (
                f"export.quantization is {self.export.quantization}, and the second stage reads the scores of float32 "
                "vectors: leave it out"
            )
        return None
