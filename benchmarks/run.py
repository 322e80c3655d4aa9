"""Runs a row of the results table again, from the raw tables to the figures: three seeds, then the record.

python benchmarks/run.py NAME [--seed N ...] [--out FOLDER] [--fresh] [--record]     NAME is a row of rows.yaml

A seed is a run of its own under FOLDER, runs/benchmarks/NAME by default. One that was stopped goes on where it was, and
a finished one is not repeated; where the code is another by now that is said, and --fresh trains it again. Fewer seeds
than three, or than the record has, give figures and no record, unless --record asks for one. The data are read from
`TFREC_DATA`, or data/.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import declared
import readme
import results
from compare import SEEDS_OF_A_CLAIM
from inputs import data_digest

from tfrec import config

SEEDS = (1, 2, 3)
# Of a run: the file that a training writes when it starts from nothing, and at no other time.
BEGUN = Path("checkpoints", "key")


@click.command()
@click.argument("name", type=click.Choice(sorted(results.rows())))
@click.option("--seed", "seeds", type=int, multiple=True, default=SEEDS, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--fresh", is_flag=True, help="Remove what is there of these seeds first.")
@click.option("--record", "recorded", is_flag=True, help="Write record and tables with fewer seeds, too.")
@click.option("--other-data", is_flag=True, help="Let the record go that is of other data than these.")
def main(name: str, seeds: tuple[int, ...], out: Path | None, *, fresh: bool, recorded: bool, other_data: bool) -> None:
    """Run a row, show its figures, and write its record and the tables."""
    row, folder = results.rows()[name], out or results.ROOT / "runs" / "benchmarks" / name
    folders = [folder / f"seed_{seed}" for seed in dict.fromkeys(seeds)]
    for seed, run in zip(dict.fromkeys(seeds), folders, strict=True):
        if fresh:
            shutil.rmtree(run, ignore_errors=True)
        _train(row, name, seed, run)
    found = results.summarized(results.commits(folders), folders)
    print(readme.table({name: found}))
    if not recorded and len(folders) < SEEDS_OF_A_CLAIM:
        print(f"not recorded: a record is of {SEEDS_OF_A_CLAIM} seeds, unless --record asks for one")
        return
    try:
        print(results.record(name, folders, found, fewer=recorded, other_data=other_data))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"not recorded: {error}") from error
    readme.write_tables()


def _train(row: dict, name: str, seed: int, folder: Path) -> None:
    """One seed, up to its figures; each stage is skipped where it is done."""
    print(f"\n{name}, seed {seed}: {folder}", flush=True)
    pipeline = declared.PIPELINES / f"{row['pipeline']}.yaml"
    changes = [f"seed={seed}", f"name={name}", *row.get("set", [])]
    words = [part for change in changes for part in ("--set", change)]
    for stage in ("prepare", "train", "evaluate"):
        command = [shutil.which("tfrec", path=Path(sys.executable).parent) or "tfrec", stage, str(pipeline)]
        with _commit_noted(folder) if stage == "train" else contextlib.nullcontext():
            run = subprocess.run([*command, "--out", str(folder), *words], check=False)
        if run.returncode:
            raise click.ClickException(f"{name}, seed {seed}: tfrec {stage} ended with status {run.returncode}")
        if stage == "prepare":
            told = results.other_than_recorded(name, data_digest(folder, config.load(pipeline, changes)))
            print(f"data: {told or 'those of the record'}", flush=True)


@contextlib.contextmanager
def _commit_noted(folder: Path) -> Iterator[None]:
    """Beside a run, the commit of the code that its training began with, whatever becomes of the training.

    It is written where a training starts from nothing. One that goes on, or is done, keeps what is there; where nothing
    is, the commit is unknown.
    """
    note, begun = results.commit_note(folder), _begun(folder)
    commit = results.commit() + (" and changes" if results.changed() else "")
    note.parent.mkdir(parents=True, exist_ok=True)
    if begun is None:
        note.write_text(commit, encoding="utf-8")
    elif not note.exists():
        note.write_text(results.UNKNOWN, encoding="utf-8")
    elif note.read_text(encoding="utf-8") != commit:
        print(f"{folder.name} was begun by {note.read_text(encoding='utf-8')}, and the code is {commit}", flush=True)
    try:
        yield
    finally:
        if _begun(folder) not in (None, begun):
            note.write_text(commit, encoding="utf-8")


def _begun(folder: Path) -> tuple[str, int] | None:
    """What the file says that a training began with, and when it was written; None where there is none."""
    path = folder / BEGUN
    return (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns) if path.exists() else None


if __name__ == "__main__":
    main()
