"""Variants of a pipeline, each prepared, trained and measured as a run of its own, then set side by side."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfrec import build, config
from tfrec.config.yaml_rules import Dumper, Loader
from tfrec.report.comparison import Comparison
from tfrec.report.comparison_tables import write_comparison
from tfrec.report.cost_plot import write_cost_plot
from tfrec.report.prediction_comparison import PredictionComparison
from tfrec.report.summaries import write_hparams
from tfrec.stages.child import perform
from tfrec.stages.contenders import contender
from tfrec.stages.fit import TENSORBOARD
from tfrec.stages.ledger import CONFIG, Run, write_text
from tfrec.stages.run import pending

RECORD, RUNS, VARIANTS, PLOT = "comparison.yaml", "runs", "variants", "comparison.png"
LAST = "evaluate"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Trial:
    """One training of a comparison: a variant at a seed, in a folder of the comparison's."""

    variant: config.Variant
    seed: int
    root: Path

    @property
    def out(self) -> Path:
        return self._of(self.variant.name)

    @property
    def start(self) -> Path | None:
        """The run of the variant that this one starts from."""
        return None if self.variant.start is None else self._of(self.variant.start)

    @property
    def overrides(self) -> list[str]:
        """What the variant's file leaves open."""
        start = [] if self.start is None else [f"model.text.start={json.dumps(str(self.start))}"]
        return [f"seed={self.seed}", *start]

    @property
    def pipeline(self) -> config.Pipeline:
        pipeline = self.variant.pipeline.model_copy(update={"seed": self.seed})
        if self.start is None:
            return pipeline
        return pipeline.model_copy(update={"model": config.change(pipeline.model, {"text.start": str(self.start)})})

    def _of(self, variant: str) -> Path:
        return self.root / RUNS / variant / f"seed_{self.seed}"

    def __str__(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"


def compare(plan: config.Plan, out: str | Path | None = None) -> Comparison:
    """Train what is not trained yet of a plan, one after the other, and write the comparison.

    Each variant at each seed is a run in `<out>/runs/<variant>/seed_<n>`, each of its stages a process, so that seconds
    and peak memory are its own. Every seed is gone through before the next, so that an interrupted comparison has seen
    all variants alike. What fails is logged and shown as not trained; the others go on.

    Args:
        plan: the variants; see `config.load_plan`.
        out: the folder; `runs/<pipeline name>_compare` where None. It may hold this comparison with fewer variants or
            other seeds.

    Returns:
        What `comparison.json`, `comparison.md`, `comparison.png` and `tensorboard/` in the folder show.

    Raises:
        ValueError: a table is wrong, the folder is something else's, or nothing at all could be trained.
        OSError: a file cannot be read or written.
    """
    out = Path(out) if out is not None else Path("runs") / f"{plan.pipeline.name}_compare"
    _refuse_foreign(plan, out)
    trials = [_Trial(each, seed, out) for seed in plan.seeds for each in plan.variants]
    for trial in trials:  # Reads every table and folder before anything is written, as far as it is there.
        pending(trial.pipeline, trial.out, LAST if trial.start is None else "prepare")
        build.text_mark(trial.pipeline.model.text)
    with locked(out):
        _record(plan, out)
        failed = _work(trials, out)
        if len(failed) == len(trials):
            raise ValueError(
                f"none of the {len(trials)} trainings succeeded; the first, {trials[0]}: {failed[str(trials[0])]}"
            )
        comparison = _collect(plan, trials, failed)
        _write(out, comparison, trials, failed)
    return comparison


def _work(trials: Sequence[_Trial], out: Path) -> dict[str, str]:
    """Do every trial that is not done; trial -> reason of those that failed."""
    failed: dict[str, str] = {}
    for number, trial in enumerate(trials, 1):
        donors = [other for other in trials[: number - 1] if other.pipeline.data == trial.pipeline.data]
        if any(other.out == trial.start and str(other) in failed for other in trials[: number - 1]):
            reason: str | None = f"the variant that it starts from, {trial.variant.start}, was not trained"
        else:
            reason = _train(trial, donors, out, f"{number} of {len(trials)}")
        if reason is not None:
            failed[str(trial)] = reason
            logger.warning("%s failed: %s", trial, reason)
    return failed


def _train(trial: _Trial, donors: Sequence[_Trial], out: Path, place: str) -> str | None:
    """Do the stages of a trial that are not done; why one of them failed, if it did."""
    _share(trial, donors)
    left = pending(trial.pipeline, trial.out, LAST)
    logger.info("%s: %s: %s", place, trial, f"{', '.join(left)} ..." if left else "done before")
    return next(filter(None, (perform(stage, *_command(trial, out), str(trial)) for stage in left)), None)


def _share(trial: _Trial, donors: Sequence[_Trial]) -> None:
    """Give a new run what an earlier one has of the same settings, so that it is made once.

    That is the data set, and the retrieval model where another ranker orders what it recalls.
    """
    if trial.out.exists():
        return
    for stage in ("prepare", "train"):
        able = [donor for donor in donors if stage == "prepare" or _same_training(trial, donor)]
        donor = next((donor for donor in able if not pending(donor.pipeline, donor.out, stage)), None)
        if donor is None:
            return
        Run(trial.pipeline, trial.out).adopt(stage, Run(donor.pipeline, donor.out))


def _same_training(trial: _Trial, donor: _Trial) -> bool:
    """Whether both train the same retrieval model, on the same data."""
    ours, theirs = trial.pipeline, donor.pipeline
    if ours.predicts_labels or theirs.predicts_labels:
        return False
    return (ours.seed, ours.model, ours.training) == (theirs.seed, theirs.model, theirs.training)


def _command(trial: _Trial, out: Path) -> tuple[Path, Path, list[str]]:
    """Pipeline file, folder and overrides of a trial's stages."""
    return _file(out, trial.variant), trial.out, trial.overrides


def _file(out: Path, variant: config.Variant) -> Path:
    return out / VARIANTS / f"{variant.name}.yaml"


def _collect(plan: config.Plan, trials: Sequence[_Trial], failed: Mapping[str, str]) -> Comparison:
    contenders = []
    for variant in plan.variants:
        mine = [trial for trial in trials if trial.variant is variant]
        done = {trial.seed: Run(trial.pipeline, trial.out) for trial in mine if str(trial) not in failed}
        reasons = {trial.seed: failed[str(trial)] for trial in mine if str(trial) in failed}
        contenders.append(contender(variant, done, reasons))
    kind = PredictionComparison if plan.variants[0].pipeline.predicts_labels else Comparison
    return kind(plan.pipeline.name, plan.reference, contenders)


def _write(out: Path, comparison: Comparison, trials: Sequence[_Trial], failed: Mapping[str, str]) -> None:
    write_cost_plot(out / PLOT, comparison)
    write_comparison(out, comparison, PLOT)
    models = {(each.name, seed): model for each in comparison.contenders for seed, model in each.trained.items()}
    settings = {trial.variant.name: trial.variant.settings() for trial in trials}
    names = {name for one in settings.values() for name in one}
    differing = sorted(name for name in names if len({str(one.get(name)) for one in settings.values()}) > 1)
    sessions = {}
    for trial in trials:
        if str(trial) not in failed:
            chosen = {name: settings[trial.variant.name].get(name) for name in differing}
            model = models[trial.variant.name, trial.seed]
            cost = {"cost/train_seconds": model.train_seconds, "cost/peak_memory_mb": model.peak_memory_mb}
            figures = {**model.session(comparison.names), **cost}
            sessions[f"{trial.variant.name}-seed_{trial.seed}"] = (
                {"variant": trial.variant.name, "seed": trial.seed, **chosen}, figures,
            )  # fmt: skip
    write_hparams(out / TENSORBOARD, sessions)


def _record(plan: config.Plan, out: Path) -> None:
    """Make the folder this comparison's: what is compared, and each variant as a pipeline of its own."""
    with _writable(out):
        (out / VARIANTS).mkdir(exist_ok=True)
        document: dict[str, Any] = {
            "pipeline": plan.pipeline.name,
            "seeds": list(plan.seeds),
            "reference": plan.reference,
            "variants": {each.name: dict(each.changes) for each in plan.variants},
        }
        write_text(out / RECORD, yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120))
        for each in plan.variants:
            write_text(_file(out, each), config.dump(each.pipeline))


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"--out {out} cannot be written: {error.strerror}. Name another folder."
        raise PermissionError(message) from error


