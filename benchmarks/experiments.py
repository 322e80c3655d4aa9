"""Keeps what trainings gave on the validation split, and writes the tables of docs/experiments.md from it.

python benchmarks/experiments.py record NAME RUN [RUN ...] --commit C [--note TEXT]    trained runs -> experiments.jsonl
python benchmarks/experiments.py table                           experiments.jsonl -> docs/experiments.md

NAME is a pipeline, pipelines/NAME.yaml, that a run differs from by some settings (`tfrec prepare`, then `tfrec train
pipelines/NAME.yaml --set ... --out RUN`). The test split is neither read nor shown: settings are chosen by this page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import results
from declared import PIPELINES
from inputs import flat, without_idle

from tfrec import config

LOG = Path(__file__).with_name("experiments.jsonl")
PAGE = results.ROOT / "docs" / "experiments.md"
MARK = "experiments"
HEAD = "| settings | NDCG@10 | HR@10 | seed | epoch | of | s | weights | |"
# What is kept of the settings: what a model learns from and how. When it stops is said by the epochs.
KEPT, STOP = ("data.max_length", "data.windows", "model.", "training."), "training.patience"
UNSEEN = "training.objective.unseen"


@click.group()
def main() -> None:
    """Experiments and their figures on the validation split."""


@main.command()
@click.argument("name")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--commit", required=True, help="The code that the runs were made with.")
@click.option("--note", default="", help="What a reader should know.")
def record(name: str, runs: tuple[Path, ...], commit: str, note: str) -> None:
    """Add trained runs of a pipeline, in place of what was noted of the same settings and seed."""
    if not (PIPELINES / f"{name}.yaml").is_file():
        raise click.ClickException(f"there is no pipeline {name!r}: name a file of {PIPELINES}, without .yaml")
    lines = {_key(line): line for line in log()}
    for run in runs:
        line = {"pipeline": name, **of_run(run), "commit": results.commit(commit)[:10], "note": note}
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


def of_run(run: Path) -> dict[str, Any]:
    """Settings and figures of a trained run, those of its best epoch."""
    try:
        trained = json.loads((run / "stages.json").read_text(encoding="utf-8"))["train"]
    except (OSError, ValueError, KeyError) as error:
        raise click.ClickException(f"{run} holds no finished training: run tfrec train --out {run} first") from error
    best = trained["history"][trained["best_epoch"] - 1]
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
