"""HR@10 on the validation split for several bonuses of new items: how `model.new_items.bonus` is chosen.

python benchmarks/bonus.py RUN ...

Each RUN is one seed, trained with `data.cold_items_validation` and a bonus of 0: the third command in the header of
`pipelines/amazon_beauty_cold.yaml`. The bonus is the largest that, in the mean over the runs, keeps the lower end of
the 95 % interval of what it costs all users above -3 %, which is what the protocol grants.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tfrec
from tfrec.data import Dataset
from tfrec.evaluation import compare

BONUSES = (0, 0.5, 1, 1.25, 1.5, 1.75, 2, 2.5, 3)
OF_VALIDATION = 2  # In the column `held_out`.
CUTOFF, GRANTED = 10, -0.03


def hits(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bool [users, bonuses] whether the target is shown, bool [users] whether it is cold, and the share of cold places.

    Raises:
        ValueError: the run was trained with a bonus, or holds no items out for validation.
    """
    dataset, model = Dataset.open(run / "dataset"), tfrec.load_model(run / "checkpoints" / "model.keras")
    cold = dataset.items["held_out"].to_numpy() == OF_VALIDATION
    if model.new_items.bonus or not cold.any():
        raise ValueError(f"{run} must have a bonus of 0 and items that are held out for validation.")
    new = tf.constant(~dataset.items["trained"].to_numpy(bool), tf.float32)
    score = tf.function(model.scores, reduce_retracing=True)
    vectors, shown, targets, places = model.item_vectors(), [], [], []
    for batch in dataset.validation(512):
        features = {name: values for name, values in batch.items() if name != "user_id"}
        scores, target = score(vectors, features), features["relevant"].numpy()[:, 0]
        best = [tf.math.top_k(scores + bonus * new, CUTOFF).indices.numpy() for bonus in BONUSES]
        shown.append(np.stack([(rows == target[:, None]).any(axis=1) for rows in best], axis=1))
        places.append(np.stack([cold[rows].mean(axis=1) for rows in best], axis=1))
        targets.append(cold[target])
    return np.concatenate(shown), np.concatenate(targets), np.concatenate(places).mean(axis=0)


def main(runs: list[str]) -> None:
    """Print a line for each bonus, and which one the rule takes."""
    found = [hits(Path(run)) for run in runs]
    cold, by_run = found[0][1], ", each run"
    table = Table("bonus", "all", "cost, 95 %", "all" + by_run, "cold target", "cold target" + by_run, "cold places")
    users = [pd.DataFrame({bonus: hit for bonus, hit in zip(BONUSES, shown.T, strict=True)}) for shown, _, _ in found]
    taken = 0.0
    for column, bonus in enumerate(BONUSES):
        ours, theirs = ([each[[which]].set_axis(["hr"], axis=1) for each in users] for which in (bonus, 0))
        gap = compare(ours, theirs)["hr"]
        low, high = gap.low / gap.theirs, gap.high / gap.theirs
        taken = bonus if low > GRANTED else taken
        of_all, of_cold = ([each[bonus][which].mean() for each in users] for which in (slice(None), cold))
        table.add_row(
            str(bonus), f"{np.mean(of_all):.4f}", f"{100 * low:+.1f} to {100 * high:+.1f} %", figures(of_all),
            f"{np.mean(of_cold):.4f}", figures(of_cold), f"{100 * np.mean([each[2][column] for each in found]):.0f} %",
        )  # fmt: skip
    Console(width=140).print(f"HR@{CUTOFF} of {len(cold):,} validation users, {cold.sum():,} with a cold target", table)
    print(f"the largest bonus whose cost is surely less than {-100 * GRANTED:.0f} %: {taken}")


def figures(values: list[float]) -> str:
    """Four digits of each."""
    return " ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    main(sys.argv[1:])
