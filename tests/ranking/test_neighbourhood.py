"""The neighbourhood weighs what the user thought of items judged alike, and forgets a candidate's own label."""

import numpy as np
import pytest

from tfrec.ranking import Neighbourhood, Ratings
from tfrec.ranking.label_history import LabelHistory
from tfrec.ranking.neighbourhood import BIAS_COUNT, MOST_ITEMS

ITEMS = 5


def log(seed=0):
    """40 users rate items 1 to 4; items 1 and 2 are liked by the same users, 3 and 4 by anybody."""
    rng = np.random.default_rng(seed)
    users, items = np.repeat(np.arange(40), 4), np.tile(np.arange(1, 5), 40)
    taste = np.repeat(rng.choice([-1.0, 1.0], 40), 4)
    values = 3 + np.where(items < 3, taste, rng.choice([-1.0, 1.0], 160))
    return Ratings(users, items, values, 40, ITEMS)


def layer(ratings, shrinkage=2.0, doubt=0.3):
    made = Neighbourhood(ITEMS)
    made.build()
    made.start(ratings)
    made.log_shrinkage.assign(np.log(shrinkage))
    made.log_doubt.assign(np.log(doubt))
    return made


def ask(model, items, labels, candidates, own=None, known=None):
    known = np.ones(len(items)) if known is None else known
    past = LabelHistory(np.array([items], "int32"), np.array([labels], "float32"), np.array([known], "float32"))
    after = np.full((1, len(candidates)), len(items), "int32")
    own = None if own is None else np.array([own], "float32")
    return model(past, np.array([candidates], "int32"), after, own).numpy()[0]


def test_a_neighbour_speaks_for_the_candidate_and_a_stranger_does_not():
    model = layer(log())
    high, low = ask(model, [2], [4.0], [1, 3]), ask(model, [2], [2.0], [1, 3])
    assert high[0] - low[0] > 1.2 and abs(high[1] - low[1]) < 0.6


@pytest.mark.parametrize("own", [None, 4.5])
def test_it_computes_what_the_formula_says(own):
    ratings, model = log(), layer(log())
    center = ratings.values.mean()

    def means(values, members, count):
        return np.array([values[members == m].sum() / ((members == m).sum() + BIAS_COUNT) for m in range(count)])

    left = ratings.values - center
    bias = means(left, ratings.items, ITEMS)
    left = left - bias[ratings.items]
    left = (left - means(left, ratings.users, 40)[ratings.users]).reshape(40, 4)
    deviation = np.sqrt(((left**2).sum(axis=0) + BIAS_COUNT * np.mean(left**2)) / (40 + BIAS_COUNT))
    products, shared = (left.T @ left)[0, [1, 2]], 40
    past = np.array([4.0, 1.5]) - center - bias[[2, 3]]
    user = past.sum() / (2 + BIAS_COUNT)
    expected = center + bias[1] + user
    if own is not None:  # As if the user had not rated the candidate.
        products, shared = products - (own - expected) * (past - user), 39
    alike = products / (shared + 2.0) / (deviation[0] * deviation[[1, 2]])
    weights = np.maximum(alike, 0) ** 2
    expected += (weights * (past - user)).sum() / (weights.sum() + 0.3)
    assert ask(model, [2, 3], [4.0, 1.5], [1], own=None if own is None else [own])[0] == pytest.approx(
        expected, abs=1e-4
    )


def test_the_own_label_counts_as_if_it_had_not_been_there():
    ratings = log()
    mine = (ratings.users == 7) & (ratings.items == 1)
    kept = Ratings(ratings.users[~mine], ratings.items[~mine], ratings.values[~mine], 40, ITEMS)
    past = [ratings.values[(ratings.users == 7) & (ratings.items == item)][0] for item in (2, 3, 4)]
    told = ask(layer(ratings), [2, 3, 4], past, [1], own=[ratings.values[mine][0]])
    with_it, fresh = ask(layer(ratings), [2, 3, 4], past, [1]), layer(kept)
    for table, value in zip(fresh.tables[:3], layer(ratings).tables[:3], strict=True):
        table.assign(value)  # Centre, biases and deviations keep the label; what pairs of items share does not.
    without = ask(fresh, [2, 3, 4], past, [1])
    assert abs(told - without) < 0.6 * abs(with_it - without)
    unknown = ask(layer(ratings), [2, 3, 4], past, [1], own=[np.nan])
    np.testing.assert_allclose(unknown, with_it, atol=1e-6)


def test_events_without_a_label_and_empty_histories_say_nothing():
    model = layer(log())
    np.testing.assert_allclose(
        ask(model, [2, 3], [4.0, 1.0], [1, 2], known=[1, 0]), ask(model, [2], [4.0], [1, 2]), atol=1e-6
    )
    nothing = ask(model, [2], [4.0], [1, 2], known=[0])
    np.testing.assert_allclose(nothing, model.center.numpy() + model.bias.numpy()[[1, 2]], atol=1e-6)


def test_a_large_catalogue_is_refused():
    with pytest.raises(ValueError, match=f"takes {MOST_ITEMS} items at most; received 10001: leave it out"):
        Neighbourhood(MOST_ITEMS + 1)
    with pytest.raises(ValueError, match="`ratings` must hold at least one labelled event"):
        layer(Ratings(*np.zeros((3, 0), int), 2, ITEMS))
