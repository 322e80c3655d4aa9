"""The space file of `tfrec search`: ranges that settings are drawn from, checked before anything is trained."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from tfrec.config.loading import mistakes, parse, read_declared, read_file, shown, written
from tfrec.config.schema import Pipeline
from tfrec.config.values import Count, Settings

# Sections that a search may change: what changes the data changes what validation asks.
SEARCHABLE = ("model", "training", "ranking")
# Of a second stage, what says which events it validates with, and what is chosen once it has learnt.
_UNCHANGED = ("ranking.learning.events", "ranking.learning.share", "ranking.rank", "ranking.diversity")


class Range(Settings):
    """Numbers between two ends."""

    low: float | int = Field(description="the least")
    high: float | int = Field(description="the largest")
    log: bool = Field(False, description="whether a factor counts alike everywhere, as of a learning rate")
    step: Annotated[float, Field(gt=0)] | Annotated[int, Field(gt=0)] | None = Field(
        None, description="distance of the values that are tried; `null`: 1 where both ends are whole, else any"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low must be less than high; got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0; got {self.low}")
        if self.log and self.step is not None:
            raise ValueError("give log or step, not both")
        if self.whole and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step must be whole where low and high are; got {self.step}")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class Space(Settings):
    """What a space file may say."""

    trials: Count = Field(20, description="trainings at most, those of earlier calls included")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="the drawing of settings follows from it")
    prune: bool = Field(True, description="whether a trial that does worse than most did at its epoch is ended")
    space: dict[str, Any] = Field(
        min_length=1, description="setting -> list of values, or the range `{low, high, log, step}`"
    )

    @model_validator(mode="after")
    def _choices(self) -> Self:
        for key, values in self.space.items():
            if isinstance(values, dict):
                self.space[key] = _range(key, values)
            elif not isinstance(values, list) or len({repr(value) for value in values}) < max(2, len(values)):
                raise ValueError(
                    f"space.{key} is {shown(values)}: must be a list of two different values or more, or a range"
                )
        return self


def _range(key: str, values: dict[str, Any]) -> Range:
    try:
        return Range.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"space.{key}: {'; '.join(mistakes(error, values, schema=Range))}") from None


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        pipeline: the settings that hold for all trials.
        space: where the others are drawn from.
        text: the pipeline file's text, and
        overrides: what goes before it, which a trial's own settings then follow.
    """

    pipeline: Pipeline
    space: Space
    text: str
    overrides: Sequence[str]

    @property
    def last(self) -> str:
        """The stage that trials end with: the second one's where its settings are searched."""
        ranks = any(key.startswith("ranking") for key in self.space.space)
        return "rank" if self.pipeline.two_stages and ranks else "train"

    def trial(self, settings: Mapping[str, Any]) -> Pipeline:
        """The pipeline with the settings of a trial.

        Raises:
            ValueError: together they are no pipeline.
        """
        changes = [f"{key}={written(value)}" for key, value in settings.items()]
        return parse(self.text, [*self.overrides, *changes], where="the trial")


def load_search(space: str | os.PathLike[str], pipeline: str | os.PathLike[str], overrides: Sequence[str]) -> Search:
    """Read a space file and the pipeline that it is of.

    Args:
        space: the YAML file; see `Space`.
        pipeline: the pipeline's YAML file.
        overrides: `key.path=value` each, for every trial.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a file says what no search can mean, or an end of a range or a value of a list is no setting.
    """
    text = read_file(pipeline, "pipeline")
    base = parse(text, overrides, where=str(pipeline))
    found = Search(base, read_declared(space, "space", Space, "`space`"), text, tuple(overrides))
    for key, values in found.space.space.items():
        if key.partition(".")[0] not in SEARCHABLE:
            raise ValueError(
                f"{space}: space.{key}: a search may change {', '.join(SEARCHABLE)}; what changes the data or what is "
                "measured changes what trials are compared by"
            )
        if found.pipeline.two_stages and key.startswith(_UNCHANGED):
            raise ValueError(
                f"{space}: space.{key}: it says which events the second stage is validated with, or is chosen once it "
                "has learnt, so that trials would not compare, or not differ"
            )
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            try:
                trial = found.trial({key: value})
            except ValueError as error:
                raise ValueError(f"{space}: space.{key}: {str(error).removeprefix('the trial: ')}") from None
            if _goes_by(trial) != _goes_by(base):
                raise ValueError(
                    f"{space}: space.{key}: it changes the validation figure that trials go by, or what it is of, so "
                    "that they would not compare: set it in the pipeline"
                )
    return found


def _goes_by(pipeline: Pipeline) -> tuple[Any, ...]:
    """The settings that name the validation figure of a training, and what it is measured with: labels, or events."""
    ranking, measured = pipeline.ranking, None
    if ranking is not None:
        learning = ranking.learning
        measured = (learning.events, learning.share) if pipeline.two_stages else (ranking.labels, ranking.monitor)
    return pipeline.training.monitor, pipeline.two_stages, measured
