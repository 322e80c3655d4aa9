"""The neighbourhood weighs what the user thought of items judged alike, and forgets a candidate's own label."""

import numpy as np
import pytest

from tfrec.ranking import Neighbourhood, Ratings
from tfrec.ranking.label_history import LabelHistory
from tfrec.ranking.neighbourhood import BIAS_COUNT, MOST_ITEMS, _means_of_items

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


def ask(model, items, labels, candidates, own=None, known=None, after=None):
    known = np.ones(len(items)) if known is None else known
    past = LabelHistory(np.array([items], "int32"), np.array([labels], "float32"), np.array([known], "float32"))
    after = np.full((1, len(candidates)), len(items), "int32") if after is None else np.array([after], "int32")
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


def repeated(times):
    """The log, in which user 7 met item 1 so often, each time with another label, and item 2 twice."""
    ratings = log()
    more = [1] * (times - 1) + [2] * (times > 1)
    return Ratings(
        np.append(ratings.users, np.full(len(more), 7)),
        np.append(ratings.items, more).astype(int),
        np.append(ratings.values, np.linspace(4.4, 3.4, len(more))),
        40,
        ITEMS,
    )


@pytest.mark.parametrize("times", [1, 2, 4])
def test_pairs_are_of_users_however_often_they_met_an_item(times):
    ratings, model = repeated(times), layer(repeated(times))
    np.testing.assert_array_equal(model.shared, 40 * (1 - np.eye(ITEMS)) * np.outer(*[np.arange(ITEMS) > 0] * 2))

    def means(values, members, count):
        return np.array([values[members == m].sum() / ((members == m).sum() + BIAS_COUNT) for m in range(count)])

    left = ratings.values - ratings.values.mean()
    left = left - means(left, ratings.items, ITEMS)[ratings.items]
    left = left - means(left, ratings.users, 40)[ratings.users]
    each = np.array(
        [[left[(ratings.users == u) & (ratings.items == i)].mean() for i in range(1, ITEMS)] for u in range(40)]
    )
    np.testing.assert_allclose(model.products.numpy()[1:, 1:], (each.T @ each) * (1 - np.eye(ITEMS - 1)), atol=1e-4)
    variance = ((each**2).sum(axis=0) + BIAS_COUNT * np.mean(each**2)) / (40 + BIAS_COUNT)
    np.testing.assert_allclose(model.deviation.numpy()[1:], np.sqrt(variance), rtol=1e-5)


def test_many_events_of_one_user_take_the_memory_of_the_items():
    users, items = np.zeros(60_000, int), np.tile(np.arange(1, 4), 20_000)
    model = layer(Ratings(users, items, np.where(items == 3, 1.0, 5.0), 1, ITEMS))  # As events: 14 GB a matrix.
    assert model.shared.numpy().max() == 1 and model.products.numpy()[1, 2] > 0 > model.products.numpy()[1, 3]


@pytest.mark.parametrize("candidates_are_events", [False, True])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_the_own_label_counts_as_if_it_had_not_been_there(times, candidates_are_events):
    ratings = repeated(times)
    mine = ratings.users == 7
    items, labels = ratings.items[mine], ratings.values[mine]
    kept = ~(mine & (ratings.items == 1))
    kept = Ratings(ratings.users[kept], ratings.items[kept], ratings.values[kept], 40, ITEMS)
    model, fresh = layer(ratings), layer(kept)
    for table, value in zip(fresh.tables[:3], model.tables[:3], strict=True):
        table.assign(value)  # Centre, biases and deviations keep the label; what pairs of items share does not.
    own = np.flatnonzero(items == 1)[-1]
    past = np.delete(np.arange(len(items)), own)
    order = [*past, own]  # The last event is judged by the others; in a log that is read in order each by those before.
    judged = order if candidates_are_events else [own]
    after = np.arange(len(order)) if candidates_are_events else [len(past)]

    def asked(layer, own=None):
        return ask(layer, items[past], labels[past], items[judged], own=own, after=after)[-1]

    told, with_it, without = asked(model, labels[judged]), asked(model), asked(fresh)
    assert abs(told - without) < 0.6 * abs(with_it - without)
    unknown = asked(model, np.full(len(judged), np.nan))
    np.testing.assert_allclose(unknown, with_it, atol=1e-6)


@pytest.mark.parametrize(
    ("candidates", "own", "after", "expected"),
    [
        ([2, 1, 3, 1], [2.0, 4.0, 8.0, 1.0], [1, 2, 3, 4], [[2, 2, 8, 2], [2, 2, 2, 8]]),  # Those of the history.
        ([1, 5], [3.0, np.nan], [4, 4], [[8 / 3, 0], [8 / 3, 2, 8 / 3, 8]]),  # Others, judged by all of the history.
    ],
)
def test_each_event_that_a_batch_has_counts_once_in_the_mean_of_its_item(candidates, own, after, expected):
    left = np.array([[1.0, 2.0, 4.0, 8.0]], "float32")
    past = LabelHistory(np.array([[1, 2, 1, 3]], "int32"), left, np.ones((1, 4), "float32"))
    own, after = np.array([own], "float32"), np.array([after], "int32")
    found = _means_of_items(past, left, np.array([candidates]), np.nan_to_num(own), ~np.isnan(own), after)
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values[0], wanted, rtol=1e-6)


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
