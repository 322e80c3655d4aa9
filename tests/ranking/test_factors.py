"""Latent factors: the sampler finds what made the labels, and the layer folds a history in as the formulas say."""

import keras
import numpy as np
import pytest

from tfrec.ranking import LatentFactors, Ratings, sample_factors
from tfrec.ranking.label_history import LabelHistory

USERS, ITEMS, RANK = 60, 21, 2


def made_up(seed=0):
    """Labels of a rank-2 model with biases; about half of the pairs are known, item 0 is never rated."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < 0.5)
    users, items = users[items > 0], items[items > 0]
    tastes, traits = rng.normal(size=(USERS, RANK)), rng.normal(size=(ITEMS, RANK))
    bias = rng.normal(size=ITEMS) / 2
    truth = 3 + bias + tastes @ traits.T
    values = truth[users, items] + 0.3 * rng.normal(size=len(users))
    return Ratings(users, items, values, USERS, ITEMS), truth


@pytest.fixture(scope="module")
def samples():
    return sample_factors(made_up()[0], RANK, 12, burn_in=20, every=2, seed=1)


@pytest.fixture(scope="module")
def layer(samples):
    made = LatentFactors(ITEMS, RANK, 12)
    made.build()
    made.start(samples)
    return made


def history(ratings, users, length=16):
    """The first events of some users, right-padded, and how many each has."""
    items, labels, known = (np.zeros((len(users), length), kind) for kind in ("int32", "float32", "float32"))
    for row, user in enumerate(users):
        events = np.flatnonzero(ratings.users == user)[:length]
        items[row, : len(events)], labels[row, : len(events)] = ratings.items[events], ratings.values[events]
        known[row, : len(events)] = 1
    return LabelHistory(items, labels, known), known.sum(axis=1).astype("int32")


def asked(rows, lengths, items=ITEMS):
    candidates = np.tile(np.arange(1, items, dtype="int32"), (rows, 1))
    return candidates, np.broadcast_to(lengths[:, None], candidates.shape)


def by_hand(samples, past, row, length, item):
    """The mean over the samples of ridge regression on the item's factors; and each one's mean and variance."""
    means, variances = [], []
    for items, precision, mean, noise in zip(
        samples.items, samples.precision, samples.mean, samples.noise, strict=True
    ):
        read = np.column_stack([np.ones(length), items[past.items[row, :length], 1:]]) * past.known[row, :length, None]
        left = past.labels[row, :length] - samples.center - items[past.items[row, :length], 0]
        matrix = precision + noise * read.T @ read
        user = np.linalg.solve(matrix, precision @ mean + noise * read.T @ (left * past.known[row, :length]))
        own = np.concatenate([[1], items[item, 1:]])
        means.append(samples.center + items[item, 0] + own @ user)
        variances.append(1 / noise + own @ np.linalg.solve(matrix, own))
    return np.array(means), np.array(variances)


def test_a_history_of_a_user_says_what_the_user_thinks_of_the_rest(layer):
    ratings, truth = made_up()
    past, lengths = history(ratings, np.arange(USERS), 21)
    candidates, after = asked(USERS, lengths)
    found = layer(past, candidates, after).numpy()
    seen = np.zeros((USERS, ITEMS), bool)
    seen[ratings.users, ratings.items] = True
    fresh = ~seen[:, 1:]
    error = np.sqrt(np.mean((found - truth[:, 1:])[fresh] ** 2))
    assert error < 0.5 * np.std(truth[:, 1:][fresh])


def test_the_layer_computes_what_the_formulas_say(layer, samples):
    past, lengths = history(made_up()[0], [3, 7])
    past.known[0, 2] = 0  # An event without a label says nothing.
    candidates, _ = asked(2, lengths)
    after = np.random.default_rng(0).integers(0, lengths.min(), candidates.shape).astype("int32")
    after[0, 0] = 0
    found = layer(past, candidates, after).numpy()
    for row, place in ((0, 0), (0, 5), (1, 2), (1, 9)):
        means, _ = by_hand(samples, past, row, after[row, place], candidates[row, place])
        assert found[row, place] == pytest.approx(means.mean(), abs=2e-4)


def test_own_labels_weigh_samples_by_one_over_their_density(layer, samples):
    past, lengths = history(made_up()[0], [3, 7])
    candidates, after = asked(2, lengths)
    own = np.random.default_rng(1).normal(3, 1, candidates.shape).astype("float32")
    own[0, 4] = np.nan
    found = layer(past, candidates, after, own).numpy()
    for row, place in ((0, 0), (0, 4), (1, 2)):
        means, variances = by_hand(samples, past, row, after[row, place], candidates[row, place])
        densities = np.exp(-((own[row, place] - means) ** 2) / variances / 2) / np.sqrt(variances)
        weights = np.ones(len(means)) if np.isnan(own[row, place]) else 1 / densities
        assert found[row, place] == pytest.approx(np.average(means, weights=weights), abs=5e-4)


def test_an_answer_as_if_the_label_had_not_been_seen_is_as_far_off_as_that_of_a_new_label(layer):
    """Samples know the labels that they were drawn from: by themselves they are nearer to those than to new ones."""
    ratings, _ = made_up()
    past, lengths = history(ratings, np.arange(USERS), 21)
    left = np.random.default_rng(2).integers(0, lengths)  # One event of each user is no part of the history.
    users = np.arange(USERS)
    past.known[users, left] = 0
    candidates, own = past.items[users, left][:, None], past.labels[users, left][:, None]
    after = lengths[:, None]
    known, corrected = (
        np.sqrt(np.mean((layer(past, candidates, after, labels).numpy() - own) ** 2)) for labels in (None, own)
    )
    assert corrected > known * 1.03


def test_items_without_events_lie_at_the_mean_and_draws_follow_from_the_seed(samples):
    again = sample_factors(made_up()[0], RANK, 12, burn_in=20, every=2, seed=1)
    np.testing.assert_array_equal(again.items, samples.items)
    assert np.abs(sample_factors(made_up()[0], RANK, 12, burn_in=20, every=2, seed=2).items - samples.items).max() > 0.1
    assert samples.items[:, 0].std(axis=0).max() < 0.5 * samples.items[0, 1:].std(axis=0).mean()


def test_the_configuration_makes_the_same_layer(layer):
    twin = LatentFactors.from_config(layer.get_config())
    twin.build()
    for one, other in zip(twin.tables, layer.tables, strict=True):
        one.assign(other)
    past, lengths = history(made_up()[0], [1])
    np.testing.assert_array_equal(twin(past, *asked(1, lengths)), layer(past, *asked(1, lengths)))
    assert not layer.trainable_weights and isinstance(layer, keras.layers.Layer)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`rank` must be 1 or more; received 0"):
        LatentFactors(3, 0, 1)
    with pytest.raises(ValueError, match="`ratings` must hold at least one labelled event; received none"):
        sample_factors(Ratings(*np.zeros((3, 0), int), 2, 2), 1, 1)
