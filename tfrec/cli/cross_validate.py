"""`tfrec cross-validate`: a pipeline trained once a fold, mean and spread of what it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tfrec.cli.group import FOLDER, command, console, without_greetings


@command.command("cross-validate")
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, help="Folder of the folds; runs/<pipeline name>_folds by default.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change one setting; repeatable.")
def cross_validate(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train once a fold, and print mean and spread of the test figures.

    The pipeline's `data.split` is `folds_events` or `folds_users`. Run again, it repeats nothing: what is finished
    stays, an interrupted training goes on.
    """
    from tfrec import config

    settings = config.load(pipeline, overrides)
    with without_greetings():
        from tfrec import stages
        from tfrec.report import cross_validation, tables

    folder = out or Path("runs") / f"{settings.name}_folds"
    found = stages.cross_validate(settings, folder)
    title = f"test figures over {settings.data.split.folds} folds; spread: standard deviation"
    console().print(tables.console(*cross_validation.folds_table(found), title))
    click.echo(f"report: {folder / 'cross_validation.md'}")
