"""Keeps what trainings gave on the validation split, and writes the tables of docs/experiments.md from it.

python benchmarks/experiments.py record NAME RUN [RUN ...] [--commit C] [--note TEXT]  trained runs -> experiments.jsonl
python benchmarks/experiments.py table                           experiments.jsonl -> docs/experiments.md

NAME is a pipeline, pipelines/NAME.yaml, that a run differs from by some settings of its model or its training, on the
same data (`tfrec prepare`, then `tfrec train pipelines/NAME.yaml --set ... --out RUN`). The test split is neither read
nor shown: settings are chosen by this page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import results
from declared import PIPELINES, in_words, shown
from inputs import DATASET, data_digest, differing, flat, without_idle

from tfrec import config

LOG = Path(__file__).with_name("experiments.jsonl")
PAGE = results.ROOT / "docs" / "experiments.md"
MARK = "experiments"
HEAD = "| settings | NDCG@10 | HR@10 | seed | epoch | of | s | weights | |"
# What is kept of the settings: what a model learns from and how. When it stops is said by the epochs.
KEPT, STOP = ("data.max_length", "data.windows", "model.", "training."), "training.patience"
UNSEEN = "training.objective.unseen"
# Of the data: by what a figure is judged, which no digest tells, and what may differ where there is no digest.
JUDGED = ("data.split.", "data.seen", "data.target_events")
OPEN = (*KEPT[:2], "data.items.text", "data.items.categorical", "data.items.numeric", "data.shards")


@click.group()
def main() -> None:
    """Experiments and their figures on the validation split."""


@main.command()
@click.argument("name")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--commit", help="The code that the runs were made with; by default what is noted beside each run.")
@click.option("--note", default="", help="What a reader should know.")
def record(name: str, runs: tuple[Path, ...], commit: str | None, note: str) -> None:
    """Add trained runs of a pipeline, in place of what was noted of the same settings and seed."""
    if not (PIPELINES / f"{name}.yaml").is_file():
        raise click.ClickException(f"there is no pipeline {name!r}: name a file of {PIPELINES}, without .yaml")
    given, lines = None if commit is None else results.commit(commit), {_key(line): line for line in log()}
    for run in runs:
        try:
            line, told = {"pipeline": name, **of_run(run)}, other_data(name, run)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        if told:
            raise click.ClickException(f"{run} is no experiment of {name}: {told}")
        line |= {"commit": _short(given or _noted(run)), "note": note}
        lines[_key(line)] = line
    LOG.write_text("".join(json.dumps(line) + "\n" for line in lines.values()), encoding="utf-8")
    results.fill(PAGE, MARK, as_markdown())


@main.command()
def table() -> None:
    """Write the page anew."""
    results.fill(PAGE, MARK, as_markdown())


def log() -> list[dict[str, Any]]:
    """What is known; of settings that came later, the defaults."""
    text = LOG.read_text(encoding="utf-8") if LOG.exists() else ""
    defaults = flat({"model": config.Model(), "training": config.Training()})
    defaults.pop(STOP)
    lines = [json.loads(line) for line in text.splitlines()]
    defaults["data.windows"] = "newest"
    return [{**line, "settings": without_idle({**defaults, **line["settings"]})} for line in lines]


def _key(line: Mapping[str, Any]) -> str:
    return json.dumps([line["pipeline"], line["seed"], line["settings"]], sort_keys=True)


def _noted(run: Path) -> str:
    """The commit that is noted beside a run."""
    commit = results.commits([run])[0]
    if commit == results.UNKNOWN:
        note = results.commit_note(run)
        raise click.ClickException(f"{note} does not say which code {run} was made with: --commit says it")
    return commit


def _short(commit: str) -> str:
    """The first ten digits of a commit, and what is said after it."""
    name, space, more = commit.partition(" ")
    return f"{name[:10]}{space}{more}"


def other_data(name: str, run: Path) -> str | None:
    """In words, that the data of a run are not those of a pipeline; None where they are.

    They are compared by their digest with those of the pipeline's record, and where there is no record, or the run has
    no data set any more, by the settings that decide them.
    """
    base, pipeline = config.load(PIPELINES / f"{name}.yaml"), config.load(run / "config.yaml")
    digested = (results.RESULTS / f"{name}.json").exists() and (run / DATASET).exists()
    found = {key: each for key, each in differing(pipeline, base).items() if key.startswith("data.")}
    wrong = [key for key in found if key.startswith(JUDGED) or not (digested or key.startswith(OPEN))]
    if wrong:
        return shown(in_words({key: found[key] for key in wrong}))
    return results.other_than_recorded(name, data_digest(run, base)) if digested else None


def of_run(run: Path) -> dict[str, Any]:
    """Settings and figures of a trained run, those of its best epoch."""
    try:
        trained = json.loads((run / "stages.json").read_text(encoding="utf-8"))["train"]
    except (OSError, ValueError, KeyError) as error:
        raise click.ClickException(f"{run} holds no finished training: run tfrec train --out {run} first") from error
    best = trained["history"][trained["best_epoch"] - 1]
    if "val_ndcg@10" not in best:
        raise click.ClickException(f"{run} has no validation NDCG@10: the experiments are those of retrieval models")
    pipeline = config.load(run / "config.yaml")
    return {
        "seed": pipeline.seed,
        "settings": kept(pipeline),
        **{name: round(best[name], 4) for name in ("val_hr@10", "val_ndcg@10")},
        **{name: trained[name] for name in ("best_epoch", "epochs", "parameters")},
        "epoch_seconds": round(trained["epoch_seconds"]),
    }


def kept(pipeline: config.Pipeline) -> dict[str, Any]:
    """The settings of a pipeline that matter here, by dotted name; what the data decide is said outright."""
    told = {
        name: value
        for name, value in flat({"data": pipeline.data, "model": pipeline.model, "training": pipeline.training}).items()
        if name.startswith(KEPT) and name != STOP
    }
    if told[UNSEEN] is None:
        told[UNSEEN] = pipeline.data.seen == "remove"
    if told["training.objective.name"] == "retrieval":  # Which reads it not: what a user has had competes.
        told[UNSEEN] = False
    return without_idle(told)


def changes(base: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """`key.path=value` of each setting that the other says otherwise."""
    for name, value in sorted(other.items()):
        if base.get(name) != value:
            yield results.setting(name, value)


def as_markdown() -> str:
    """A table for each pipeline, the best settings first."""
    lines, parts = log(), []
    for name in sorted({line["pipeline"] for line in lines}):
        base, rows = kept(config.load(PIPELINES / f"{name}.yaml")), [HEAD, "|" + " --- |" * 9]
        for line in sorted(
            (line for line in lines if line["pipeline"] == name), key=lambda line: (-line["val_ndcg@10"], line["seed"])
        ):
            told = "<br>".join(f"`{change}`" for change in changes(base, line["settings"]))
            cells = [
                told or "**as it is**", f"{line['val_ndcg@10']:.4f}", f"{line['val_hr@10']:.4f}", line["seed"],
                line["best_epoch"], line["epochs"], line["epoch_seconds"], f"{line['parameters']:,}", line["note"],
            ]  # fmt: skip
            rows.append("| " + " | ".join(map(str, cells)) + " |")
        parts.append("\n".join([f"## {name}", "", *rows]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
