"""Records what finished runs gave; `readme.py` writes the tables of the README from the records.

python benchmarks/results.py NAME RUN [RUN ...] [--record] [--other-data]

NAME is a row of rows.yaml, and its runs are a seed each, of the settings of the row, as benchmarks/run.py makes and
records them itself -> results/NAME.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml
from compare import against_baselines, beside, half_widths
from declared import alike, fewer_seeds, finished, held_to
from inputs import data_digest, plain
from scorer import COLD, scored

from tfrec import config
from tfrec.features import PER_USER

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROWS = ROOT / "benchmarks" / "rows.yaml"
UNKNOWN = "unknown"  # A commit.
WRITTEN = (":(exclude)README.md", ":(exclude)benchmarks/results")
FIGURES = ("hr@10", "ndcg@10", "mrr@10", "coverage@10")
SLICES = (COLD, "warm_items", "few_events")


def rows() -> dict[str, dict[str, Any]]:
    """The rows of the table by name."""
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def record(
    name: str,
    folders: Sequence[Path],
    found: Mapping[str, Any] | None = None,
    *,
    fewer: bool = False,
    other_data: bool = False,
) -> Path:
    """Write the record of a row's runs and what other rows say of it; the file.

    Args:
        name: of the row.
        folders: its runs.
        found: what `summarized` says of them; asked where None.
        fewer: whether a record of more seeds may go.
        other_data: whether a record of other data may go.

    Raises:
        ValueError: there is no such row, a run is not finished or of other settings, or as `summarized` and `write` do.
        OSError: a run or its tables are not there.
    """
    if name not in rows():
        raise ValueError(f"there is no row {name!r}; those of {ROWS.name} are {', '.join(rows())}")
    held_to(rows()[name], [finished(folder) for folder in folders])
    found = summarized(commits(folders), folders) if found is None else found
    told = fewer_seeds(RESULTS / f"{name}.json", found["seeds"])
    if told and not fewer:
        raise ValueError(told)
    found = {**found, "scorer": scored(folders), **_beside(name, folders)}
    path = write(name, found, other_data=other_data)
    for other, row in rows().items():
        theirs = _seeds_of(other, folders)
        if row.get("beside") == name and (RESULTS / f"{other}.json").exists():
            known = json.loads((RESULTS / f"{other}.json").read_text(encoding="utf-8"))
            known.pop("beside", None)  # It is of the record that was here before.
            write(other, {**known, **(_beside(other, theirs) if theirs else _uncompared(other, name))}, other_data=True)
    return path


def commits(folders: Sequence[Path]) -> list[str]:
    """What is noted beside each run, the commit that its training began with; `unknown` where nothing is."""
    notes = map(commit_note, folders)
    return [note.read_text(encoding="utf-8") if note.exists() else UNKNOWN for note in notes]


def commit_note(run: Path) -> Path:
    """Where the commit stands that the training of a run began with."""
    return run.absolute().parent / f"{run.absolute().name}.commit"


def _seeds_of(row: str, folders: Sequence[Path]) -> list[Path]:
    """The runs of another row beside those of one, seed by seed; none unless all are there."""
    theirs = [run.parent.parent / row / run.name for run in folders]
    return theirs if all((run / PER_USER).exists() for run in theirs) else []


def _beside(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """`beside`: the row that this one is compared with -> how they differ."""
    other = rows().get(name, {}).get("beside")
    if other is None:
        return {}
    theirs = _seeds_of(other, folders)
    return {"beside": {other: beside(folders, theirs)}} if theirs else _uncompared(name, other)


def _uncompared(name: str, other: str) -> dict[str, Any]:
    """Say that two rows are not compared; nothing, for a record."""
    print(
        f"{name} is not compared with {other}: runs of both must lie in one folder. Run make benchmark NAME={name} and "
        f"NAME={other}.",
        file=sys.stderr,
    )
    return {}


def write(name: str, document: Mapping[str, Any], *, other_data: bool = False) -> Path:
    """Write a record.

    Raises:
        ValueError: there is one, of other data, and `other_data` does not say that it may go.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    if path.exists() and not other_data:
        told = other_than_recorded(name, document["data_digest"])
        if told:
            raise ValueError(f"{told}; --other-data records these in their place")
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def other_than_recorded(name: str, digest: str) -> str | None:
    """In words, that the data of a row are not those of its record; None where they are, or there is none."""
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["data_digest"] if path.exists() else digest
    if known == digest:
        return None
    return (
        f"the data are not those of {path.name}, which published figures stand beside: what the model sees of them has "
        f"the digest {digest[:12]}, and there {known[:12]}"
    )


