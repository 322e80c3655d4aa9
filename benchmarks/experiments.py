"""Keeps what trainings gave on the validation split, and writes the table of docs/experiments.md from it.

python benchmarks/experiments.py record PIPELINE RUN [RUN ...] [--note TEXT]     trained runs -> experiments.csv
python benchmarks/experiments.py table                                           experiments.csv -> docs/experiments.md

PIPELINE is the file that a run differs from by a few settings, `tfrec train PIPELINE --set ... --out RUN`. The test
split is neither read nor shown: settings are chosen by what is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd
import results

from tfrec import config

LOG = Path(__file__).with_name("experiments.csv")
PAGE = results.ROOT / "docs" / "experiments.md"
BEGIN, END = "<!-- experiments -->", "<!-- end of experiments -->"
COLUMNS = (
    "pipeline", "changes", "seed", "val_hr@10", "val_ndcg@10", "best_epoch", "epochs", "epoch_seconds", "parameters",
    "commit", "note",
)  # fmt: skip
UNTOLD = ("name", "seed", "data.root", "export", "evaluation")


@click.group()
def main() -> None:
    """Experiments and their figures on the validation split."""


@main.command()
@click.argument("pipeline", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--commit", default="HEAD", show_default=True, help="The code that the runs were made with.")
@click.option("--note", default="", help="What a reader should know.")
def record(pipeline: Path, runs: tuple[Path, ...], commit: str, note: str) -> None:
    """Add trained runs, or replace what was noted of the same settings and seed."""
    found = [{**of_run(pipeline, run), "commit": results.commit(commit)[:10], "note": note} for run in runs]
    known = pd.read_csv(LOG, dtype="str", keep_default_na=False) if LOG.exists() else pd.DataFrame(columns=COLUMNS)
    table = pd.concat([known, pd.DataFrame(found).astype("str")])
    table = table.drop_duplicates(["pipeline", "changes", "seed"], keep="last")
    table[list(COLUMNS)].to_csv(LOG, index=False)
    write()


@main.command()
def table() -> None:
    """Write the page anew."""
    write()


def of_run(pipeline: Path, run: Path) -> dict[str, Any]:
    """A line of the log."""
    trained = json.loads((run / "stages.json").read_text(encoding="utf-8"))["train"]
    best = trained["history"][trained["best_epoch"] - 1]
    settings = config.load(run / "config.yaml")
    return {
        "pipeline": pipeline.stem,
        "changes": " ".join(changes(config.load(pipeline), settings)),
        "seed": settings.seed,
        **{name: f"{best[name]:.4f}" for name in ("val_hr@10", "val_ndcg@10")},
        **{name: trained[name] for name in ("best_epoch", "epochs", "parameters")},
        "epoch_seconds": f"{trained['epoch_seconds']:.0f}",
    }


def changes(base: config.Pipeline, other: config.Pipeline) -> Iterator[str]:
    """`key.path=value` of each setting that the other says otherwise."""
    ours, theirs = (dict(_flat(each.model_dump(mode="json"))) for each in (base, other))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name) and not name.startswith(UNTOLD):
            value = theirs.get(name)
            yield f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def as_markdown() -> str:
    """A table for each pipeline, the best settings first."""
    log = pd.read_csv(LOG, keep_default_na=False)
    parts = []
    for pipeline, lines in log.groupby("pipeline", sort=True):
        rows = [
            f"### {pipeline}",
            "",
            "| settings | NDCG@10 | HR@10 | seed | epoch | of | s | weights | |",
            "|" + " --- |" * 9,
        ]
        for line in lines.sort_values("val_ndcg@10", ascending=False).itertuples(index=False):
            values = dict(zip(log.columns, line, strict=True))
            told = (
                "<br>".join(f"`{change}`" for change in values["changes"].split(" "))
                if values["changes"]
                else "as it is"
            )
            cells = [
                told, f"{values['val_ndcg@10']:.4f}", f"{values['val_hr@10']:.4f}", values["seed"],
                values["best_epoch"], values["epochs"], values["epoch_seconds"], f"{values['parameters']:,}",
                values["note"],
            ]  # fmt: skip
            rows.append("| " + " | ".join(map(str, cells)) + " |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def with_tables(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{as_markdown()}\n{END}{after}"


def write() -> None:
    """Write the page."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
