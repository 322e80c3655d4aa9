import numpy as np
import pytest

from tests.serving.index.test_lists import clustered
from tfrec.serving.index.lists import Summaries, part
from tfrec.serving.index.probes import Asked, find


@pytest.fixture(scope="module")
def parted():
    """Vectors in the order of their lists, and the starts."""
    vectors, _ = clustered(topics=60, each=30, dim=8)
    lists = part(vectors, np.arange(len(vectors)))
    return vectors[lists.order], lists.starts


def queries(count=200, seed=3):
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def recall(vectors, starts, asked, lists, k=10):
    """Computed the long way, query by query."""
    worth, shares = Summaries.of(vectors, starts).worth(asked.queries), []
    for row, query in enumerate(asked.queries):
        scores = vectors @ query
        scores[asked.seen[row]] = -np.inf
        best = set(np.argsort(-scores)[:k])
        read = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in np.argsort(-worth[row])[:lists]])
        shares.append(len(best & set(read)) / k)
    return np.mean(shares), np.std(shares) * (2 / len(shares)) ** 0.5


def unseen(asked):
    return Asked(asked, [np.zeros(0, int)] * len(asked))


def test_the_fewest_lists_that_keep_the_floor_are_read(parted):
    asked = unseen(queries())
    found = find(*parted, [asked], 0.9)
    mean, error = recall(*parted, asked, found.lists)
    assert mean - 3 * error >= 0.9 and found.recall == pytest.approx(mean)
    fewer, error = recall(*parted, asked, found.lists - 1)
    assert fewer - 3 * error < 0.9
    assert 0 < found.read < 1


def test_more_recall_takes_more_lists(parted):
    few, many = (find(*parted, [unseen(queries())], floor).lists for floor in (0.5, 0.99))
    assert few < many < len(parted[1])


def test_what_was_seen_is_not_sought(parted):
    asked = queries()
    best = np.argsort(-(asked @ parted[0].T), axis=1)[:, :60]
    seen = Asked(asked, list(best))
    found = find(*parted, [seen], 0.9)
    assert found.lists > find(*parted, [unseen(asked)], 0.9).lists
    assert recall(*parted, seen, found.lists)[0] == pytest.approx(found.recall)


def test_the_hardest_kind_counts(parted):
    easy, hard = unseen(4 * parted[0][:200]), unseen(queries())
    both = find(*parted, [easy, hard], 0.95)
    assert both.lists == max(find(*parted, [kind], 0.95).lists for kind in (easy, hard))


def test_nothing_asked_and_nothing_left_are_no_error(parted):
    nothing = Asked(np.zeros((0, 8), np.float32), [])
    assert find(*parted, [nothing], 0.9).lists == 1
    everything = Asked(queries(2), [np.arange(len(parted[0]))] * 2)
    assert find(*parted, [everything], 0.9).recall == 1
    few = find(parted[0][:3], np.array([0, 1, 3]), [unseen(queries(5))], 0.9)
    assert few.recall >= 0.9 and few.lists <= 2
