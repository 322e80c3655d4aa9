"""Lists unlike themselves: the vectorised choice is the plain greedy one, caps hold, what is removed comes last."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.ranking import Diversity
from tfrec.retrieval.ranks import REMOVED

ITEMS, USERS, RECALLED = 40, 6, 15
RNG = np.random.default_rng(3)
VECTORS = RNG.normal(size=(ITEMS, 5)).astype("float32")
ROWS = np.stack([RNG.permutation(np.arange(1, ITEMS))[:RECALLED] for _ in range(USERS)]).astype("int32")
SCORES = RNG.normal(size=(USERS, RECALLED)).astype("float32")
CODES = np.concatenate([[[0, 0]], RNG.integers(0, 4, (ITEMS - 1, 2))]).astype("int32")


def greedy(rows, scores, k, trade_off, most=None):
    """One user after the other, one item after the other, as the definition says it."""
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    chosen = []
    while len(chosen) < k:
        worths = []
        for place, row in enumerate(rows):
            near = max((unit[row] @ unit[rows[other]] for other in chosen), default=0.0)
            worth = (1 - trade_off) * relevance[place] - trade_off * near
            had = [sum(code in CODES[rows[other]] for other in chosen) for code in set(CODES[row]) - {0}]
            worths.append(
                -np.inf if place in chosen else worth - 1000 * (most is not None and max(had, default=0) >= most)
            )
        chosen.append(int(np.argmax(worths)))
    return rows[chosen], scores[chosen]


def asked(layer, k=8, scores=SCORES):
    if layer.most is not None:
        layer.set_categories(CODES)
    traced = tf.function(lambda vectors, rows, values: layer(vectors, rows, values, k=k))
    return [part.numpy() for part in traced(VECTORS, ROWS, scores)]


@pytest.mark.parametrize(("trade_off", "most"), [(0.0, None), (0.4, None), (1.0, None), (0.0, 2), (0.3, 1)])
def test_all_users_at_once_get_what_the_definition_gives_each(trade_off, most):
    layer = Diversity(trade_off, most=most, shape=CODES.shape)
    rows, scores = asked(Diversity.from_config(layer.get_config()))
    for user in range(USERS):
        wanted = greedy(ROWS[user], SCORES[user], 8, trade_off, most)
        assert rows[user].tolist() == wanted[0].tolist()
        assert scores[user] == pytest.approx(wanted[1])


def test_a_cap_holds_while_there_is_something_else_and_no_longer():
    rows, _ = asked(Diversity(0.0, most=1, shape=CODES.shape), k=RECALLED)
    for user in rows:
        assert sorted(user) == sorted(ROWS[0]) or sorted(user) in [sorted(one) for one in ROWS]
        codes = [set(CODES[row]) - {0} for row in user]
        free = next((n for n in range(len(codes)) if any(codes[n] & other for other in codes[:n])), len(codes))
        assert free >= 2
        assert not any(codes[n].isdisjoint(set().union(*codes[:free])) for n in range(free, len(codes)))


@pytest.mark.parametrize("trade_off", [0.5, 0.9, 1.0])
def test_what_is_removed_comes_last_even_after_what_a_cap_holds_back(trade_off):
    scores = SCORES.copy()
    scores[:, 5:] = REMOVED
    rows, values = asked(Diversity(trade_off, most=1, shape=CODES.shape), k=8, scores=scores)
    assert (values[:, :5] > REMOVED / 2).all() and (values[:, 5:] <= REMOVED / 2).all()
    assert all(set(row[:5]) == set(given[:5]) for row, given in zip(rows, ROWS, strict=True))
    nothing, values = asked(Diversity(0.5), scores=np.full_like(SCORES, REMOVED))
    assert nothing.shape == (USERS, 8) and (values == REMOVED).all()


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="`trade_off` must be from 0 to 1; received 1.5"):
        Diversity(1.5)
    with pytest.raises(ValueError, match="`most` must be 1 or more, or None for no cap; received 0"):
        Diversity(0.5, most=0)
