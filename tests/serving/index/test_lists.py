import numpy as np
import pytest

from tfrec.serving.index.lists import DEVIATIONS, LONGEST_LIST, Summaries, part


def clustered(topics=12, each=40, dim=8, seed=0):
    """Float32 [N, D] and the topic of each."""
    rng = np.random.default_rng(seed)
    topic = rng.permutation(np.repeat(np.arange(topics), each))
    return (4 * rng.normal(size=(topics, dim))[topic] + rng.normal(0, 0.1, (len(topic), dim))).astype(np.float32), topic


def test_each_item_is_in_one_list_and_none_is_long():
    vectors, _ = clustered()
    rows = np.setdiff1d(np.arange(len(vectors)), [0, 5, 17])
    lists = part(vectors, rows)
    sizes = np.diff(lists.starts)
    assert sorted(lists.order) == rows.tolist()
    assert lists.starts[0] == 0 and lists.starts[-1] == len(rows) and sizes.min() >= 1
    count = round(8 * len(rows) ** 0.5)
    assert len(sizes) >= count / 2 and sizes.max() <= LONGEST_LIST * len(rows) / count


def test_lists_hold_like_items():
    vectors, topic = clustered()
    lists = part(vectors, np.arange(len(vectors)))
    parts = np.split(topic[lists.order], lists.starts[1:-1])
    assert np.mean([len(set(one)) == 1 for one in parts]) > 0.9


def test_the_seed_is_all_that_chance_depends_on():
    vectors, _ = clustered()
    first, again, other = (part(vectors, np.arange(len(vectors)), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.order, again.order)
    assert not np.array_equal(first.order, other.order)


@pytest.mark.parametrize("vectors", [np.ones((1, 4)), np.zeros((500, 4)), np.eye(3), np.full((3, 2), 2.0)])
def test_few_items_and_equal_ones_have_lists_too(vectors):
    lists = part(vectors.astype(np.float32), np.arange(len(vectors)))
    assert sorted(lists.order) == list(range(len(vectors)))
    assert np.diff(lists.starts).min() >= 1 and np.diff(lists.starts).max() <= 4


def test_a_list_is_worth_its_mean_score_and_some_deviations():
    vectors, _ = clustered()
    starts, query = np.array([0, 1, 200, 480]), np.ones((2, 8), np.float32)
    worth = Summaries.of(vectors, starts).worth(query)
    one = vectors[200:]
    spread = np.sqrt(np.square(one - one.mean(axis=0)).mean())
    expected = (one @ query[0]).mean() + DEVIATIONS * np.sqrt(8) * spread
    np.testing.assert_allclose(worth[:, 2], expected, rtol=1e-4)
    np.testing.assert_allclose(worth[:, 0], vectors[0].sum(), rtol=1e-3, atol=1e-3)  # One item is spread nowhere.
