"""`tfrec recommend`: answers of an exported model."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import click

from tfrec.cli.group import FILE, command, console, without_greetings


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--history",
    metavar="A,B,C",
    help="Item ids, the oldest first, split at commas. Blanks around an id are dropped unless the model knows the id "
    "with them. For ids that hold a comma use --events.",
)
@click.option("--text", help="What is wanted, or who asks, in words; alone, or beside --history.")
@click.option("--events", type=FILE, help="Table of events: every user in it gets recommendations.")
@click.option("--output", type=FILE, help="Parquet file for the answers to --events.")
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
    if history is None and text is None and events is None:
        raise click.UsageError("give --history, --text or both, or --events")
    if events is not None and (history is not None or text is not None):
        raise click.UsageError("--events goes without --history and --text")
    if (events is None) != (output is None):
        raise click.UsageError("--events and --output go together")
    if events is not None and as_json:
        raise click.UsageError("--json shows the answer to --history or --text; --events writes Parquet")
    with without_greetings():
        import tensorflow  # noqa: F401

        from tfrec.serving import answers

    if events is not None and output is not None:
        answers.recommend_file(model, events, output, k=k)
        return
    loaded = answers.load(model)
    items = _ids(history or "", loaded.items.index)
    table = loaded.recommend([items], k, *([] if text is None else [[text]])).drop(columns="row")
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    if as_json:
        said = {} if text is None else {"text": text}
        click.echo(json.dumps({"history": items, **said, "recommendations": rows}, ensure_ascii=False))
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
    console().print(table)
