"""The `tfrec` command: reads the arguments, calls the room that does the work, prints; the last step of the flow."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

import tfrec

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(tfrec.__version__, prog_name="tfrec")
@click.pass_context
def command(context: click.Context) -> None:
    """Sequential recommendation, from a table of events to a served model."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _pipeline_options(function: Callable[..., None]) -> Callable[..., None]:
    """The argument and the two options that every stage takes."""

    @click.argument("pipeline", type=click.Path(path_type=Path))
    @click.option("--out", type=_FOLDER, help="Folder of the run; runs/<pipeline name> by default.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change one setting; repeatable.")
    @functools.wraps(function)
    def wrapped(**arguments: Any) -> None:
        function(**arguments)

    return wrapped


def _run(pipeline: Path, out: Path | None, overrides: Sequence[str], *, only: str | None = None) -> None:
    from tfrec import config

    settings = config.load(pipeline, overrides)
    with _without_greetings():
        from tfrec import stages

    folder = stages.run(settings, out or Path("runs") / settings.name, only=only)
    if only in (None, "evaluate"):
        _print_results(folder)


def _print_results(folder: Path) -> None:
    """The test figures of a run as a table, and where the rest is."""
    from tfrec.report import load_evaluations, tables

    headings, rows = tables.results_table(load_evaluations(folder / "metrics.json"))
    _console().print(tables.console(headings, rows, "test split, full ranking, ± 95 % half-width over users"))
    click.echo(f"report: {folder / 'report.md'}   curves: tensorboard --logdir {folder / 'tensorboard'}")


@command.command()
@_pipeline_options
def run(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Prepare, train, evaluate, export and publish; a finished stage is not repeated."""
    _run(pipeline, out, overrides)


@command.command()
@_pipeline_options
def prepare(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Read the tables and write the data set."""
    _run(pipeline, out, overrides, only="prepare")


@command.command()
@_pipeline_options
def train(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train on the prepared data set; an interrupted training goes on where it was."""
    _run(pipeline, out, overrides, only="train")


@command.command()
@_pipeline_options
def evaluate(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Measure the trained model and write the report."""
    _run(pipeline, out, overrides, only="evaluate")


@command.command()
@_pipeline_options
def export(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Write the trained model for TensorFlow Serving, and check it."""
    _run(pipeline, out, overrides, only="export")


@command.command()
@_pipeline_options
def publish(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Move the exported model to where the server finds it."""
    _run(pipeline, out, overrides, only="publish")


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--history",
    metavar="A,B,C",
    help="Item ids, the oldest first, split at commas. Blanks around an id are dropped unless the model knows the id "
    "with them. For ids that hold a comma use --events.",
)
@click.option("--text", help="What is wanted, in words. Not there yet: no model takes it so far.")
@click.option("--events", type=_FILE, help="Table of events: every user in it gets recommendations.")
@click.option("--output", type=_FILE, help="Parquet file for the answers to --events.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recommend(
    model: Path,
    history: str | None,
    text: str | None,
    events: Path | None,
    output: Path | None,
    k: int,
    *,
    as_json: bool,
) -> None:
    """Ask an exported MODEL: a folder of versions, or one version."""
    if text is not None:
        raise click.UsageError("--text: this model takes histories only; use --history or --events")
    if (history is None) == (events is None):
        raise click.UsageError("give either --history or --events" + ("" if history is None else ", not both"))
    if (events is None) != (output is None):
        raise click.UsageError("--events and --output go together")
    if events is not None and as_json:
        raise click.UsageError("--json shows the answer to --history; --events writes Parquet")
    with _without_greetings():
        import tensorflow  # noqa: F401

        from tfrec.serving import answers

    if events is not None and output is not None:
        answers.recommend_file(model, events, output, k=k)
        return
    loaded = answers.load(model)
    items = _ids(history or "", loaded.items.index)
    table = loaded.recommend([items], k).drop(columns="row")
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    if as_json:
        click.echo(json.dumps({"history": items, "recommendations": rows}, ensure_ascii=False))
    elif rows:
        _print_answers(rows)
    else:
        click.echo("nothing is left to recommend: the history holds all that the model may show", err=True)


def _ids(history: str, known: Container[str]) -> list[str]:
    """The ids between the commas: as `prepare` keeps them, blanks included, where the model knows them so."""
    parts = [part for part in history.split(",") if part.strip()]
    return [part if part in known else part.strip() for part in parts]


def _print_answers(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("rank", "item", "title", "score", box=None, pad_edge=False)
    for column, side in zip(table.columns, ("right", "left", "left", "right"), strict=True):
        column.justify, column.no_wrap = side, True  # type: ignore[assignment]
    for row in rows:
        cells = (str(row["rank"]), str(row["item_id"]), str(row["title"]), f"{row['score']:.4f}")
        table.add_row(*map(Text, cells))
    _console().print(table)


def _console() -> Any:
    """Rich's console on standard output; where that is no terminal, wide enough to cut nothing."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)


@command.command()
@click.argument("name")
@click.option("--root", type=_FOLDER, help="Folder for data; TFREC_DATA, else data, by default.")
def download(name: str, root: Path | None) -> None:
    """Fetch a public data set, where there is a network: ml-1m, ml-100k."""
    from tfrec.data import download as fetching

    click.echo(fetching.download(name, root or Path(os.environ.get("TFREC_DATA") or "data")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the status is 0, 1 after one line on standard error, or 130 when interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("tfrec").setLevel(logging.INFO)
    try:
        tfrec.check_backend()
        with command.make_context("tfrec", list(sys.argv[1:] if arguments is None else arguments)) as context:
            command.invoke(context)
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("tfrec: interrupted", file=sys.stderr)
        return 130
    except (click.ClickException, ValueError, OSError, EOFError, ImportError) as error:
        if os.environ.get("TFREC_DEBUG"):
            raise
        print(f"tfrec: error: {_one_line(error)}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
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


def _one_line(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