def _refuse_foreign(plan: config.Plan, out: Path) -> None:
    """Refuse a folder that holds another comparison, or something else."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file, and a comparison needs a folder. Name another one.")
    if not out.exists() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    try:
        owner = yaml.load((out / RECORD).read_text(encoding="utf-8"), Loader=Loader)
        name, variants = owner["pipeline"], dict(owner["variants"])
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        kind = "a run of one pipeline" if (out / CONFIG).exists() else "files that are no comparison of tfrec"
        raise ValueError(f"--out {out} holds {kind}. Name an empty folder, or one not there yet.") from None
    if name != plan.pipeline.name:
        raise ValueError(
            f"--out {out} is a comparison of the pipeline {name!r}, and this one is of {plan.pipeline.name!r}. "
            "Name another folder."
        )
    ours = {each.name: dict(each.changes) for each in plan.variants}
    if not ours.keys() & variants.keys():
        raise ValueError(
            f"--out {out} is another comparison of {name!r}, of {', '.join(map(repr, variants))}. Name another folder."
        )
    for each in ours.keys() & variants.keys():
        if ours[each] != variants[each] and (out / RUNS / each).exists():
            raise ValueError(
                f"--out {out}: its variant {each!r} has the changes {variants[each]}, and this one has {ours[each]}. "
                f"Give the variant another name, remove {out / RUNS / each}, or name another --out."
            )


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder and keep another comparison out of it; the system frees it with the process."""
    with _writable(out):
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"--out {out}: another tfrec is at work in it. Wait for it, or name another folder."
            raise ValueError(message) from None
        yield
    finally:
        os.close(handle)