def summarized(commits: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """The record of some runs that differ in their seed alone; `commits` say the code that each was made with.

    Raises:
        ValueError: the runs do not differ in the seed, or differ in more, or were trained on other data.
    """
    runs = [_read(folder) for folder in folders]
    seeds = alike([run["pipeline"] for run in runs])
    digests = [run["data_digest"] for run in runs]
    if len(set(digests)) > 1:
        raise ValueError(f"the runs must be of the same data, and what the models see of them differs: {digests}")
    test = {figure: [run["metrics"]["test"][figure] for run in runs] for figure in FIGURES}
    return {
        "pipeline": runs[0]["pipeline"].name,
        "commits": list(commits),
        "seeds": seeds,
        "settings": plain(runs[0]["pipeline"]),
        "data_digest": digests[0],
        "test": {figure: _summary(values) for figure, values in test.items()},
        "half_width": half_widths(folders),
        "validation": {
            figure: _summary([run["metrics"]["validation"][figure] for run in runs]) for figure in FIGURES[:3]
        },
        "slices": {
            part: {figure: _summary([run["metrics"]["slices"][part][figure] for run in runs]) for figure in FIGURES[:3]}
            for part in SLICES
            if part in runs[0]["metrics"]["slices"]
        },
        "slice_half_width": {
            part: half_widths(folders, part) for part in SLICES if part in runs[0]["metrics"]["slices"]
        },
        "baselines": {
            baseline: {figure: figures[figure] for figure in FIGURES}
            for baseline, figures in runs[0]["metrics"]["baselines"].items()
        },
        "differences": against_baselines(folders),
        "timing": [{**run["metrics"]["timing"], "seconds_to_best": run["seconds_to_best"]} for run in runs],
        "peak_memory_mb": max(run["metrics"]["peak_memory_mb"] for run in runs),
        "environments": [run["metrics"]["environment"] for run in runs],
    }


def commit(revision: str = "HEAD") -> str:
    """The full name of a commit.

    Raises:
        click.ClickException: there is none of this name.
    """
    try:
        return _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise click.ClickException(
            f"there is no commit {revision!r} in {ROOT}: give one that git log shows, such as HEAD"
        ) from error


def changed() -> bool:
    """Whether the code is not that of the last commit; what a row itself writes is no code."""
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _read(folder: Path) -> dict[str, Any]:
    metrics, stages = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("metrics.json", "stages.json")
    )
    pipeline = config.load(folder / "config.yaml")
    epochs = stages["train"]["history"][: stages["train"]["best_epoch"]]
    return {
        "metrics": metrics,
        "pipeline": pipeline,
        "data_digest": data_digest(folder, pipeline),
        "seconds_to_best": sum(epoch["epoch_seconds"] for epoch in epochs),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "spread": float(np.ptp(values))}


def records() -> dict[str, dict[str, Any]]:
    """The records of rows, by name; the folder holds those of other benchmarks, too."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    return {name: one for name, one in found.items() if "pipeline" in one}


def between(text: str, mark: str, new: str) -> str:
    """The text with what stands between the two marks of a name made anew."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{new}\n{end}{after}"


def fill(page: Path, mark: str, new: str) -> None:
    """Write anew what stands between the marks of a page."""
    page.write_text(between(page.read_text(encoding="utf-8"), mark, new), encoding="utf-8")


def markdown(heading: Sequence[str], rows: Sequence[Sequence[Any]], words: Sequence[str] = ()) -> str:
    """A table of a page: numbers on the right, the first column and those of `words` on the left."""
    marks = ["---" if place == 0 or name in words else "---:" for place, name in enumerate(heading)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [heading, marks, *rows])


def setting(name: str, value: Any) -> str:
    """`name=value`, as `--set` takes it."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


@click.command()
@click.argument("name")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--record", "fewer", is_flag=True, help="Write the record with fewer seeds than it has, too.")
@click.option("--other-data", is_flag=True, help="Let the record go that is of other data than these.")
def main(name: str, runs: tuple[Path, ...], *, fewer: bool, other_data: bool) -> None:
    """Record finished runs of a row."""
    try:
        print(record(name, runs, fewer=fewer, other_data=other_data))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
