import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfrec.evaluation.metrics import user_metrics
from tfrec.features import SEEN
from tfrec.retrieval import ranks
from tfrec.retrieval.ranks import REMOVED, best_of, ranking_metrics, remove_seen

SCORES = np.array([[0.5, 0.1, 0.9, 0.3, -2.0], [0.5, 0.1, 0.9, 0.3, -2.0]], "float32")


def test_seen_and_barred_rows_are_removed_and_nothing_else():
    removed = remove_seen(SCORES, np.array([[2, 4, 0], [1, 0, 0]], "int32"), tf.constant([0, 3])).numpy()
    gone = REMOVED
    expected = np.array([[gone, 0.1, gone, gone, gone], [gone, gone, 0.9, gone, -2.0]], "float32")
    np.testing.assert_array_equal(removed, expected)


@pytest.mark.parametrize("seen", [None, np.zeros((2, 0), "int32"), np.zeros((2, 3), "int32")])
def test_nothing_seen_leaves_all_but_the_barred(seen):
    removed = remove_seen(SCORES, seen, tf.constant([0])).numpy()
    np.testing.assert_array_equal(removed[:, 1:], SCORES[:, 1:])
    assert (removed[:, 0] == np.float32(REMOVED)).all()


def test_seen_rows_may_be_repeated_and_of_any_integer():
    removed = remove_seen(SCORES, np.array([[2, 2, 2], [2, 0, 2]], "int64"), tf.constant([0])).numpy()
    assert (removed[:, 2] == np.float32(REMOVED)).all()
    np.testing.assert_array_equal(removed[:, 3:], SCORES[:, 3:])


def test_what_is_removed_stays_finite():
    assert np.isfinite(remove_seen(SCORES, np.arange(10).reshape(2, 5) % 5, tf.constant([0])).numpy()).all()


def metrics_of(scores, relevant, cutoff):
    top = tf.math.top_k(scores, min(cutoff, scores.shape[1]))
    return {name: values.numpy() for name, values in ranking_metrics(top.indices, top.values, relevant).items()}


def test_metrics_by_hand():
    """The best three are rows 2, 0, 3; relevant are 3, then 0 and 4, then nothing shown, then nothing at all."""
    scores = np.repeat(SCORES[:1], 4, axis=0)
    relevant = np.array([[3, 0], [4, 2], [1, 4], [0, 0]], "int32")
    metrics = metrics_of(scores, relevant, 3)
    np.testing.assert_allclose(metrics["hr"], [1, 1, 0, 0])
    np.testing.assert_allclose(metrics["mrr"], [1 / 3, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(metrics["ndcg"], [1 / 2, 1 / (1 + 1 / np.log2(3)), 0, 0], rtol=1e-6)


def test_what_was_removed_is_no_hit():
    scores = remove_seen(SCORES, np.array([[2], [0]], "int32"), tf.constant([0]))
    hits = metrics_of(scores, np.array([[2], [2]], "int32"), 5)["hr"]
    assert hits.tolist() == [0, 1]


@pytest.mark.parametrize("cutoff", [1, 5, 10, 100])
def test_metrics_are_those_of_the_evaluation(cutoff):
    rng = np.random.default_rng(0)
    users, items = 40, 30
    scores = rng.permuted(np.tile(np.linspace(-1, 1, items, dtype="float32"), (users, 1)), axis=1)
    relevant = np.stack([rng.permutation(np.arange(1, items))[:4] for _ in range(users)])
    relevant = np.where(np.arange(4) < rng.integers(1, 5, (users, 1)), relevant, 0).astype("int32")
    shown = remove_seen(scores, rng.integers(0, items, (users, 3)), tf.constant([0, 7]))
    order = np.argsort(-shown.numpy(), axis=1, kind="stable")
    table = pd.DataFrame(
        [
            (f"u{user}", f"i{row}", rank)
            for user in range(users)
            for rank, row in enumerate(order[user], start=1)
            if shown[user, row] > REMOVED / 2
        ],
        columns=["user_id", "item_id", "rank"],
    )
    table = table[table["rank"] <= cutoff]
    pairs = [(f"u{user}", f"i{row}") for user in range(users) for row in relevant[user] if row]
    truth = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    depth = int(table["rank"].max())
    expected = user_metrics(table, truth, [depth]).loc[[f"u{user}" for user in range(users)]]
    metrics = metrics_of(shown, relevant, depth)
    for name in ("hr", "ndcg", "mrr"):
        np.testing.assert_allclose(metrics[name], expected[f"{name}@{depth}"], atol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("users", "seen"), [(7, True), (7, False), (1, True), (0, True)])
def test_the_best_are_the_same_for_a_few_users_at_a_time(users, seen, traced, monkeypatch):
    rng, held = np.random.default_rng(0), []
    query, vectors = (tf.constant(rng.normal(size=(n, 3)), tf.float32) for n in (users, 20))
    features = {SEEN: tf.constant(rng.integers(0, 20, (users, 4)), tf.int32)} if seen else {}

    def scored(query, features):
        held.append(query.shape[0])
        return remove_seen(tf.matmul(query, vectors, transpose_b=True), features.get(SEEN), tf.constant([0]))

    whole = best_of(scored, query, features, items=20, k=5)
    monkeypatch.setattr(ranks, "SCORES_AT_ONCE", 50)
    parted = tf.function(lambda: best_of(scored, query, features, items=20, k=5), autograph=False)
    held.clear()
    found = (parted if traced else parted.python_function)()
    np.testing.assert_array_equal(found[0].numpy(), whole[0].numpy())
    np.testing.assert_allclose(found[1].numpy(), whole[1].numpy(), rtol=1e-6)
    assert traced or sum(held) == users and max(held, default=0) <= 2
