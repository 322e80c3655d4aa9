"""The order of the stages: each asks the ledger whether it is done, does its work, and says so."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfrec import config
from tfrec.data import Runner
from tfrec.stages.assist import assist
from tfrec.stages.disk import disk_errors_told
from tfrec.stages.evaluate import evaluate_stage
from tfrec.stages.export import catalogue, export_of, export_stage
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import prepare_by, prepare_stage
from tfrec.stages.publish import publish_stage
from tfrec.stages.rank import rank_stage
from tfrec.stages.stage import Stage
from tfrec.stages.train import CHECKPOINTS, train_on, train_stage
from tfrec.stages.workers import devices, gathered
from tfrec.training import Cluster, Replicas, rendezvous

logger = logging.getLogger(__name__)

STAGES = {
    "prepare": prepare_stage,
    "train": train_stage,
    "rank": rank_stage,
    "evaluate": evaluate_stage,
    "export": export_stage,
    "publish": publish_stage,
}


def run(
    pipeline: config.Pipeline,
    out: str | Path | None = None,
    *,
    only: str | None = None,
    items: str | Path | None = None,
    runner: Runner | None = None,
) -> Path | None:
    """Do the stages of a pipeline that are not done yet.

    prepare <- train <- evaluate, and train <- export <- publish: what is exported does not depend on what is measured.
    With two stages, `rank` comes between `train` and what reads it.

    Args:
        pipeline: the settings.
        out: folder of the run; `runs/<pipeline name>` where None.
        only: one stage; what it reads must have been done under the same settings. All stages where None.
        items: with `only="export"`, a table whose items are the catalogue in place of the pipeline's. Data set and
            weights are taken as they are, whatever became of the pipeline's tables, and a later `publish` takes the
            export as it is. The next export without it has the pipeline's own catalogue again.
        runner: with `only="prepare"`, who prepares the tables, such as a `tfrec.data.BeamRunner`.

    Returns:
        The folder; None of a worker that `TF_CONFIG` names and that is not the chief, which only helps to train.

    Raises:
        ValueError: a setting, a table or the folder is wrong, or an earlier stage is missing.
        OSError: a file cannot be read or written.
    """
    stages = _stages_of(pipeline)
    if only == "rank" and only not in stages:
        raise ValueError("`rank` is the stage of a ranker after retrieval, and ranking.recall is not set, such as 200.")
    if only is not None and only not in stages:
        raise ValueError(f"`only` must be one of {', '.join(stages)}, or None for all; received {only!r}.")
    if items is not None and only != "export":
        raise ValueError(f"`items` is for the stage `export` alone; received {str(items)!r} with {only!r}.")
    if runner is not None and only != "prepare":
        raise ValueError(f"`runner` is for the stage `prepare` alone; received one with {only!r}.")
    if items is not None and pipeline.ranking is not None:
        raise ValueError(
            "`--items` gives a model that recommends another catalogue, and this pipeline has the section `ranking`: a "
            "ranker judges the items of its data set. Train it again for others."
        )
    current = Run(pipeline, Path(out) if out is not None else Path("runs") / pipeline.name)
    cluster = Cluster.read(os.environ) if only in (None, "train") else None
    if cluster is not None and not cluster.is_chief:
        _assist(current, cluster, only)
        return None
    with current.locked():
        if cluster is not None:
            _lead(current, cluster, only)
        else:
            replicas = devices(current) if only in (None, "train") else None
            _do(current, only, _others(items, replicas, runner), recorded=items is not None)
    return current.out


def _others(items: str | Path | None, replicas: Replicas | None, runner: Runner | None = None) -> dict[str, Stage]:
    """The stages that this call asks for in place of the usual ones."""
    exporting = {} if items is None else {"export": export_of(Path(items))}
    preparing = {} if runner is None else {"prepare": prepare_by(runner)}
    return exporting | preparing | ({} if replicas is None else {"train": train_on(replicas)})


def _lead(current: Run, cluster: Cluster, only: str | None) -> None:
    """The stages of a chief, who has the others' help in training; those who come when it is done are told."""
    (key, prepared), (_, trained) = _training_states(current)
    if trained:
        with rendezvous.dismissing(cluster):
            _do(current, only)
        return
    if only is not None and not prepared:
        raise _needs(only, "prepare", current, key)
    replicas = gathered(current, cluster, current.path(CHECKPOINTS))
    _do(current, only, _others(None, replicas))


