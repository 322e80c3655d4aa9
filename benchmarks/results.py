"""Records what finished runs gave, and compares them; `readme.py` writes the tables of the README from the records.

python benchmarks/results.py record NAME REVISION RUN [RUN ...]   runs of one pipeline, a seed each -> results/NAME.json
                                                                  (`benchmarks/run.py` makes them, and records them)
python benchmarks/results.py compare RUN OTHER [SLICE]            paired difference of two runs on the same test users,
                                                                  or of the means over seeds of two rows; OTHER may
                                                                  be a baseline of RUN, such as recall_alone
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tfrec import config
from tfrec.evaluation import compare, summary
from tfrec.features import MODEL_ROW, PER_USER, SLICES_TEST, USER_ID

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROWS = ROOT / "benchmarks" / "rows.yaml"
WRITTEN = (":(exclude)README.md", ":(exclude)benchmarks/results")
FIGURES = ("hr@10", "ndcg@10", "mrr@10", "coverage@10")
SLICES = ("cold_items", "warm_items", "few_events")
SEEDS_OF_A_CLAIM = 3


def rows() -> dict[str, dict[str, Any]]:
    """The rows of the table by name."""
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def record(name: str, commits: Sequence[str], folders: Sequence[Path]) -> Path:
    """Write the record of some runs, see `summarized`."""
    return write(name, summarized(commits, folders))


def write(name: str, document: Mapping[str, Any], *, other_data: bool = False) -> Path:
    """Write a record.

    Raises:
        ValueError: there is one, of other data, and `other_data` does not say that it may go.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    if path.exists() and not other_data:
        known = json.loads(path.read_text(encoding="utf-8"))["content_hash"]
        if known != document["content_hash"]:
            raise ValueError(
                f"the data are not those of {path}: their hash is {document['content_hash']}, of the record {known}. "
                "Published figures are of the data of the record; --other-data records these in their place"
            )
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def summarized(commits: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """The record of some runs that differ in their seed alone; `commits` say the code that each was made with.

    Raises:
        ValueError: the runs differ in more than the seed, or were trained on other data.
    """
    runs = [_read(folder) for folder in folders]
    settings = [{**run["settings"], "seed": None} for run in runs]
    if any(other != settings[0] for other in settings):
        raise ValueError("the runs must differ in their seed alone, and their config.yaml files differ in more")
    hashes = [run["content_hash"] for run in runs]
    if len(set(hashes)) > 1:
        raise ValueError(f"the runs must be of the same data, and the content of their data sets differs: {hashes}")
    test = {figure: [run["metrics"]["test"][figure] for run in runs] for figure in FIGURES}
    return {
        "pipeline": settings[0]["name"],
        "commits": list(commits),
        "seeds": [run["settings"]["seed"] for run in runs],
        "settings": settings[0],
        "content_hash": hashes[0],
        "test": {figure: _summary(values) for figure, values in test.items()},
        "half_width": _half_widths(folders),
        "validation": {
            figure: _summary([run["metrics"]["validation"][figure] for run in runs]) for figure in FIGURES[:3]
        },
        "slices": {
            part: {figure: _summary([run["metrics"]["slices"][part][figure] for run in runs]) for figure in FIGURES[:3]}
            for part in SLICES
            if part in runs[0]["metrics"]["slices"]
        },
        "slice_half_width": {
            part: _half_widths(folders, part) for part in SLICES if part in runs[0]["metrics"]["slices"]
        },
        "baselines": {
            baseline: {figure: figures[figure] for figure in FIGURES}
            for baseline, figures in runs[0]["metrics"]["baselines"].items()
        },
        "differences": _differences(folders),
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
    settings = config.load(folder / "config.yaml").model_dump(mode="json")
    settings["data"].pop("root")
    settings["export"].pop("base_path")
    epochs = stages["train"]["history"][: stages["train"]["best_epoch"]]
    return {
        "metrics": metrics,
        "settings": settings,
        "content_hash": stages["prepare"]["content_hash"],
        "seconds_to_best": sum(epoch["epoch_seconds"] for epoch in epochs),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "spread": float(np.ptp(values))}


def _half_widths(folders: Sequence[Path], part: str | None = None) -> dict[str, float]:
    """95 % half-width over users, those of a slice or all, of the mean over seeds."""
    tables = [_rows(pd.read_parquet(folder / PER_USER), MODEL_ROW)[list(FIGURES[:2])] for folder in folders]
    if part is not None:
        tables = [table.loc[_users(folders[0], part)] for table in tables]
    found = summary(pd.concat(tables).groupby(level=0).mean())
    return {figure: found[f"{figure}_half_width"] for figure in FIGURES[:2]}


def _differences(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Paired bootstrap over users of the mean over seeds, against each baseline: 95 % interval and verdict."""
    tables = [pd.read_parquet(folder / PER_USER) for folder in folders]
    result: dict[str, dict[str, Any]] = {}
    names = {name for name in tables[0]["model"] if not name.startswith(MODEL_ROW)}  # Not the model asked otherwise.
    for name in sorted(names - {"oracle"}):
        ours, theirs = [_rows(table, MODEL_ROW) for table in tables], _rows(tables[0], name)
        for figure, difference in compare(ours, theirs, metrics=list(FIGURES[:2])).items():
            ends = {"low": difference.low, "high": difference.high, "verdict": difference.verdict}
            result.setdefault(name, {})[figure] = ends
    return result


def _rows(table: pd.DataFrame, model: str) -> pd.DataFrame:
    return table[table["model"] == model].drop(columns="model").set_index(USER_ID)


def difference(run: Path, other: Path, part: str | None = None) -> str:
    """A line a figure: `run` minus `other` with its 95 % interval, paired over the test users.

    The word for a difference takes three seeds on either side.

    Args:
        run: folder of a run, or of a row, with a folder `seed_N` for each of its runs.
        other: folder of another run or row of the same data, or the name of a baseline of `run`.
        part: a slice, such as `few_events` or `cold_items`, to whose users the comparison is held; None for all.

    Raises:
        ValueError: there is no such slice.
    """
    tables = [pd.read_parquet(folder / PER_USER) for folder in runs_in(run)]
    ours, name = [_rows(table, MODEL_ROW) for table in tables], str(other)
    if not other.exists() and all(name in set(table["model"]) for table in tables):
        theirs = [_rows(table, name) for table in tables]
    else:
        theirs = [_rows(pd.read_parquet(folder / PER_USER), MODEL_ROW) for folder in runs_in(other)]
    if part is not None:
        users = _users(runs_in(run)[0], part)
        ours, theirs = ([table.loc[users] for table in tables] for tables in (ours, theirs))
    claimed = min(len(ours), len(theirs)) >= SEEDS_OF_A_CLAIM
    return "\n".join(
        f"{each.metric}: {each.ours:.4f} - {each.theirs:.4f} = {each.difference:+.4f} "
        f"({each.low:+.4f} to {each.high:+.4f}){', ' + each.verdict if claimed else ''}"
        for each in compare(ours, theirs, metrics=list(FIGURES[:2])).values()
    )


def _users(folder: Path, part: str) -> pd.Index:
    """The test users of a slice.

    Raises:
        ValueError: there is no such slice.
    """
    slices = pd.read_parquet(folder / SLICES_TEST).set_index(USER_ID)
    if part not in slices:
        raise ValueError(f"{folder} has no slice {part!r}; it has {', '.join(slices)}")
    return slices.index[slices[part]]


def beside(folders: Sequence[Path], others: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """What a row is more than another one of the same data: figure -> difference of the means, interval and word."""
    ours, theirs = ([_rows(pd.read_parquet(run / PER_USER), MODEL_ROW) for run in part] for part in (folders, others))
    found = compare(ours, theirs, metrics=list(FIGURES[:2]))
    told = ("difference", "low", "high", "verdict")
    return {figure: {name: getattr(each, name) for name in told} for figure, each in found.items()}


def runs_in(folder: Path) -> list[Path]:
    """The runs of a row that are finished, or the run itself.

    Raises:
        ValueError: there is none.
    """
    found = [path.parent for path in sorted([*folder.glob(PER_USER), *folder.glob(f"seed_[0-9]*/{PER_USER}")])]
    if not found:
        raise ValueError(f"{folder} holds no finished run, nor the seeds of one")
    return found


def records() -> dict[str, dict[str, Any]]:
    """The records by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


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
    if len(arguments) > 3 and arguments[0] == "record":
        folders = [Path(folder) for folder in arguments[3:]]
        print(record(arguments[1], [commit(arguments[2])] * len(folders), folders))
    elif len(arguments) in (3, 4) and arguments[0] == "compare":
        print(difference(Path(arguments[1]), Path(arguments[2]), *arguments[3:]))
    else:
        print(__doc__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(f"results.py: error: {error}")
