"""A search for good settings: trials of a pipeline, each trained in a process and judged by validation alone.

Optuna draws the settings (a tree-structured Parzen estimator; Bergstra et al., 2011) and says which trial to end early,
by the median of the others at its epoch. Its journal, a file in the folder, is all that a search remembers.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrec import build, config
from tfrec.config.search import Range
from tfrec.report.tables import markdown
from tfrec.stages.child import STOPPED, perform
from tfrec.stages.comparison import locked
from tfrec.stages.fit import CHECKPOINTS
from tfrec.stages.ledger import LEDGER, Run, write_text
from tfrec.stages.rank import RANKING
from tfrec.stages.run import pending
from tfrec.training.checkpoint import stored_history

if TYPE_CHECKING:
    import optuna

JOURNAL, RECORD, BEST, PAGE, TRIALS = "search.journal", "search.json", "best.yaml", "search.md", "trials"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        figure: the validation figure that it went by.
        headings: of the table.
        rows: one a trial, the best first.
        best: settings of the best trial.
        value: its figure.
    """

    figure: str
    headings: list[str]
    rows: list[list[str]]
    best: dict[str, Any]
    value: float


def search(plan: config.Search, out: str | Path | None = None, trials: int | None = None) -> Found:
    """Train trials until there are as many as wanted, and write `search.md` and the best settings, `best.yaml`.

    Run again, it goes on: finished trials stay, an interrupted one is trained on from its last epoch.

    Args:
        plan: see `config.load_search`.
        out: the folder; `runs/<pipeline name>_search` where None.
        trials: in place of those of the space.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: the folder is another search's, a table is wrong, or no trial could be trained.
        OSError: a file cannot be read or written.
    """
    _optuna()
    out = Path(out) if out is not None else Path("runs") / f"{plan.pipeline.name}_search"
    _refuse_foreign(plan, out)
    pending(plan.pipeline, out / TRIALS / "trial_0", "prepare")  # Reads every table before anything is written.
    with locked(out):
        write_text(out / RECORD, json.dumps(_record(plan), indent=2) + "\n")
        study = _study(plan, out)
        unfinished = [trial for trial in study.trials if trial.state.name == "RUNNING"]
        wanted = trials or plan.space.trials
        for trial in unfinished:
            _work(plan, out, study, _drawn(plan, _resumed(study, trial)))
        while len(study.trials) < wanted:
            study.sampler = _sampler(plan, len(study.trials))
            _work(plan, out, study, _drawn(plan, study.ask()))
        return _finish(plan, out, study)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError(
            "`tfrec search` needs Optuna, which is not installed: pip install 'tfrec[search]', or pip install optuna."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(plan: config.Search, out: Path) -> optuna.Study:
    optuna = _optuna()
    from optuna.storages.journal import JournalFileBackend

    _, lower = build.monitor(plan.pipeline)
    pruner = optuna.pruners.MedianPruner(n_warmup_steps=1) if plan.space.prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(out / JOURNAL))),
        study_name=plan.pipeline.name,
        sampler=_sampler(plan, 0),
        pruner=pruner,
        direction="minimize" if lower else "maximize",
        load_if_exists=True,
    )


def _sampler(plan: config.Search, number: int) -> Any:
    """What draws one trial: a sampler that is made anew would else begin with the draws of the first ones again."""
    (seed,) = np.random.SeedSequence([plan.space.seed, number]).generate_state(1)
    return _optuna().samplers.TPESampler(seed=int(seed))


def _resumed(study: optuna.Study, trial: Any) -> optuna.Trial:
    from optuna.trial import Trial

    return Trial(study, trial._trial_id)


def _drawn(plan: config.Search, trial: optuna.Trial) -> optuna.Trial:
    """A trial with all of its settings; those that it had before an interruption stay."""
    for key, values in plan.space.space.items():
        _suggest(trial, key, values)
    return trial


def _suggest(trial: optuna.Trial, key: str, values: Range | list[Any]) -> None:
    """Draw a setting; of a list its place is drawn, since values may be lists themselves."""
    if not isinstance(values, Range):
        trial.suggest_categorical(key, list(range(len(values))))
    elif values.whole:
        trial.suggest_int(key, int(values.low), int(values.high), step=int(values.step or 1), log=values.log)
    else:
        trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)


def _settings(plan: config.Search, params: dict[str, Any]) -> dict[str, Any]:
    """The settings of what was drawn."""
    found = {}
    for key, values in plan.space.space.items():
        found[key] = params[key] if isinstance(values, Range) else values[params[key]]
    return found


def _work(plan: config.Search, out: Path, study: optuna.Study, trial: optuna.Trial) -> None:
    """Train a trial, and tell the study how it ended."""
    from optuna.trial import TrialState

    settings, label = _settings(plan, trial.params), f"trial {trial.number}"
    logger.info("%s: %s", label, ", ".join(f"{key}={value}" for key, value in settings.items()))
    reason, folder = _trained(plan, out, trial, settings), out / TRIALS / f"trial_{trial.number}"
    if reason == STOPPED:
        logger.info("%s: ended early", label)
        study.tell(trial.number, state=TrialState.PRUNED)
    elif reason is not None:
        logger.warning("%s failed: %s", label, reason)
        trial.set_user_attr("reason", reason)
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        figures = json.loads((folder / LEDGER).read_text(encoding="utf-8"))[plan.last]
        trial.set_user_attr("seconds", figures["seconds"])
        trial.set_user_attr("parameters", figures["parameters"])
        figure, lower = build.monitor(plan.pipeline)
        study.tell(trial.number, _reached(figures, figure, lower=lower))


