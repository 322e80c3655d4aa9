"""How much accuracy disturbed histories cost a model, and whether training under attack makes them cost less.

python benchmarks/robustness.py PLAIN ATTACKED [--record NAME]    folders of runs, seed_1, seed_2, ..., of one pipeline
python benchmarks/robustness.py --page                            the table of docs/robustness.md from the record alone

Both are evaluated on disturbed histories too; one is trained under attack, or on disturbed histories:

    for seed in 1 2 3; do for share in 0 0.5; do
        tfrec run PIPELINE --out runs/attacked_$share/seed_$seed --set seed=$seed --set training.adversarial=$share
            --set 'evaluation.disturbed={delete: 0.2, insert: 0.2}'
    done; done

The drop of a user's figure is that of the history as it is less that of the disturbed one, averaged over seeds; the
relative drop is the mean drop as a share of the mean figure on histories as they are, so that a model that is worse
everywhere is not the sturdier one for it. The interval of the difference of two drops is a paired bootstrap over users.
With --record they become the row NAME of results/robustness.json, and of the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import results
from compare import runs_in

from tfrec.evaluation import compare
from tfrec.evaluation.bootstrap import user_draws
from tfrec.features import MODEL_ROW, PER_USER, USER_ID

RECORD, PAGE = results.RESULTS / "robustness.json", results.ROOT / "docs" / "robustness.md"
FIGURES = ["hr@10", "ndcg@10"]
DISTURBED = f"{MODEL_ROW}, histories disturbed"
RESAMPLES = 2000
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
# What is told of two models, in words; a difference with its interval.
GAPS = {
    "drop": "the drop of plain less that of attacked",
    "relative": "the relative drop of plain less that of attacked",
    "as they are": "attacked less plain, histories as they are",
    "disturbed": "attacked less plain, histories disturbed",
}
Parts = Sequence[tuple[pd.DataFrame, pd.DataFrame]]


@click.command()
@click.argument("plain", type=FOLDER, required=False)
@click.argument("attacked", type=FOLDER, required=False)
@click.option("--record", "name", help="Keep the figures as the row of this name.")
@click.option("--page", is_flag=True, help="Write the page from the record, and measure nothing.")
def main(plain: Path | None, attacked: Path | None, name: str | None, *, page: bool) -> None:
    """Print both models' figures, what noise takes from each, and how the two losses differ."""
    if not page:
        if plain is None or attacked is None:
            raise click.UsageError("give the folder of the plain runs and that of the others, or --page")
        try:
            found = told(*([_parts(run) for run in runs_in(folder)] for folder in (plain, attacked)))
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        _print(found)
        if name is None:
            return
        rows = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        rows[name] = {"recorded_with": results.commit(), **found}
        RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    results.fill(PAGE, "robustness", table(json.loads(RECORD.read_text(encoding="utf-8"))))


def told(plain: Parts, attacked: Parts) -> dict[str, Any]:
    """Of each model the means of the figures, and the differences of the two as `GAPS` names them."""
    sides = {"plain": plain, "attacked": attacked}
    means = {
        name: {
            figure: [float(pd.concat([pair[part][figure] for pair in each]).mean()) for part in (0, 1)]
            for figure in FIGURES
        }
        for name, each in sides.items()
    }
    drops = {name: [clean - noisy for clean, noisy in each] for name, each in sides.items()}
    gaps = {"drop": _gaps(drops["plain"], drops["attacked"]), "relative": _relative_gaps(plain, attacked)}
    for part, histories in enumerate(("as they are", "disturbed")):
        gaps[histories] = _gaps([pair[part] for pair in attacked], [pair[part] for pair in plain])
    return {"seeds": len(plain), "means": means, "gaps": gaps}


def _print(found: Mapping[str, Any]) -> None:
    for name, figures in found["means"].items():
        for figure, (clean, noisy) in figures.items():
            drop = f"drop {clean - noisy:.4f} ({(clean - noisy) / clean:.1%})"
            print(f"{name}, {figure}: {clean:.4f}, disturbed {noisy:.4f}, {drop}")
    for gap, words in GAPS.items():
        for figure, ends in found["gaps"][gap].items():
            print(f"{words}, {figure}: {_cell(ends)}")


def table(rows: Mapping[str, Any], figure: str = "ndcg@10") -> str:
    """The page's table of the record: what each training's models lose, and how that differs from the plain one's."""
    lines = [
        "| training | NDCG@10 | on disturbed histories | the drop is smaller by | the relative drop, by | as they are "
        "| disturbed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    first = next(iter(rows.values()))
    lines.append(f"| plain | {_means(first['means']['plain'][figure])} | | | | |")
    for name, row in rows.items():
        gaps = [_cell(row["gaps"][gap][figure]) for gap in GAPS]
        lines.append(f"| {name} | {_means(row['means']['attacked'][figure])} | {' | '.join(gaps)} |")
    return "\n".join(lines)


def _means(means: Sequence[float]) -> str:
    clean, noisy = means
    return f"{clean:.4f} | {noisy:.4f} (-{(clean - noisy) / clean:.1%})"


def _cell(ends: Sequence[float]) -> str:
    return "{:+.4f} ({:+.4f} to {:+.4f})".format(*ends)


def _gaps(ours: Sequence[pd.DataFrame], theirs: Sequence[pd.DataFrame]) -> dict[str, list[float]]:
    found = compare(ours, theirs, metrics=FIGURES)
    return {figure: [float(end) for end in (gap.difference, gap.low, gap.high)] for figure, gap in found.items()}


def _relative_gaps(plain: Parts, attacked: Parts) -> dict[str, list[float]]:
    """How the drops compare as shares of the figures on histories as they are, paired over users."""
    sides = [[sum(pair[part].to_numpy() for pair in runs) / len(runs) for part in (0, 1)] for runs in (plain, attacked)]
    users = len(sides[0][0])
    draws = chain([np.ones((1, users))], user_draws(users, RESAMPLES, 0))  # The first one is of all users, once each.
    gaps = np.concatenate([_relative(counts, sides[0]) - _relative(counts, sides[1]) for counts in draws])
    ends = np.stack([gaps[0], *np.percentile(gaps[1:], [2.5, 97.5], axis=0)])
    return {figure: ends[:, place].tolist() for place, figure in enumerate(FIGURES)}


def _relative(counts: np.ndarray, side: Sequence[np.ndarray]) -> np.ndarray:
    clean, noisy = (counts @ part for part in side)
    return (clean - noisy) / clean


def _parts(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each user's figures on the history as it is and on the disturbed one."""
    table = pd.read_parquet(run / PER_USER)
    found = [table[table["model"] == name].set_index(USER_ID)[FIGURES].sort_index() for name in (MODEL_ROW, DISTURBED)]
    if not len(found[1]):
        raise click.ClickException(f"{run} was evaluated without disturbed histories: set evaluation.disturbed")
    return found[0], found[1]


if __name__ == "__main__":
    main()
