"""Holds runs to what they are recorded as: to the pipeline that a row declares, and to one another."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inputs import FOLD, SEED, differing

from tfrec import config

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
FREE = ("name", SEED, FOLD)  # What a run may say otherwise than its row.
SHOWN = 5  # Of the settings that differ.


def finished(run: Path) -> config.Pipeline:
    """The settings of a run that was measured under them.

    Raises:
        ValueError: it was not, or not yet.
        OSError: there is no run, or a table is not there.
    """
    from tfrec.stages.run import pending  # TensorFlow comes with it.

    pipeline = config.load(run / "config.yaml")
    left = pending(pipeline, run, "evaluate")
    if left:
        raise ValueError(f"{run} is not finished: {left[0]} is to be done. Run it to its end.")
    return pipeline


def unlike(row: Mapping[str, Any], pipeline: config.Pipeline) -> list[str]:
    """In words, each setting that a run or a record says otherwise than its row: the pipeline, with what is set."""
    declared = config.load(PIPELINES / f"{row['pipeline']}.yaml", row.get("set", ()))
    return in_words(differing(pipeline, declared, FREE))


def in_words(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """What `differing` found."""
    return [f"{name} is {json.dumps(ours)} and not {json.dumps(theirs)}" for name, (ours, theirs) in found.items()]


def shown(words: Sequence[str]) -> str:
    """The first of some words, and how many more there are."""
    more = [f"and {len(words) - SHOWN} more"] if len(words) > SHOWN else []
    return ", ".join([*words[:SHOWN], *more])


def held_to(row: Mapping[str, Any], pipelines: Sequence[config.Pipeline]) -> None:
    """Refuse runs of other settings than those of a row.

    Raises:
        ValueError: a setting differs; it is named.
    """
    told = list(dict.fromkeys(words for pipeline in pipelines for words in unlike(row, pipeline)))
    if told:
        given = "".join(f" --set {shlex.quote(change)}" for change in row.get("set", ()))
        pipeline = f"pipelines/{row['pipeline']}.yaml{given}"
        raise ValueError(f"the runs are not of {pipeline}: {shown(told)}; train them with its settings")


def fewer_seeds(path: Path, seeds: Sequence[int]) -> str | None:
    """In words, that the record of a file is of more seeds than these; None where it is not, or there is none."""
    known = json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.exists() else []
    if len(seeds) >= len(known):
        return None
    return f"{path.name} is of {len(known)} seeds, and these are {len(seeds)}; --record writes them in its place"


def alike(pipelines: Sequence[config.Pipeline], *, folds: bool = False) -> list[int]:
    """The seeds of runs that differ in their seed alone, or with `folds` in their fold.

    Raises:
        ValueError: they differ in more, or a seed is there twice.
    """
    free, seeds = (SEED, *([FOLD] if folds else [])), [each.seed for each in pipelines]
    names = sorted({name for other in pipelines for name in differing(other, pipelines[0], free)})
    if names:
        raise ValueError(f"the runs must differ in their seed alone, and differ in {', '.join(names)}")
    if not folds and len(set(seeds)) < len(seeds):
        raise ValueError(f"each run must have a seed of its own, and they are {', '.join(map(str, seeds))}")
    return sorted(set(seeds)) if folds else seeds
