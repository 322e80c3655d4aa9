"""The whole pipeline's settings: names, types, defaults and meaning; `docs/settings.md` is written from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tfrec.config.data import Data
from tfrec.config.model import Model
from tfrec.config.pretraining import Pretraining
from tfrec.config.ranking import Ranking
from tfrec.config.values import Count, Counts, Positive, Settings, Share

STAGES = ("prepare", "train", "evaluate", "export", "publish")
_CUTS = ("validation_from", "test_from")
_OF_ANSWERS = ("rank", "diversity")
_OF_EXPORT = ("k_max", "text_model", "text_weight", "quantization", "index", "recall")


class Objective(Settings):
    """What training minimises."""

    name: Literal["auto", "softmax", "retrieval", "sampled_softmax", "gbce"] = Field(
        "auto",
        description="`softmax` over all items, `retrieval` (in-batch and uniform negatives, TFRS), `sampled_softmax`, "
        "`gbce` (gSASRec's), or `auto`: softmax while a step's logits stay below 2 GiB, else retrieval. The memory "
        "of a softmax step peaks at about twice its logits, and at up to 4.5 times, 9 GiB, where `unseen` keeps out "
        "what is seen",
    )
    negatives: Annotated[int, Field(ge=0)] = Field(
        512,
        description="uniform negatives of a batch, shared by its events: of `retrieval` (0 = in-batch only), "
        "`sampled_softmax` and `gbce`",
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
    patience: Count | None = Field(5, description="epochs without a better `monitor` before it stops; `null`: never")
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
    accumulate: Count = Field(1, description="batches whose gradients are averaged before a step of the optimizer")
    clip_norm: Positive | None = Field(1.0, description="the gradient's norm is clipped to this; `null`: not at all")
    adversarial: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="each step learns as much from the batch with the items' id vectors moved against it, by this "
        "share of their mean length; 0: not at all, else a step takes twice as long",
    )
    monitor: Annotated[str, Field(pattern=r"^val_(hr|ndcg|mrr)@[1-9][0-9]*$")] = Field(
        "val_ndcg@10", description="the validation figure that chooses the epoch"
    )
    jit: bool = Field(False, description="compile the training step with XLA")
    mixed_precision: bool = Field(
        False, description="the towers compute in bfloat16 and keep float32 weights; a text model stays in float32"
    )


class Disturbed(Settings):
    """Noise in the histories of the test split."""

    delete: Share = Field(0.2, description="share of the events that are taken out")
    insert: Share = Field(0.2, description="share of the events before which a popular item is put in")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="the noise follows from it")


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

    @model_validator(mode="after")
    def _tunable(self) -> Self:
        if self.model.text.tuning != "frozen":
            what = f"model.text.tuning is {self.model.text.tuning}"
            if self.training.jit:
                raise ValueError(f"{what}, and training.jit is true: XLA compiles no texts of changing lengths")
            users = self.data.users
            if users is not None and users.text and self.model.user_text:
                raise ValueError(
                    f"{what}, and data.users.text names texts of users, which only a frozen text model reads: set "
                    "model.user_text to false, or tuning to frozen"
                )
        return self

    @model_validator(mode="after")
    def _rankable(self) -> Self:
        if self.ranking is not None:
            problem = self.ranking.problem(self.data, self.model)
            if self.evaluation.disturbed is not None and self.ranking.recall is None:
                problem = "evaluation.disturbed is for rankings, and with ranking set nothing is ranked: leave it out"
            if self.ranking.recall is not None and self.ranking.recall < min(self.evaluation.cutoffs):
                problem = f"ranking.recall is {self.ranking.recall}, and evaluation.cutoffs has none up to that"
            if problem:
                raise ValueError(problem)
        return self


def stage_settings(pipeline: Pipeline, stage: str) -> dict[str, Any]:
    """The settings that one stage depends on by itself, as plain values; its input depends on the earlier stages.

    The places of the tables are left out: what counts is their content, which `prepare` takes as its input.
    """
    plain = pipeline.model_dump(mode="json")
    if not plain["training"]["adversarial"]:  # Keys of runs without it stay what they were.
        del plain["training"]["adversarial"]
    chosen = {
        "prepare": {"data": _without_places(plain["data"])},
        "train": {
            "seed": plain["seed"],
            "model": _without_starts(plain["model"]),
            "training": plain["training"],
            **({"ranking": pipeline.ranking.settings()} if pipeline.ranking and not pipeline.two_stages else {}),
        },
        "rank": {"seed": plain["seed"], "monitor": plain["training"]["monitor"], **_of_second_stage(pipeline)},
        "evaluate": {
            "evaluation": {key: value for key, value in plain["evaluation"].items() if value is not None},
            **_of_answers(pipeline),
        },
        "export": {**{name: plain["export"][name] for name in _OF_EXPORT}, **_of_answers(pipeline)},
        "pretrain": {"seed": plain["seed"], "pretraining": plain["pretraining"]},
        "publish": {"name": plain["name"], **plain["export"]},
    }
    if stage not in chosen:
        raise ValueError(f"stage is {stage!r}, and must be one of {', '.join(STAGES)}")
    return chosen[stage]


def _of_second_stage(pipeline: Pipeline) -> dict[str, Any]:
    """What the training of a second stage follows from."""
    if pipeline.ranking is None:
        return {}
    plain = pipeline.ranking.model_dump(mode="json")
    return {"ranking": {name: value for name, value in plain.items() if name not in _OF_ANSWERS}}


def _of_answers(pipeline: Pipeline) -> dict[str, Any]:
    """What of two stages only their answers follow from."""
    if not pipeline.two_stages or pipeline.ranking is None:
        return {}
    plain = pipeline.ranking.model_dump(mode="json")
    return {"ranking": {name: plain[name] for name in _OF_ANSWERS}}


def _without_starts(model: dict[str, Any]) -> dict[str, Any]:
    """The section `model` without the places of what training starts from, whose content counts."""
    return {**model, "text": {**model["text"], "start": None, "tuned": None}}


def _without_places(data: dict[str, Any]) -> dict[str, Any]:
    """The section `data` without where its tables lie."""
    kept = {key: value for key, value in data.items() if key != "root"} | {"cold_items": None}
    kept["cold_items_validation"] = None
    for table in ("events", "items", "users"):
        if kept[table] is not None:
            kept[table] = {key: value for key, value in kept[table].items() if key != "path"}
    if kept["events"] is not None and not kept["events"]["labels"]:  # Keys of runs without them stay what they were.
        del kept["events"]["labels"]
    if not kept["split"]["kind"].startswith("folds"):
        kept["split"] = {key: value for key, value in kept["split"].items() if key in ("kind", *_CUTS)}
    return kept
