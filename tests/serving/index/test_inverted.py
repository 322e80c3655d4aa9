import numpy as np
import pytest
import tensorflow as tf

from tests.serving.index.test_lists import clustered
from tfrec.retrieval.ranks import REMOVED
from tfrec.serving.index.inverted import InvertedFile
from tfrec.serving.index.lists import Summaries, part
from tfrec.serving.index.probes import Probes

WIDTH = 6


@pytest.fixture(scope="module")
def catalogue():
    """Vectors with padding before the lists and two rows that are in none behind them; the starts of the lists."""
    vectors, _ = clustered()
    lists = part(vectors, np.arange(len(vectors) - 2))
    padded = np.concatenate([np.full((1, 8), 9.0), vectors[lists.order], vectors[-2:]]).astype(np.float32)
    return padded, lists.starts + 1


def inverted(catalogue, lists, width=WIDTH):
    vectors, starts = catalogue
    probes = Probes(Summaries.of(vectors[1 : starts[-1]], starts - 1), lists, 1.0, 1.0)
    stored = tf.constant(vectors)
    scores_of = lambda query, rows: tf.linalg.matvec(tf.gather(stored, rows), query)  # noqa: E731
    made = InvertedFile(probes, tf.Variable(starts, dtype=tf.int32), scores_of, width)
    specs = tf.TensorSpec([None, 8], tf.float32), tf.TensorSpec([None, None], tf.int32)
    return tf.function(made.best, input_signature=specs, autograph=False)


def exact(catalogue, query, seen, width=WIDTH):
    scores = catalogue[0] @ query
    scores[[0, *range(catalogue[1][-1], len(scores)), *seen]] = REMOVED
    best = np.argsort(-scores, kind="stable")[:width]
    return best, scores[best]


def queries(count, seed=5):
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def test_all_lists_give_the_exact_answer(catalogue):
    asked = queries(5)
    seen = np.zeros((5, 4), np.int32)
    seen[1, :2], seen[2] = exact(catalogue, asked[1], [])[0][:2], exact(catalogue, asked[2], [])[0][[0, 1, 2, 2]]
    rows, scores = inverted(catalogue, len(catalogue[1]) - 1)(asked, seen)
    for user in range(5):
        best, expected = exact(catalogue, asked[user], seen[user])
        np.testing.assert_array_equal(rows[user], best)
        np.testing.assert_allclose(scores[user], expected, rtol=1e-5)


def test_few_lists_give_right_scores_and_read_no_more(catalogue):
    asked = queries(40)
    rows, scores = inverted(catalogue, 4)(asked, np.zeros((40, 0), np.int32))
    np.testing.assert_allclose(scores, np.einsum("bkd,bd->bk", catalogue[0][rows.numpy()], asked), rtol=1e-4, atol=1e-4)
    shares = [
        len(set(one) & set(exact(catalogue, query, [])[0])) for one, query in zip(rows.numpy(), asked, strict=True)
    ]
    assert 0.5 * WIDTH < np.mean(shares) < WIDTH


def test_a_long_history_makes_more_lists_read(catalogue):
    query = queries(1)
    seen = exact(catalogue, query[0], [], 150)[0].astype(np.int32)[None]
    rows, scores = inverted(catalogue, 1)(query, seen)
    assert not set(rows.numpy()[0]) & set(seen[0]) and (scores.numpy() > REMOVED / 2).all()
    rows, scores = inverted(catalogue, 1, 100)(query, seen[:, :1])
    assert len(set(rows.numpy()[0])) == 100 and (scores.numpy() > REMOVED / 2).all()


def test_where_little_is_left_the_rest_is_marked(catalogue):
    query, last = queries(1), catalogue[1][-1]
    seen = np.arange(1, last - 2, dtype=np.int32)[None]
    rows, scores = inverted(catalogue, 1)(query, seen)
    assert sorted(rows.numpy()[0][:2]) == [last - 2, last - 1]
    assert (scores.numpy()[0][2:] == np.float32(REMOVED)).all()


def test_no_user_and_a_query_of_nothing_are_answered(catalogue):
    made = inverted(catalogue, 3)
    assert made(np.zeros((0, 8), np.float32), np.zeros((0, 2), np.int32))[0].shape == (0, WIDTH)
    rows, scores = made(np.zeros((1, 8), np.float32), np.zeros((1, 2), np.int32))
    assert not scores.numpy().any() and len(set(rows.numpy()[0])) == WIDTH
