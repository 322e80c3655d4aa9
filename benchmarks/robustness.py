"""How much accuracy disturbed histories cost a model, and whether training under attack makes them cost less.

python benchmarks/robustness.py PLAIN ATTACKED      folders of runs, seed_1, seed_2, ..., of one pipeline

Both are evaluated on disturbed histories too; one is trained under attack, or on disturbed histories:

    for seed in 1 2 3; do for share in 0 0.5; do
        tfrec run PIPELINE --out runs/attacked_$share/seed_$seed --set seed=$seed --set training.adversarial=$share
            --set 'evaluation.disturbed={delete: 0.2, insert: 0.2}'
    done; done

The drop of a user's figure is that of the history as it is less that of the disturbed one, averaged over seeds; the
relative drop is the mean drop as a share of the mean figure on histories as they are, so that a model that is worse
everywhere is not the sturdier one for it. The interval of the difference of two drops is a paired bootstrap over users.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click
import numpy as np
import pandas as pd
from compare import runs_in

from tfrec.evaluation import compare
from tfrec.evaluation.bootstrap import user_draws
from tfrec.features import MODEL_ROW, PER_USER, USER_ID

FIGURES = ["hr@10", "ndcg@10"]
DISTURBED = f"{MODEL_ROW}, histories disturbed"
RESAMPLES = 2000
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("plain", type=FOLDER)
@click.argument("attacked", type=FOLDER)
def main(plain: Path, attacked: Path) -> None:
    """Print both models' figures, what noise takes from each, and how the two losses differ."""
    folders = {"plain": plain, "attacked": attacked}
    try:
        tables = {name: [_parts(run) for run in runs_in(folder)] for name, folder in folders.items()}
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    for name, each in tables.items():
        for figure in FIGURES:
            clean, noisy = (pd.concat([pair[part][figure] for pair in each]).mean() for part in (0, 1))
            told = f"{clean:.4f}, disturbed {noisy:.4f}, drop {clean - noisy:.4f} ({(clean - noisy) / clean:.1%})"
            print(f"{name}, {figure}: {told}")
    drops = {name: [clean - noisy for clean, noisy in each] for name, each in tables.items()}
    _print("the drop of plain less that of attacked", drops["plain"], drops["attacked"])
    _print_relative(tables["plain"], tables["attacked"])
    for place, histories in enumerate(("as they are", "disturbed")):
        attacked, plain = ([pair[place] for pair in tables[name]] for name in ("attacked", "plain"))
        _print(f"attacked less plain, histories {histories}", attacked, plain)


def _print(what: str, ours: list[pd.DataFrame], theirs: list[pd.DataFrame]) -> None:
    for figure, gap in compare(ours, theirs, metrics=FIGURES).items():
        print(f"{what}, {figure}: {gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})")


def _print_relative(
    plain: Sequence[tuple[pd.DataFrame, pd.DataFrame]], attacked: Sequence[tuple[pd.DataFrame, pd.DataFrame]]
) -> None:
    """How the drops compare as shares of the figures on histories as they are, paired over users."""
    sides = [[sum(pair[part].to_numpy() for pair in runs) / len(runs) for part in (0, 1)] for runs in (plain, attacked)]
    users = len(sides[0][0])
    draws = chain([np.ones((1, users))], user_draws(users, RESAMPLES, 0))  # The first one is of all users, once each.
    gaps = np.concatenate([_relative(counts, sides[0]) - _relative(counts, sides[1]) for counts in draws])
    low, high = np.percentile(gaps[1:], [2.5, 97.5], axis=0)
    for figure, *gap in zip(FIGURES, gaps[0], low, high, strict=True):
        told = "{:+.4f} ({:+.4f} to {:+.4f})".format(*gap)
        print(f"the relative drop of plain less that of attacked, {figure}: {told}")


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
