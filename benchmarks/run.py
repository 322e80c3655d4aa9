"""Runs a row of the results table again, from the raw tables to the figures: three seeds, then the record.

python benchmarks/run.py NAME [--seed N ...] [--out FOLDER]      NAME is a row of benchmarks/rows.yaml

A seed is a run of its own under FOLDER, runs/benchmarks/NAME by default. One that was stopped goes on where it was, and
a finished one is not repeated. The data are read from `TFREC_DATA`, or data/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import results

SEEDS, COMMIT = (1, 2, 3), ".commit"


@click.command()
@click.argument("name", type=click.Choice(sorted(results.rows())))
@click.option("--seed", "seeds", type=int, multiple=True, default=SEEDS, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False))
def main(name: str, seeds: tuple[int, ...], out: Path | None) -> None:
    """Run a row and write its record and the tables."""
    row, folder = results.rows()[name], out or results.ROOT / "runs" / "benchmarks" / name
    folders = [folder / f"seed_{seed}" for seed in dict.fromkeys(seeds)]
    for seed, run in zip(dict.fromkeys(seeds), folders, strict=True):
        _train(row, name, seed, run)
    print(results.record(name, [run.with_suffix(COMMIT).read_text(encoding="utf-8") for run in folders], folders))
    results.write_tables()
    print(results.table([name]))


def _train(row: dict, name: str, seed: int, folder: Path) -> None:
    """One seed, up to its figures; each stage is skipped where it is done.

    The commit of the code lies beside the run: of a run that is gone on with, the one that it was begun with.
    """
    print(f"\n{name}, seed {seed}: {folder}", flush=True)
    pipeline = results.ROOT / "pipelines" / f"{row['pipeline']}.yaml"
    changes = [f"seed={seed}", f"name={name}", *row.get("set", [])]
    words = [part for change in changes for part in ("--set", change)]
    made_with = folder.with_suffix(COMMIT)
    if not made_with.exists():
        made_with.parent.mkdir(parents=True, exist_ok=True)
        made_with.write_text(results.commit() + (" and changes" if results.changed() else ""), encoding="utf-8")
    for stage in ("prepare", "train", "evaluate"):
        command = [shutil.which("tfrec", path=Path(sys.executable).parent) or "tfrec", stage, str(pipeline)]
        run = subprocess.run([*command, "--out", str(folder), *words], check=False)
        if run.returncode:
            raise click.ClickException(f"{name}, seed {seed}: tfrec {stage} ended with status {run.returncode}")


if __name__ == "__main__":
    main()
