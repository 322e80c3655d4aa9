"""A small run with every kind of figure, for the tests of the report."""

import numpy as np
import pandas as pd

from tfrec.evaluation import evaluate
from tfrec.report.results import Results

USERS, ITEMS = 60, 40


def make_evaluation(skill, seed=0):
    """Recommendations that have the target among the first ten for about a share `skill` of the users."""
    generator = np.random.default_rng(seed)
    ids = [f"i{row:02}" for row in range(1, ITEMS + 1)]
    users = [f"u{at:02}" for at in range(USERS)]
    targets = [(at * 7) % ITEMS for at in range(USERS)]
    counts = np.arange(ITEMS, 0, -1) * 3
    items = pd.DataFrame({"item_id": ["", *ids], "candidate": [False] + [True] * ITEMS})
    items["count"] = [0, *counts]
    items["trained"] = items["count"] > 9
    rows, history = [], []
    for at, user in enumerate(users):
        order = [item for item in generator.permutation(ITEMS) if item != targets[at]]
        order.insert(int(generator.integers(0, 10)) if generator.random() < skill else 30, targets[at])
        length = at % 25
        history += [(user, ids[item]) for item in order[-9:] * 3][:length]
        rows += [(user, ids[item], rank) for rank, item in enumerate(order[:20], 1)]
    return evaluate(
        pd.DataFrame(rows, columns=["user_id", "item_id", "rank"]),
        pd.DataFrame({"user_id": users, "item_id": [ids[item] for item in targets]}),
        items,
        history=pd.DataFrame(history, columns=["user_id", "item_id"]),
        cutoffs=(1, 5, 10, 20),
    )


def make_results():
    """The figures of a run called shop."""
    return Results(
        name="shop",
        validation=make_evaluation(0.61, seed=5),
        test=make_evaluation(0.6),
        baselines={
            "oracle": make_evaluation(0.9, seed=4),
            "popularity": make_evaluation(0.05, seed=1),
            "cooccurrence": make_evaluation(0.55, seed=2),
        },
        variants={"history alone": make_evaluation(0.5, seed=3)},
        timing={
            "prepare_seconds": 1.5, "train_seconds": 60.25, "epochs": 4, "epoch_seconds": 15.0,
            "events_per_second": 12345.6,
        },
        peak_memory_mb=1024.5,
        environment={"python": "3.11", "cores": 2, "matmul_gflops": 90.1},
    )  # fmt: skip