def _reached(figures: dict[str, Any], figure: str, *, lower: bool) -> float:
    """What a training validated at its best epoch; of an ensemble the mean of its members', as an export says it."""
    if figures.get("members"):
        return statistics.fmean(each[figure] for each in figures["members"])
    return (min if lower else max)(each[figure] for each in figures["history"])


def _trained(plan: config.Search, out: Path, trial: optuna.Trial, settings: dict[str, Any]) -> str | None:
    """Do the stages of a trial; why one of them failed, or that it was ended, if so."""
    folder = out / TRIALS / f"trial_{trial.number}"
    try:
        pipeline = plan.trial(settings)
    except ValueError as error:
        return str(error)
    file = out / TRIALS / f"trial_{trial.number}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, config.dump(pipeline))
    _share(pipeline, folder, plan.last)
    figure, _ = build.monitor(pipeline)
    epochs = folder / (CHECKPOINTS if plan.last == "train" else RANKING)
    watch = _watch(trial, epochs, figure) if pipeline.training.ensemble == 1 else None
    for stage in pending(pipeline, folder, plan.last):
        reason = perform(stage, file, folder, [], f"trial {trial.number}", watch=watch if stage == plan.last else None)
        if reason is not None:
            return reason
    return None


def _share(pipeline: config.Pipeline, folder: Path, last: str) -> None:
    """Give a new trial what an earlier one has of the same settings before the last stage, so that it is made once."""
    if folder.exists():
        return
    donors = sorted(folder.parent.glob("trial_[0-9]*/"))
    for stage in ("prepare",) if last == "train" else ("prepare", "train"):
        donor = next((donor for donor in donors if not pending(pipeline, donor, stage)), None)
        if donor is None:
            return
        Run(pipeline, folder).adopt(stage, Run(pipeline, donor))


def _watch(trial: optuna.Trial, folder: Path, figure: str) -> Callable[[], bool]:
    """What looks, whenever a training says something, at its epochs, and says whether it is to be ended."""
    told = set(trial.study.trials[trial.number].intermediate_values)

    def ended() -> bool:
        for epoch, logs in enumerate(stored_history(folder)):
            if epoch not in told:
                told.add(epoch)
                trial.report(logs[figure], epoch)
                if trial.should_prune():
                    return True
        return False

    return ended


def _finish(plan: config.Search, out: Path, study: optuna.Study) -> Found:
    from optuna.trial import TrialState

    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not done:
        reasons = [trial.user_attrs["reason"] for trial in study.trials if "reason" in trial.user_attrs]
        first = f"; the first: {reasons[0]}" if reasons else ""
        raise ValueError(f"none of the {len(study.trials)} trials of {out} was trained to its end{first}")
    figure, lower = build.monitor(plan.pipeline)
    best = study.best_trial
    settings = _settings(plan, best.params)
    headings, rows = _table(plan, study, figure, lower=lower)
    told = f"# Best of {len(study.trials)} trials, trial {best.number}: {figure} {best.value:.4f} on validation.\n"
    write_text(out / BEST, told + config.dump(plan.trial(settings)))
    page = [f"# Search: {plan.pipeline.name}", markdown(headings, rows), _NOTE.format(figure=figure, best=BEST)]
    write_text(out / PAGE, "\n\n".join(page) + "\n")
    return Found(figure, headings, rows, settings, best.value or float("nan"))


_NOTE = """\
{figure} is the best epoch's, on validation; of a trial that was ended early the best until then. The test split was not
looked at. What is chosen from many trials looks better on validation than it is: `tfrec run {best}` says how good."""


def _table(plan: config.Search, study: optuna.Study, figure: str, *, lower: bool) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of all trials, the best first, those that failed last."""
    headings = ["trial", *plan.space.space, figure, "epochs", "state", "seconds", "parameters"]
    rows = []
    for trial in study.trials:
        seen = list(trial.intermediate_values.values())
        value = trial.value if trial.value is not None else (min(seen) if lower else max(seen)) if seen else None
        facts = [trial.user_attrs.get(name) for name in ("seconds", "parameters")]
        rows.append(
            (
                (value is None, 0.0 if value is None else value if lower else -value),
                [
                    str(trial.number),
                    *(_short(each) for each in _settings(plan, trial.params).values()),
                    "–" if value is None else f"{value:.4f}",
                    str(len(seen) or "–"),
                    {"COMPLETE": "whole", "PRUNED": "ended early", "FAIL": "failed"}.get(trial.state.name, "waiting"),
                    *("–" if fact is None else f"{fact:,.0f}" for fact in facts),
                ],
            )
        )
    return headings, [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _record(plan: config.Search) -> dict[str, Any]:
    """What makes trials comparable: the space, and the settings that it changes, as the pipeline has them."""
    stages = ("prepare", "train") if plan.last == "train" else ("prepare", "train", "rank")
    pipeline = [config.stage_settings(plan.pipeline, stage) for stage in stages]
    return {"pipeline": pipeline, "space": plan.space.model_dump(mode="json")["space"]}


def _refuse_foreign(plan: config.Search, out: Path) -> None:
    """Refuse a folder that holds another search, or something else."""
    if not out.exists() or (out.is_dir() and all(path.name.startswith(".") for path in out.iterdir())):
        return
    try:
        owner = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"--out {out} holds no search of tfrec. Name an empty folder, or one not there yet.") from None
    if owner != _record(plan):
        part = "space" if owner.get("space") != _record(plan)["space"] else "pipeline"
        raise ValueError(f"--out {out} is a search with another {part}, and trials would not compare: name another.")
