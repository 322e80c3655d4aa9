import tracemalloc

import numpy as np
import pytest

from tests.serving.index.test_lists import clustered
from tfrec.serving.index import lists, probes
from tfrec.serving.index.building import build
from tfrec.serving.index.probes import Asked


@pytest.fixture(scope="module")
def made():
    vectors, _ = clustered()
    vectors[0] = 0
    candidates = np.ones(len(vectors), bool)
    candidates[[0, 7, 9]] = False
    asked = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    seen = [np.array([7, row]) for row in range(10, 74)]
    return vectors, candidates, build(vectors, 8, candidates, [Asked(asked, seen)], 0.9)


def test_the_graph_has_padding_first_and_what_is_barred_last(made):
    vectors, candidates, index = made
    assert sorted(index.order) == list(range(len(vectors)))
    assert index.order[0] == 0 and set(index.order[-2:]) == {7, 9}
    assert index.starts[0] == 1 and index.starts[-1] == candidates.sum() + 1


def test_it_says_what_it_found(made):
    told = made[2].described
    assert told["kind"] == "ivf" and told["lists"] == len(made[2].starts) - 1
    assert all(0 < kind["share_of_items"] <= 1 and kind["recall@10"] > 0.9 for kind in told["read"].values())


def test_neighbours_are_sought_by_direction_and_without_the_bonus(made):
    vectors, candidates, index = made
    scaled = np.random.default_rng(1).uniform(1, 3, (len(vectors), 1)).astype(np.float32) * vectors
    wide = np.concatenate([scaled, np.full((len(vectors), 1), 5, np.float32)], axis=1)
    other = build(wide, 8, candidates, [], 0.9)
    assert other.neighbours.summaries.means.shape[1] == 8 and other.answers.summaries.means.shape[1] == 9
    assert np.linalg.norm(other.neighbours.summaries.means, axis=1).max() <= 1.0001


def test_vectors_that_are_not_finite_are_refused(made):
    vectors = made[0].copy()
    vectors[3] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        build(vectors, 8, made[1], [], 0.9)


def test_items_without_a_direction_are_listed_and_not_asked(made):
    vectors = made[0].copy()
    vectors[100:300] = 0
    index = build(vectors, 8, made[1], [], 0.95)
    assert sorted(index.order) == list(range(len(vectors))) and index.neighbours.recall >= 0.95


def test_few_copies_of_the_vectors_are_held(monkeypatch):
    for module in (lists, probes):
        monkeypatch.setattr(module, "_CELLS", 2**16)
    monkeypatch.setattr(lists, "LISTS_A_ROOT", 1)
    vectors = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    asked = [Asked(vectors[:32], [np.arange(2)] * 32)]
    tracemalloc.start()
    try:
        build(vectors, 64, np.arange(len(vectors)) > 0, asked, 0.9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * vectors.nbytes
