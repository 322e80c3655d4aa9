"""`tfrec rollback`: an earlier version is the one that is served again."""

from __future__ import annotations

from pathlib import Path

import click

from tfrec.cli.group import command, without_greetings


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "version", type=click.IntRange(min=1), help="Which version; that of before by default.")
@click.option("--label", default="stable", show_default=True, help="The label that moves.")
@click.option("--remove", is_flag=True, help="Take the label away, such as that of a canary.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=0,
    help="Seconds that a running server needs to notice and load a version: its poll interval and a little more. "
    "With --server the longest wait, 0 for 300 s.",
)
@click.option(
    "--server", help="REST address of a running server, such as http://localhost:8501: asked until it has the version."
)
def rollback(model: Path, version: int | None, label: str, settle: float, server: str | None, *, remove: bool) -> None:
    """Move the label of a published MODEL (saved_models/NAME) back to the version that it stood for before.

    Once more, and it is the one before that. Without a record of it, it is the newest lower version.
    """
    with without_greetings():
        from tfrec.serving.rollbacks import rollback as move
        from tfrec.serving.rollbacks import withdraw
        from tfrec.serving.waiting import RunningServer

    if remove:
        if version is not None:
            raise click.UsageError("--remove takes a label away; --to moves it: give one of them.")
        withdraw(model, label)
        return
    click.echo(move(model, version, label=label, server=RunningServer(server, settle)))
