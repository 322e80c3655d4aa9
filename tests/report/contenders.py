"""Small trained variants with figures that can be computed by hand, for the tests of a comparison."""

import numpy as np
import pandas as pd

from tfrec.report.comparison import Contender, Trained

USERS = ["a", "b", "c", "d"]
ENVIRONMENT = {"processor": "a chip", "cores": 2, "matmul_gflops": 100.4}
# The target of `c` is a cold item; those of `a` and `d` have few training events.
GROUPS = pd.DataFrame(
    {"cold_items": [False, False, True, False], "few_events": [True, False, False, True]},
    index=pd.Index(USERS, name="user_id"),
)


def trained(hits, *, users=USERS, groups=GROUPS, seconds=60.0, memory=1000.0, speed=100.4):
    """A model whose HR@10 by user is `hits`, and whose NDCG@10 is half of that."""
    values = np.asarray(hits, float)
    per_user = pd.DataFrame({"hr@10": values, "ndcg@10": values / 2}, index=pd.Index(users, name="user_id"))
    test = {"hr@10": values.mean(), "ndcg@10": values.mean() / 2, "cold_share@10": 0.25}
    metrics = {
        "test": test,
        "validation": {"hr@10": 0.5, "ndcg@10": 0.25},
        "slices": {"cold_items": {"hr@10": values[2], "ndcg@10": values[2] / 2}},
        "environment": {**ENVIRONMENT, "matmul_gflops": speed},
    }
    return Trained(per_user, groups.loc[users], metrics, 1234567, seconds, seconds / 10, memory)


def contender(name="frozen", text="minilm (pretrained)", tuning="frozen", encoder="attention", **options):
    return Contender(name, text, tuning, encoder, **options)
