"""`tfrec search`: settings drawn from declared ranges, trained and judged by validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tfrec.cli.group import FOLDER, command, console, without_greetings

_HELP = """\
Search for good settings within declared ranges, by the validation split alone.

\b
trials: 20                    # trainings at most
prune: true                   # end trials that do worse than most did at their epoch
space:
  model.dim: [32, 64, 128]    # one of a list
  model.dropout: {low: 0.0, high: 0.5}
  training.learning_rate: {low: 0.0005, high: 0.01, log: true}
  training.epochs: {low: 5, high: 20, step: 5}

Run again, it goes on: finished trials stay, an interrupted one is trained on. The best settings are written as a
pipeline, best.yaml, which `tfrec run` takes. Needs Optuna: pip install 'tfrec[search]'.
"""


@command.command(help=_HELP)
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option("--space", required=True, type=click.Path(path_type=Path), help="YAML file that declares the ranges.")
@click.option("--out", type=FOLDER, help="Folder of the search; runs/<pipeline name>_search by default.")
@click.option("--trials", type=click.IntRange(min=1), help="Trainings at most, in place of the space's.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change one setting of all trials.")
def search(pipeline: Path, space: Path, out: Path | None, trials: int | None, overrides: Sequence[str]) -> None:
    """Search the ranges of a space, and print the trials."""
    from tfrec import config

    plan = config.load_search(space, pipeline, overrides)
    with without_greetings():
        from tfrec import stages
        from tfrec.report import tables

    folder = out or Path("runs") / f"{plan.pipeline.name}_search"
    found = stages.search(plan, folder, trials)
    console().print(tables.console(found.headings, found.rows, "validation, the best first"))
    click.echo(f"report: {folder / 'search.md'}   the best: tfrec run {folder / 'best.yaml'}")
