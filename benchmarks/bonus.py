"""HR@10 on the validation split for several bonuses of new items: how `model.new_items.bonus` is chosen.

python benchmarks/bonus.py RUN ...

RUN is a run with `data.cold_items_validation` and a bonus of 0: the third command in the header of
`pipelines/amazon_beauty_cold.yaml`, with each seed. The last line of each is the bonus that the rule of docs/text.md
takes: the largest that costs all users less than 1 % of the best HR@10.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfrec
from tfrec.data import Dataset

BONUSES = (0, 0.5, 1, 1.25, 1.5, 1.75, 2, 2.5, 3)
OF_VALIDATION = 2  # In the column `held_out`.
CUTOFF, COST = 10, 0.01


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


def main(run: str) -> None:
    """Print a line for each bonus, and which the rule takes."""
    shown, cold, places = hits(Path(run))
    print(run)
    print(f"{len(shown):,} users, {cold.sum():,} with a cold target")
    print("bonus  all     cold    cold places")
    for column, bonus in enumerate(BONUSES):
        hit = shown[:, column]
        print(f"{bonus:<5}  {hit.mean():.4f}  {hit[cold].mean():.4f}  {100 * places[column]:.0f} %")
    cheap = shown.mean(axis=0) >= (1 - COST) * shown.mean(axis=0).max()
    print(f"the largest bonus that costs less than {100 * COST:.0f} %: {np.array(BONUSES)[cheap].max()}")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        main(each)
