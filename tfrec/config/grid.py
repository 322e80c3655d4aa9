"""The grid file of `tfrec compare`: the variants of a pipeline, each read and checked before any of them is trained."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from tfrec.config.loading import parse, read_declared, read_file, section_of, shown, written
from tfrec.config.schema import Pipeline
from tfrec.config.values import Settings, one_or_more

# Trainings that one comparison may ask for.
MOST_RUNS = 200
# Sections that a variant may change; the others hold for all of a comparison.
CHANGEABLE = ("data", "model", "training", "ranking")
# What `model.text.start` begins with where it names a variant.
START = "variant:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SHOWN_MISTAKES = 3

_Seed = Annotated[int, Field(ge=0, lt=2**31)]
_Changes = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class Grid(Settings):
    """What a grid file may say."""

    seeds: Annotated[tuple[_Seed, ...], BeforeValidator(one_or_more), Field(min_length=1)] | None = Field(
        None, description="each variant is trained once a seed; the pipeline's own by default"
    )
    reference: str | None = Field(None, description="the variant that the others are compared with; the first one")
    variants: dict[str, _Changes] = Field(default_factory=dict, description="name -> changes of settings")
    grid: _Changes = Field(
        default_factory=dict, description="setting -> list of values: every combination is a variant"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.variants and not self.grid:
            raise ValueError("there is nothing to compare: give variants, as name -> changes, or a grid of lists")
        repeated = [seed for seed in self.seeds or () if (self.seeds or ()).count(seed) > 1]
        if repeated:
            raise ValueError(f"seeds names {repeated[0]} twice, and each seed is trained once")
        for name in self.variants:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"variants has the name {name!r}, which names a folder: up to 100 letters, digits, `_`, `.` and "
                    "`-`, beginning with a letter or a digit"
                )
        return self


@dataclass(frozen=True)
class Variant:
    """One variant of a comparison.

    Attributes:
        name: fit to name a folder.
        changes: dotted key -> value, in the order in which they apply.
        pipeline: the settings with the changes, at the first seed.
    """

    name: str
    changes: Mapping[str, Any]
    pipeline: Pipeline

    @property
    def start(self) -> str | None:
        """Name of the variant whose towers this one starts from."""
        start = self.pipeline.model.text.start or ""
        return start.removeprefix(START) if start.startswith(START) else None

    def settings(self) -> dict[str, Any]:
        """Every setting that a variant may change, by its dotted key, as plain values."""
        return dict(_dotted(self.pipeline.model_dump(mode="json", include=set(CHANGEABLE))))


@dataclass(frozen=True)
class Plan:
    """What a comparison trains: every variant once a seed.

    Attributes:
        pipeline: the settings that the variants change.
        seeds: distinct.
        reference: name of the variant that the others are compared with.
        variants: in the order of the file, those of `grid` last, but each after the variant that it starts from.
    """

    pipeline: Pipeline
    seeds: tuple[int, ...]
    reference: str
    variants: tuple[Variant, ...]


def load_plan(grid: str | os.PathLike[str], pipeline: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Plan:
    """Read a grid file and the pipeline whose variants it names.

    Args:
        grid: the YAML file; see `Grid`. Changes are written with dotted keys or nested; a mapping changes the settings
            that it names and leaves the others of its section.
        pipeline: the pipeline's YAML file.
        overrides: `key.path=value` each, for every variant; a variant's own changes win.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a file, a variant or the whole says what no comparison can mean; the message names it.
    """
    text = read_file(pipeline, "pipeline")
    base = parse(text, overrides, where=str(pipeline))
    declared = read_declared(grid, "grid", Grid, "`variants` or `grid`")
    seeds = declared.seeds or (base.seed,)
    changes = _changes(declared, len(seeds), str(grid))
    reference = _reference(declared.reference, list(changes), str(grid))
    variants, wrong = [], []
    for name, change in changes.items():
        try:
            variants.append(
                Variant(name, change, _changed(text, overrides, change, seeds[0], f"{grid}: variant {name!r}"))
            )
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - _SHOWN_MISTAKES} more"] if len(wrong) > _SHOWN_MISTAKES else []
        raise ValueError("; ".join([*wrong[:_SHOWN_MISTAKES], *more]))
    _refuse_twins(variants, str(grid))
    _refuse_mixed(variants, str(grid))
    return Plan(base, seeds, reference, tuple(_after_starts(variants, str(grid))))


def _changes(declared: Grid, seeds: int, where: str) -> dict[str, dict[str, Any]]:
    """Name -> dotted changes of every variant, refused where they are too many to train."""
    lists = dict(_dotted(declared.grid))
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}: grid.{key} is {shown(values)}: must be a list of values, and not empty")
    number = len(declared.variants) + (math.prod(map(len, lists.values())) if lists else 0)
    if number * seeds > MOST_RUNS:
        raise ValueError(
            f"{where}: {number:,} variants with {seeds:,} {'seed' if seeds == 1 else 'seeds'} are {number * seeds:,} "
            f"trainings, and {MOST_RUNS} are the most of one comparison: take values out, or make several grids"
        )
    result = {name: _ordered(change, f"{where}: variant {name!r}") for name, change in declared.variants.items()}
    for values in itertools.product(*lists.values()) if lists else ():
        change = _ordered(dict(zip(lists, values, strict=True)), f"{where}: grid")
        name = "-".join(f"{key.rpartition('.')[2]}_{_label(value)}" for key, value in change.items())
        if name in result or not _NAME.fullmatch(name):
            reason = "which another variant has" if name in result else "which is none for a folder"
            raise ValueError(
                f"{where}: the combination {shown(change)} would be named {name!r}, {reason}: "
                "write it under `variants` with a name of its own"
            )
        result[name] = change
    return result


def _ordered(changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Changes as dotted keys, a whole section before its parts, so that none of them is lost."""
    flat = list(_dotted(changes))
    for position, (key, _) in enumerate(flat):
        if key in [other for other, _ in flat[:position]]:
            raise ValueError(f"{where} changes {key} twice")
    return dict(sorted(flat, key=lambda pair: pair[0].count(".")))


