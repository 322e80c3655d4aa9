"""The commands that take a pipeline: a whole run, or one stage of it; and what makes tables before."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tfrec.cli.group import FILE, FOLDER, command, console, without_greetings


def _pipeline_options(function: Callable[..., None]) -> Callable[..., None]:
    """The argument and the two options that every stage takes."""

    @click.argument("pipeline", type=click.Path(path_type=Path))
    @click.option("--out", type=FOLDER, help="Folder of the run; runs/<pipeline name> by default.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change one setting; repeatable.")
    @functools.wraps(function)
    def wrapped(**arguments: Any) -> None:
        function(**arguments)

    return wrapped


def _run(
    pipeline: Path, out: Path | None, overrides: Sequence[str], *, only: str | None = None, **options: Any
) -> None:
    from tfrec import config

    settings = config.load(pipeline, overrides)
    with without_greetings():
        from tfrec import stages

    folder = stages.run(settings, out or Path("runs") / settings.name, only=only, **options)
    if folder is not None and only in (None, "evaluate"):
        _print_results(folder, ranker=settings.ranking is not None and not settings.two_stages)


def _print_results(folder: Path, *, ranker: bool) -> None:
    """The test figures of a run as a table, and where the rest is."""
    from tfrec.report import load_evaluations, tables

    path = folder / "metrics.json"
    if ranker:
        from tfrec.report.prediction_results import load_prediction_tables

        shown = {f"test split, {label}": table for label, table in load_prediction_tables(path).items()}
    else:
        shown = {"test split, full ranking": tables.results_table(load_evaluations(path))}
    for title, (headings, rows) in shown.items():
        console().print(tables.console(headings, rows, f"{title}, ± 95 % half-width over users"))
    click.echo(f"report: {folder / 'report.md'}   curves: tensorboard --logdir {folder / 'tensorboard'}")


@command.command()
@_pipeline_options
def run(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Prepare, train, evaluate, export and publish; a finished stage is not repeated."""
    _run(pipeline, out, overrides)


@command.command()
@_pipeline_options
@click.option(
    "--runner",
    metavar="NAME",
    help="Prepare through Apache Beam, on direct, flink, spark, dataflow or another of its runners; the data set is "
    "the same. Needs Beam: pip install 'tfrec[beam]'.",
)
@click.option(
    "--runner-option", "runner_options", multiple=True, metavar="KEY=VALUE", help="An option of Beam's; repeatable."
)
def prepare(
    pipeline: Path, out: Path | None, overrides: Sequence[str], runner: str | None, runner_options: Sequence[str]
) -> None:
    """Read the tables and write the data set."""
    if runner is None and runner_options:
        raise click.UsageError("--runner-option goes with --runner: name the runner whose option it is.")
    if runner is None:
        _run(pipeline, out, overrides, only="prepare")
        return
    options = _runner_options(runner_options)
    with without_greetings():
        from tfrec.data import BeamRunner

        beam = BeamRunner(runner, options)
    _run(pipeline, out, overrides, only="prepare", runner=beam)


def _runner_options(given: Sequence[str]) -> dict[str, Any]:
    """Options of a runner by name: a list where one is repeated, true and false as such."""
    options: dict[str, Any] = {}
    for option in given:
        key, equals, text = option.partition("=")
        if not key or not equals or key == "runner":
            raise click.UsageError(f"--runner-option takes KEY=VALUE, of an option of Beam's; received {option!r}.")
        value = {"true": True, "false": False}.get(text.lower(), text)
        options.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in options.items()}


@command.command()
@_pipeline_options
def train(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train on the prepared data set; an interrupted training goes on where it was."""
    _run(pipeline, out, overrides, only="train")


@command.command()
@_pipeline_options
def rank(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train the second stage, where ranking.recall is set, on what the trained model recalls."""
    _run(pipeline, out, overrides, only="rank")


@command.command()
@_pipeline_options
def evaluate(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Measure the trained model and write the report."""
    _run(pipeline, out, overrides, only="evaluate")


@command.command()
@_pipeline_options
@click.option(
    "--items",
    type=FILE,
    help="Table of items, its columns called as in the pipeline: what may be recommended from now on. New ones enter "
    "by their text and features, without training; those that it lacks stay in histories.",
)
def export(pipeline: Path, out: Path | None, overrides: Sequence[str], items: Path | None) -> None:
    """Write the trained model for TensorFlow Serving, and check it."""
    _run(pipeline, out, overrides, only="export", **({} if items is None else {"items": items}))


@command.command()
@_pipeline_options
def publish(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Move the exported model to where the server finds it."""
    _run(pipeline, out, overrides, only="publish")


@command.command()
@_pipeline_options
def pretrain(pipeline: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Learn a text model from the texts of the items alone; the folder that it leaves goes into model.text."""
    from tfrec import config

    settings = config.load(pipeline, overrides)
    with without_greetings():
        from tfrec import stages

    click.echo(stages.pretrain(settings, out or Path("runs") / settings.name))


@command.command()
@click.argument("name")
@click.option("--root", type=FOLDER, help="Folder for data; TFREC_DATA, else data, by default.")
def download(name: str, root: Path | None) -> None:
    """Fetch a public data set, where there is a network: ml-1m, ml-100k, amazon-beauty."""
    from tfrec.data.public import download as fetching

    click.echo(fetching.download(name, root or Path(os.environ.get("TFREC_DATA") or "data")))


@command.command()
@click.argument("log", type=FILE)
@click.option("--events", type=int, required=True, help="Number of events.")
@click.option("--users", type=int, help="Number of users; one for 25 events by default.")
@click.option("--items", type=int, help="Number of items; one for 200 events by default, 1000 at least.")
@click.option("--seed", type=int, default=0, help="The log follows from it.")
def simulate(log: Path, events: int, users: int | None, items: int | None, seed: int) -> None:
    """Write a synthetic log of any size, to measure with: LOG ends in .csv, .csv.gz or .parquet."""
    from tfrec.data.synthetic_log import write_log

    click.echo(write_log(log, events=events, users=users, items=items, seed=seed))
