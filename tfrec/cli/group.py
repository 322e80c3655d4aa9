"""The click group that every command joins, and what commands share: the console, and quiet imports."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import tfrec

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(tfrec.__version__, prog_name="tfrec")
@click.pass_context
def command(context: click.Context) -> None:
    """Sequential recommendation, from a table of events to a served model."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def console() -> Any:
    """Rich's console on standard output; where that is no terminal, wide enough to cut nothing."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 260)


@contextlib.contextmanager
def without_greetings() -> Iterator[None]:
    """Keep what native libraries print while they are loaded off standard error; no variable of theirs does."""
    if os.environ.get("TFREC_DEBUG"):
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