def _assist(current: Run, cluster: Cluster, only: str | None) -> None:
    """The part in a training of a worker that is not the chief; nothing else is its work."""
    (key, prepared), (_, trained) = _training_states(current)
    if trained:
        logger.info("train: done before, nothing to do")
    elif not prepared and only is not None:
        raise _needs(only, "prepare", current, key)
    else:
        assist(current, cluster, key, prepared=prepared)


def _training_states(current: Run) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """Key of `prepare` and of `train`, each with whether it is done."""
    stages = _stages_of(current.pipeline)
    states = {name: (key, done) for name, key, done in _states(current, stages, _path_to("train", stages))}
    return states["prepare"], states["train"]


def _do(current: Run, only: str | None, others: Mapping[str, Stage] | None = None, *, recorded: bool = False) -> None:
    """The stages, or the one, that are not done yet; `others` in place of some, and `recorded` as in `_states`."""
    stages = _stages_of(current.pipeline, others)
    as_it_is = recorded or (only == "publish" and bool(catalogue(current)))
    names = [*stages] if only is None else _path_to(only, stages)
    for name, key, done in _states(current, stages, names, recorded=as_it_is):
        if only not in (None, name):
            if not done:
                raise _needs(only, name, current, key)
        elif done:
            logger.info("%s: done before, nothing to do", name)
        else:
            damage = current.damage(name, key)
            if damage is None and current.done(name, key):
                damage = "what it left is damaged"
            if damage is not None:
                logger.warning("%s: done before, but %s: it is done again", name, damage)
            logger.info("%s ...", name)
            with disk_errors_told(current, name):
                stages[name].perform(current, key)


def _needs(stage: str | None, before: str, current: Run, key: str) -> ValueError:
    """What to say where a stage cannot begin: the one before it is not done under this key, or a file of it is bad."""
    damage = current.damage(before, key)
    if damage is not None:
        why = f"which is damaged: {damage}"
    elif current.done(before, key):  # Of the right sizes, and not whole for all that.
        why = f"which was done, but what it left in {current.out} is damaged"
    else:
        why = f"which is not done under these settings in {current.out}"
    return ValueError(
        f"`{stage}` needs the stage `{before}`, {why}. Run `tfrec {before}` first, or `tfrec run` for all."
    )


def _stages_of(pipeline: config.Pipeline, others: Mapping[str, Stage] | None = None) -> dict[str, Stage]:
    """The stages by name, some replaced by `others`; those after `rank` read it where the pipeline has two stages."""
    stages = {**STAGES, **(others or {})}
    if not pipeline.two_stages:
        del stages["rank"]
        return stages
    after = {name: dataclasses.replace(stages[name], reads="rank") for name in ("evaluate", "export")}
    return {**stages, **after}


def pending(pipeline: config.Pipeline, out: Path, last: str) -> list[str]:
    """Those of the stages that lead to `last`, and of itself, that are not done under these settings.

    Raises:
        ValueError: a table or the folder is wrong.
        OSError: a file cannot be read.
    """
    stages = _stages_of(pipeline)
    return [name for name, _, done in _states(Run(pipeline, out), stages, _path_to(last, stages)) if not done]


def _states(
    current: Run, stages: Mapping[str, Stage], names: Sequence[str], *, recorded: bool = False
) -> Iterator[tuple[str, str, bool]]:
    """Name, key and whether it is done, of each stage at its turn: those before it may be performed meanwhile.

    Where `recorded`, the inputs of the stages before the last one are what the ledger remembers of them.
    """
    keys: dict[str | None, str] = {None: ""}
    for name in names:
        stage = stages[name]
        inputs = stage.recorded if recorded and name != names[-1] and stage.recorded else stage.inputs
        key = keys[name] = current.key(name, [keys[stage.reads], inputs(current)])
        yield name, key, current.done(name, key) and stage.complete(current)


def _path_to(stage: str, stages: Mapping[str, Stage]) -> list[str]:
    """The stages that lead to one, and it."""
    before = stages[stage].reads
    return [*(_path_to(before, stages) if before else []), stage]