def _dotted(changes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted keys; a mapping that is no section, such as one of separators, is a value."""
    for key, value in changes.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and _is_section(path):
            yield from _dotted(value, f"{path}.")
        else:
            yield path, value


def _is_section(path: str) -> bool:
    section: type[BaseModel] | None = Pipeline
    for key in path.split("."):
        field = section.model_fields.get(key) if section is not None else None
        section = section_of(field.annotation) if field is not None else None
    return section is not None


def _label(value: Any) -> str:
    """A value as a part of a variant's name: the last part of a path, no marks that a folder cannot have."""
    if isinstance(value, list):
        return "_".join(map(_label, value))
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text.rstrip("/").rpartition("/")[2]).strip("_")


def _reference(wanted: str | None, names: list[str], where: str) -> str:
    if wanted is None:
        return names[0]
    if wanted not in names:
        nearest = difflib.get_close_matches(wanted, names, n=1, cutoff=0)[0]
        raise ValueError(f"{where}: reference is {wanted!r}, and no variant has that name; the nearest is {nearest!r}")
    return wanted


def _changed(text: str, overrides: Sequence[str], changes: Mapping[str, Any], seed: int, where: str) -> Pipeline:
    """The pipeline with the changes of a variant."""
    try:
        own = [f"{key}={written(value)}" for key, value in changes.items()]
        changed = parse(text, [*overrides, *own, f"seed={seed}"], where=where)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removeprefix(f'{where}: ').removeprefix('--set ')}") from None
    for key in changes:
        section = key.partition(".")[0]
        if section == "seed":
            raise ValueError(f"{where}: changes seed: write `seeds` beside `variants`, for all of them")
        if section not in CHANGEABLE:
            raise ValueError(
                f"{where}: changes {key}; a variant may change {', '.join(CHANGEABLE)}, and the rest holds for all: "
                "change it in the pipeline, or with --set"
            )
    return changed


def _after_starts(variants: Sequence[Variant], where: str) -> list[Variant]:
    """The variants in an order in which each follows the one that it starts from."""
    pipelines = {variant.name: variant.pipeline for variant in variants}
    for variant in variants:
        if variant.start is not None:
            _check_start(variant, variant.start, pipelines, f"{where}: variant {variant.name!r} starts from")
    ordered: list[Variant] = []
    left = list(variants)
    while left:
        known = [None, *(variant.name for variant in ordered)]
        ready = [variant for variant in left if variant.start in known]
        if not ready:
            raise ValueError(f"{where}: the variants {', '.join(v.name for v in left)} start from one another")
        ordered += ready
        left = [variant for variant in left if variant not in ready]
    return ordered


def _check_start(variant: Variant, start: str, pipelines: Mapping[str, Pipeline], told: str) -> None:
    """Refuse a start that cannot be one, before it is trained."""
    if start not in pipelines:
        nearest = difflib.get_close_matches(start, pipelines, n=1, cutoff=0)[0]
        raise ValueError(f"{told} {start!r}, and no variant has that name; the nearest is {nearest!r}")
    ours, theirs = variant.pipeline, pipelines[start]
    if theirs.model.text.tuning != "frozen":
        tuning = theirs.model.text.tuning
        raise ValueError(f"{told} {start!r}, whose own text model is tuned ({tuning}): start from a frozen one")
    before, after = theirs.model.untuned(), ours.model.untuned()
    differing = [f"model.{name}" for name in after if after[name] != before[name]]
    if ours.data != theirs.data or differing:
        name = (differing or ["data"])[0]
        raise ValueError(f"{told} {start!r}, which has another {name}: only how the text is tuned may differ")


def _refuse_mixed(variants: Sequence[Variant], where: str) -> None:
    """Refuse variants that have no figure in common."""
    kinds = {variant.pipeline.predicts_labels: variant.name for variant in reversed(variants)}
    if len(kinds) > 1:
        raise ValueError(
            f"{where}: variant {kinds[True]!r} predicts labels and variant {kinds[False]!r} the next item, which share "
            "no figure: make a grid of each"
        )


def _refuse_twins(variants: Sequence[Variant], where: str) -> None:
    """Refuse two variants of the same settings."""
    seen: dict[str, str] = {}
    for variant in variants:
        settings = variant.pipeline.model_dump(mode="json", include=set(CHANGEABLE))
        other = seen.setdefault(json.dumps(settings, sort_keys=True), variant.name)
        if other != variant.name:
            raise ValueError(f"{where}: the variants {other!r} and {variant.name!r} are the same settings: drop one")
