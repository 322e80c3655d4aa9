"""`tfrec compare`: variants of a pipeline, trained and set side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tfrec.cli.group import FOLDER, command, console, without_greetings

_HELP = """\
Train the variants that a grid declares, and write one table of quality, cost and real differences.

\b
seeds: [1, 2, 3]       # each variant is trained once a seed; the pipeline's own by default
reference: frozen      # what the others are compared with; the first variant by default
variants:              # name -> changes of settings, dotted keys or nested
  ids: {model.text: none}
  frozen: {model.text: minilm}
grid:                  # besides or in their place: every combination of the lists
  model.text: [none, minilm]
  model.behavior: [attention, lstm]

Run again, it repeats nothing: what is finished stays, an interrupted training goes on, a new variant or seed is
added. Status 1 where a training failed; the table then holds the others.
"""


@command.command(help=_HELP)
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option("--grid", required=True, type=click.Path(path_type=Path), help="YAML file that declares the variants.")
@click.option("--out", type=FOLDER, help="Folder of the comparison; runs/<pipeline name>_compare by default.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change one setting of all variants.")
def compare(pipeline: Path, grid: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train the variants of a grid, and print what they reach and cost."""
    from tfrec import config

    plan = config.load_plan(grid, pipeline, overrides)
    with without_greetings():
        from tfrec import stages
        from tfrec.report import comparison_tables, tables

    folder = out or Path("runs") / f"{plan.pipeline.name}_compare"
    found = stages.compare(plan, folder)
    console().print(tables.console(*comparison_tables.quality_table(found), found.title))
    console().print(tables.console(*comparison_tables.cost_table(found), "what training took"))
    if found.differences:
        title = f"against {found.reference}, paired bootstrap over users"
        console().print(tables.console(*comparison_tables.difference_table(found), title))
    click.echo(f"report: {folder / 'comparison.md'}   HParams: tensorboard --logdir {folder / 'tensorboard'}")
    if found.failures:
        name, seed, reason = found.failures[0]
        raise ValueError(
            f"{len(found.failures)} of the trainings failed; run it again to try them again. "
            f"The first, {name}, seed {seed}: {reason}"
        )
