"""Records what finished runs gave; `readme.py` writes the tables of the README from the records.

python benchmarks/results.py NAME RUN [RUN ...]    runs of one row, a seed each, as benchmarks/run.py makes them and
                                                   records itself -> results/NAME.json
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from compare import against_baselines, beside, half_widths
from inputs import data_digest, flat, without_idle

from tfrec import config
from tfrec.features import EVENTS_SCORED, PER_USER, RECOMMENDATIONS_TEST

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROWS = ROOT / "benchmarks" / "rows.yaml"
# A program that scores a run's recommendations by itself, beside the checkout or where `TFREC_SCORER` says.
SCORER = Path(os.environ.get("TFREC_SCORER", ROOT.parent / "shared" / "tools" / "score.py"))
TOLERANCE = 1e-6
WRITTEN = (":(exclude)README.md", ":(exclude)benchmarks/results")
FIGURES = ("hr@10", "ndcg@10", "mrr@10", "coverage@10")
COLD = "cold_items"
SLICES = (COLD, "warm_items", "few_events")


def rows() -> dict[str, dict[str, Any]]:
    """The rows of the table by name."""
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def record(
    name: str, folders: Sequence[Path], found: Mapping[str, Any] | None = None, *, other_data: bool = False
) -> Path:
    """Write the record of a row's runs and what other rows say of it; the file.

    Args:
        name: of the row.
        folders: its runs.
        found: what `summarized` says of them; asked where None.
        other_data: whether a record of other data may go.

    Raises:
        ValueError: as `summarized` and `write` do.
    """
    found = summarized(commits(folders), folders) if found is None else found
    found = {**found, "scorer": _scored(folders), **_beside(name, folders)}
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
    return [note.read_text(encoding="utf-8") if note.exists() else "unknown" for note in notes]


def _scored(folders: Sequence[Path]) -> dict[str, Any] | None:
    """The SHA-256 of the independent scorer, and how far its figures are from the runs' at most; None without one.

    Raises:
        ValueError: it finds a rule broken, or a figure that differs.
    """
    if not SCORER.exists():
        print(
            f"no independent scorer looked at the figures: {SCORER} is not there, TFREC_SCORER names one",
            file=sys.stderr,
        )
        return None
    gaps = []
    for folder in folders:
        theirs = _scores(folder)
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        parts = [(theirs["all"], metrics["test"])]
        parts += [(theirs["cold"], metrics["slices"][COLD])] if "cold" in theirs else []
        gaps += [abs(one[figure] - other[figure]) for one, other in parts for figure in FIGURES[:3]]
    if max(gaps) > TOLERANCE:
        raise ValueError(f"{SCORER.name} and the runs differ by {max(gaps):.2g}, and may by {TOLERANCE}")
    return {"sha256": hashlib.sha256(SCORER.read_bytes()).hexdigest(), "largest_difference": max(gaps)}


def _scores(folder: Path) -> dict[str, Any]:
    """What the independent scorer says of a run, of the users with a cold target too where items are held out.

    Raises:
        ValueError: it finds a rule broken.
    """
    items = pd.read_parquet(folder / "dataset" / "items.parquet", columns=["item_id", "held_out"])
    cold = items.loc[items["held_out"] == 1, ["item_id"]]
    words = ["--events", folder / EVENTS_SCORED, "--recs", folder / RECOMMENDATIONS_TEST, "--cutoffs", "10"]
    with tempfile.TemporaryDirectory() as scratch:
        if len(cold):
            cold.to_csv(Path(scratch) / "cold.csv", index=False)
            words += ["--cold", Path(scratch) / "cold.csv"]
        done = subprocess.run([sys.executable, SCORER, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{SCORER.name} refuses {folder}: {(done.stdout + done.stderr).strip()[-300:]}")
    return json.loads(done.stdout)


def commit_note(run: Path) -> Path:
    """Where the commit stands that the training of a run began with."""
    return run.with_suffix(".commit")


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
        ValueError: the runs differ in more than the seed, or were trained on other data.
    """
    runs = [_read(folder) for folder in folders]
    settings = [{**run["settings"], "seed": None} for run in runs]
    read = [{**run["read"], "seed": None} for run in runs]
    differing = sorted({name for other in read for name in read[0] if other[name] != read[0][name]})
    if differing:
        raise ValueError(f"the runs must differ in their seed alone, and differ in {', '.join(differing)}")
    digests = [run["data_digest"] for run in runs]
    if len(set(digests)) > 1:
        raise ValueError(f"the runs must be of the same data, and what the models see of them differs: {digests}")
    test = {figure: [run["metrics"]["test"][figure] for run in runs] for figure in FIGURES}
    return {
        "pipeline": settings[0]["name"],
        "commits": list(commits),
        "seeds": [run["settings"]["seed"] for run in runs],
        "settings": settings[0],
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
    """The full name of a commit."""
    return _git("rev-parse", "--verify", revision)


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
    settings = pipeline.model_dump(mode="json")
    settings["data"].pop("root")
    settings["export"].pop("base_path")
    read = without_idle(flat(settings))
    epochs = stages["train"]["history"][: stages["train"]["best_epoch"]]
    return {
        "metrics": metrics,
        "settings": settings,
        "read": read,
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


def setting(name: str, value: Any) -> str:
    """`name=value`, as `--set` takes it."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 1
    print(record(arguments[0], [Path(folder) for folder in arguments[1:]]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(f"results.py: error: {error}")
