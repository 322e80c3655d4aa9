"""The figures against two independent computations: a plain loop over users, and the public scorer's command."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tfrec.evaluation import Catalogue, Histories, cooccurrence, evaluate

SCORER = Path(__file__).resolve().parents[3] / "shared" / "tools" / "score.py"
CUT = 700
CUTOFFS = (1, 5, 10, 20)
DEPTH = 20


def make_events(users=120, items=60):
    """A log with repeats, ties in time, users with one event, and items of very different popularity."""
    generator = np.random.default_rng(11)
    lengths = generator.integers(1, 25, users)
    user = np.repeat(np.arange(users), lengths)
    item = np.minimum(generator.geometric(0.06, len(user)), items)
    times = generator.integers(0, 100, len(user)) * 10
    return pd.DataFrame(
        {"user_id": [f"u{u:03}" for u in user], "item_id": [f"{i:03}" for i in item], "timestamp": times}
    )


def split(events, cut):
    """(training, history, truth) by the rules of the evaluation, item by item."""
    training, history, truth = [], [], []
    for user, group in events.sort_values("timestamp", kind="stable").groupby("user_id", sort=False):
        times = group.timestamp.tolist()
        pairs = [(user, item) for item in group.item_id]
        end = len(pairs) - 1 if cut is None else sum(time < cut for time in times)
        history += pairs[:end]
        training += pairs[: end - 1] if cut is None else pairs[:end]
        known = set() if cut is None else set(pairs[:end])
        truth += [pair for pair in dict.fromkeys(pairs[end:]) if pair not in known]
    return tuple(pd.DataFrame(rows, columns=["user_id", "item_id"]) for rows in (training, history, truth))


@pytest.fixture(params=[None, CUT], ids=["leave_last", "time"])
def case(request):
    events = make_events()
    training, history, truth = split(events, request.param)
    ids = np.array(["", *sorted(events.item_id.unique())], object)
    counts = training.item_id.value_counts().reindex(ids).fillna(0).to_numpy(int)
    items = pd.DataFrame({"item_id": ids, "candidate": ids != "", "count": counts, "trained": counts > 0})
    users = truth.user_id.unique()
    recommendations = cooccurrence(
        Catalogue.from_items(items),
        Histories.from_frame(history, users, ids),
        Histories.from_frame(training, training.user_id.unique(), ids),
        k=DEPTH,
    )
    evaluation = evaluate(recommendations, truth, items, history=history, cutoffs=CUTOFFS, cold={"001", "007", "020"})
    return events, request.param, recommendations, truth, history, evaluation


def loop_figures(recommended, relevant, k):
    """The figures of one user, one item at a time."""
    gain, hits, best = 0.0, 0, 0.0
    for rank, item in enumerate(recommended[:k], 1):
        if item in relevant:
            gain += 1 / math.log2(rank + 1)
            hits += 1
            best = best or 1 / rank
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
    precision, recall = hits / k, hits / len(relevant)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {
        "hr": float(hits > 0),
        "ndcg": gain / ideal,
        "mrr": best,
        "recall": recall,
        "precision": precision,
        "f1": f1,
    }


def test_a_plain_loop_comes_to_the_same(case):
    _, _, recommendations, truth, _, evaluation = case
    by_user = recommendations.sort_values("rank").groupby("user_id").item_id.agg(list)
    relevant = truth.groupby("user_id").item_id.agg(set)
    assert len(relevant) == evaluation.metrics["users"] > 50
    for k in CUTOFFS:
        figures = [loop_figures(by_user[user], relevant[user], k) for user in relevant.index]
        for name in figures[0]:
            values = np.array([figure[name] for figure in figures])
            assert evaluation.metrics[f"{name}@{k}"] == pytest.approx(values.mean(), abs=1e-12)
            half_width = 1.96 * values.std() / math.sqrt(len(values))
            assert evaluation.metrics[f"{name}@{k}_half_width"] == pytest.approx(half_width, abs=1e-12)
    assert 0.1 < evaluation.metrics["hr@10"] < 0.9


def assert_agrees(theirs, ours):
    assert set(theirs) <= set(ours)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


@pytest.mark.skipif(not SCORER.exists(), reason="the public scorer lies in ../shared, which is not here")
def test_the_public_scorer_agrees_to_a_millionth(case, tmp_path):
    events, cut, recommendations, _, _, evaluation = case
    events.to_csv(tmp_path / "events.csv.gz", index=False)
    recommendations.to_parquet(tmp_path / "recs.parquet")
    pd.DataFrame({"item_id": ["001", "007", "020"]}).to_csv(tmp_path / "cold.csv", index=False)
    command = [sys.executable, SCORER, "--events", tmp_path / "events.csv.gz", "--recs", tmp_path / "recs.parquet"]
    command += ["--cold", tmp_path / "cold.csv", "--cutoffs", ",".join(map(str, CUTOFFS))]
    command += [] if cut is None else ["--cut", str(cut)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    scored = json.loads(done.stdout)
    assert_agrees(scored["all"], evaluation.metrics)
    assert scored["coverage@10"] == pytest.approx(evaluation.metrics["coverage@10"], abs=1e-6)
    assert scored["cold_share@10"] == pytest.approx(evaluation.metrics["cold_share@10"], abs=1e-6)
    slices = {"cold": "cold_items", "warm": "warm_items"}
    slices |= {} if cut is None else {"new_users": "cold_users", "known_users": "warm_users"}
    for theirs, ours in slices.items():
        assert scored[theirs]["users"] > 0
        assert_agrees(scored[theirs], evaluation.slices[ours])
