"""What each stage of a pipeline depends on: the settings that its key is made of."""

from __future__ import annotations

from typing import Any

from tfrec.config.schema import STAGES, Pipeline

_CUTS = ("validation_from", "test_from")
_OF_ANSWERS = ("rank", "diversity")
_OF_INTERACTIONS = {"factors": "factors", "words": "word_attention"}  # A setting, and the interaction that it is of.
# What came to `ranking.learning` later, and what was there before it could be said.
_LATER_OF_LEARNING = {"warmup_steps": 100, "schedule": "cosine", "accumulate": 1, "clip_norm": 1.0}
_OF_EXPORT = ("k_max", "text_model", "text_weight", "quantization", "index", "recall")


def stage_settings(pipeline: Pipeline, stage: str) -> dict[str, Any]:
    """The settings that one stage depends on by itself, as plain values; its input depends on the earlier stages.

    The places of the tables are left out: what counts is their content, which `prepare` takes as its input.
    """
    plain = pipeline.model_dump(mode="json")
    _leave_out_unused(plain["training"])
    chosen = {
        "prepare": {"data": _without_places(plain["data"])},
        "train": {
            "seed": plain["seed"],
            "model": _without_starts(plain["model"]),
            "training": plain["training"],
            **_of_labels(pipeline),
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


def _of_labels(pipeline: Pipeline) -> dict[str, Any]:
    """What the training of a ranker of labels follows from; that of factors and words counts where there are some."""
    if pipeline.ranking is None or pipeline.two_stages:
        return {}
    plain = pipeline.ranking.settings()
    unused = {key for key, name in _OF_INTERACTIONS.items() if name not in plain["interactions"]}
    return {"ranking": {key: value for key, value in plain.items() if key not in unused}}


def _leave_out_unused(training: dict[str, Any]) -> None:
    """Take out of the section what came later and is not used, so that the keys of runs without it stay what they were.

    Where nothing is attacked, it does not count what would be. Nor does it count where the work is done.
    """
    del training["devices"], training["worker_seconds"]
    if not training["adversarial"]:
        del training["adversarial"]
        training["attack"] = "items"
    if training["attack"] == "items":
        del training["attack"]
    for name in ("disturbed", "text_augmentation", "row_wise"):
        if training[name] is None:
            del training[name]
    if training["ensemble"] == 1:
        del training["ensemble"]


def _of_second_stage(pipeline: Pipeline) -> dict[str, Any]:
    """What the training of a second stage follows from."""
    if pipeline.ranking is None:
        return {}
    plain = pipeline.ranking.model_dump(mode="json")
    del plain["words"]  # It reads none.
    for name, value in _LATER_OF_LEARNING.items():  # Keys of runs without them stay what they were.
        if plain["learning"][name] == value:
            del plain["learning"][name]
    return {"ranking": {name: value for name, value in plain.items() if name not in _OF_ANSWERS}}


def _of_answers(pipeline: Pipeline) -> dict[str, Any]:
    """What of two stages only their answers follow from."""
    if not pipeline.two_stages or pipeline.ranking is None:
        return {}
    plain = pipeline.ranking.model_dump(mode="json")
    return {"ranking": {name: plain[name] for name in _OF_ANSWERS}}


def _without_starts(model: dict[str, Any]) -> dict[str, Any]:
    """The section `model` without the places of what training starts from, whose content counts, and later defaults."""
    attention = dict(model["attention"])
    if attention["position_bias"]:  # Keys of runs with it stay what they were.
        del attention["position_bias"]
    return {**model, "attention": attention, "text": {**model["text"], "start": None, "tuned": None}}


def _without_places(data: dict[str, Any]) -> dict[str, Any]:
    """The section `data` without where its tables lie."""
    kept = {key: value for key, value in data.items() if key not in ("root", "memory")} | {"cold_items": None}
    kept["cold_items_validation"] = None
    if kept["simulated_ads"] is None:  # Keys of runs without it stay what they were.
        del kept["simulated_ads"]
    for table in ("events", "items", "users"):
        if kept[table] is not None:
            kept[table] = {key: value for key, value in kept[table].items() if key != "path"}
    if kept["events"] is not None and not kept["events"]["labels"]:  # Keys of runs without them stay what they were.
        del kept["events"]["labels"]
    if not kept["split"]["kind"].startswith("folds"):
        kept["split"] = {key: value for key, value in kept["split"].items() if key in ("kind", *_CUTS)}
    return kept
