"""Sets runs side by side, user by user: half-widths, and paired differences of means over seeds.

python benchmarks/compare.py RUN OTHER [SLICE]    paired difference of two runs on the same test users, or of the
                                                  means over seeds of two rows; OTHER may be a baseline of RUN
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tfrec.evaluation import compare, summary
from tfrec.features import MODEL_ROW, PER_USER, SLICES_TEST, USER_ID

FIGURES = ("hr@10", "ndcg@10")
SEEDS_OF_A_CLAIM = 3


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
    ours, name = [by_user(table, MODEL_ROW) for table in tables], str(other)
    if not other.exists() and all(name in set(table["model"]) for table in tables):
        theirs = [by_user(table, name) for table in tables]
    else:
        theirs = [by_user(pd.read_parquet(folder / PER_USER), MODEL_ROW) for folder in runs_in(other)]
    if part is not None:
        users = users_of(runs_in(run)[0], part)
        ours, theirs = ([table.loc[users] for table in tables] for tables in (ours, theirs))
    claimed = min(len(ours), len(theirs)) >= SEEDS_OF_A_CLAIM
    return "\n".join(
        f"{each.metric}: {each.ours:.4f} - {each.theirs:.4f} = {each.difference:+.4f} "
        f"({each.low:+.4f} to {each.high:+.4f}){', ' + each.verdict if claimed else ''}"
        for each in compare(ours, theirs, metrics=list(FIGURES)).values()
    )


def beside(folders: Sequence[Path], others: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """What a row is more than another one of the same data: figure -> difference of the means, interval and word."""
    ours, theirs = ([by_user(pd.read_parquet(run / PER_USER), MODEL_ROW) for run in part] for part in (folders, others))
    found = compare(ours, theirs, metrics=list(FIGURES))
    told = ("difference", "low", "high", "verdict")
    return {figure: {name: getattr(each, name) for name in told} for figure, each in found.items()}


def half_widths(folders: Sequence[Path], part: str | None = None) -> dict[str, float]:
    """95 % half-width over users, those of a slice or all, of the mean over seeds."""
    tables = [by_user(pd.read_parquet(folder / PER_USER), MODEL_ROW)[list(FIGURES)] for folder in folders]
    if part is not None:
        tables = [table.loc[users_of(folders[0], part)] for table in tables]
    found = summary(pd.concat(tables).groupby(level=0).mean())
    return {figure: found[f"{figure}_half_width"] for figure in FIGURES}


def against_baselines(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Paired bootstrap over users of the mean over seeds, against each baseline: 95 % interval and verdict."""
    tables = [pd.read_parquet(folder / PER_USER) for folder in folders]
    result: dict[str, dict[str, Any]] = {}
    names = {name for name in tables[0]["model"] if not name.startswith(MODEL_ROW)}  # Not the model asked otherwise.
    for name in sorted(names - {"oracle"}):
        ours, theirs = [by_user(table, MODEL_ROW) for table in tables], by_user(tables[0], name)
        for figure, difference in compare(ours, theirs, metrics=list(FIGURES)).items():
            ends = {"low": difference.low, "high": difference.high, "verdict": difference.verdict}
            result.setdefault(name, {})[figure] = ends
    return result


def runs_in(folder: Path) -> list[Path]:
    """The runs of a row that are finished, or the run itself.

    Raises:
        ValueError: there is none.
    """
    found = [path.parent for path in sorted([*folder.glob(PER_USER), *folder.glob(f"seed_[0-9]*/{PER_USER}")])]
    if not found:
        raise ValueError(f"{folder} holds no finished run, nor the seeds of one")
    return found


def by_user(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The figures of one model, of those that a run has measured, a row a user."""
    return table[table["model"] == model].drop(columns="model").set_index(USER_ID)


def users_of(folder: Path, part: str) -> pd.Index:
    """The test users of a slice.

    Raises:
        ValueError: there is no such slice.
    """
    slices = pd.read_parquet(folder / SLICES_TEST).set_index(USER_ID)
    if part not in slices:
        raise ValueError(f"{folder} has no slice {part!r}; it has {', '.join(slices)}")
    return slices.index[slices[part]]


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 1
    print(difference(Path(arguments[0]), Path(arguments[1]), *arguments[2:]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(f"compare.py: error: {error}")
