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
@click.option(
    "--candidates",
    metavar="X,Y,Z",
    help="Of a ranker: the item ids that it judges, split like --history; without them the whole catalogue. With "
    "--events they are judged for each user.",
)
@click.option("--text", help="What is wanted, or who asks, in words; alone, or beside --history.")
@click.option(
    "--events",
    type=FILE,
    help="Table of events: every user in it gets recommendations, of a ranker predictions. Columns that the model was "
    "trained with, such as the ratings of past events, are read, too.",
)
@click.option("--output", type=FILE, help="Parquet file for the answers to --events.")
@click.option("--k", type=click.IntRange(min=1), help="How many items; 10, or all of --candidates, by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recommend(
    model: Path,
    history: str | None,
    candidates: str | None,
    text: str | None,
    events: Path | None,
    output: Path | None,
    k: int | None,
    *,
    as_json: bool,
) -> None:
    """Ask an exported MODEL: a folder of versions, or one version.

    A model that recommends answers with items; a ranker with what it predicts of the candidates, ordered by its first
    label. To --history alone nothing but ids is known of the past.
    """
    if candidates is not None and (text is not None or (history is None and events is None)):
        raise click.UsageError(
            "--candidates goes with --history or --events; for a user of whom nothing is known: --history ''"
        )
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

        from tfrec.serving import answers, opening

    if events is not None and output is not None:
        _write(model, events, output, candidates, k)
        return
    if candidates is not None or (text is None and opening.judges(model)):
        _predict(model, history or "", candidates, k, as_json=as_json)
        return
    loaded = answers.load(model)
    items = _ids(history or "", loaded.items.index)
    table = loaded.recommend([items], k or 10, *([] if text is None else [[text]])).drop(columns="row")
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    if as_json:
        said = {} if text is None else {"text": text}
        click.echo(json.dumps({"history": items, **said, "recommendations": rows}, ensure_ascii=False))
    elif rows:
        _print_answers([(*list(row.values())[:3], row["score"]) for row in rows], ("score",))
    else:
        click.echo("nothing is left to recommend: the history holds all that the model may show", err=True)


def _write(model: Path, events: Path, output: Path, candidates: str | None, k: int | None) -> None:
    """Write the answers for all users of a table: items, or of a ranker what it predicts of candidates."""
    from tfrec.serving import answers, opening

    if candidates is None and not opening.judges(model):
        answers.recommend_file(model, events, output, k=k or 10)
        return
    from tfrec.serving import exported_ranker, prediction_files

    loaded = exported_ranker.load_ranker(model)
    asked = None if candidates is None else _ids(candidates, loaded.items.index)
    prediction_files.predict_file(loaded, events, output, asked, k or (10 if asked is None else None))


def _predict(model: Path, history: str, candidates: str | None, k: int | None, *, as_json: bool) -> None:
    """Show what a ranker says of candidates."""
    from tfrec.serving import exported_ranker

    loaded = exported_ranker.load_ranker(model)
    items = _ids(history, loaded.items.index)
    asked = None if candidates is None else _ids(candidates, loaded.items.index)
    table = loaded.predict(items, asked, k or (10 if asked is None else None))
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    if as_json:
        click.echo(json.dumps({"history": items, "predictions": rows}, ensure_ascii=False))
    elif rows:
        places = [each["rank"] for each in rows]
        titles = [each["title"] if each["known"] else "(not known to the model)" for each in rows]
        values = [[each[exported_ranker.PREDICTED + label] for label in loaded.labels] for each in rows]
        ids = [each["item_id"] for each in rows]
        _print_answers(
            [(*cells, *row) for *cells, row in zip(places, ids, titles, values, strict=True)], [*loaded.labels]
        )
    else:
        click.echo("there is nothing to judge: --candidates names no item", err=True)


def _ids(history: str, known: Container[str]) -> list[str]:
    """The ids between the commas: as `prepare` keeps them, blanks included, where the model knows them so."""
    parts = [part for part in history.split(",") if part.strip()]
    return [part if part in known else part.strip() for part in parts]


def _print_answers(rows: Sequence[Sequence[Any]], numbers: Sequence[str]) -> None:
    """Print rank, item and title of each row, and its numbers, which have their headings."""
    from rich.table import Table
    from rich.text import Text

    table = Table("rank", "item", "title", *numbers, box=None, pad_edge=False)
    for place, column in enumerate(table.columns):
        column.justify, column.no_wrap = "left" if place in (1, 2) else "right", True
    for row in rows:
        table.add_row(*(Text(f"{cell:.4f}" if place > 2 else str(cell)) for place, cell in enumerate(row)))
    console().print(table)
