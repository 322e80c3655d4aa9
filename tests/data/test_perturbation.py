"""Disturbed histories lack what was taken out, hold what was put in, and nothing else of the evaluation changes."""

import numpy as np
import pytest

from tfrec.data.batches import EvaluationUsers
from tfrec.data.perturbation import perturbed
from tfrec.data.sequences import Ragged
from tfrec.features import HISTORY, RELEVANT, SEEN

USERS, ITEMS = 400, 50
COUNTS = np.where(np.arange(ITEMS) < 10, 9, 1)


@pytest.fixture
def users():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 12, USERS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = rng.integers(20, ITEMS, offsets[-1]).astype(np.int32)
    ids = np.array([f"u{n}" for n in range(USERS)], object)
    events = {"timestamp": np.arange(1, len(rows) + 1), "event_device": rng.integers(1, 4, len(rows)).astype(np.int32)}
    one = Ragged(ids, np.ones(USERS, np.int32), np.arange(USERS + 1))
    return EvaluationUsers(
        Ragged(ids, rows, offsets), Ragged(ids, rows, offsets), one, events, {}, 200, np.zeros(0, np.int32)
    )  # fmt: skip


def test_nothing_is_done_where_nothing_is_asked(users):
    same = perturbed(users, COUNTS, delete=0, insert=0)
    np.testing.assert_array_equal(same.histories.rows, users.histories.rows)
    np.testing.assert_array_equal(same.histories.offsets, users.histories.offsets)
    np.testing.assert_array_equal(same.events["event_device"], users.events["event_device"])


def test_what_is_left_after_deletion_keeps_its_order_and_its_features(users):
    found = perturbed(users, COUNTS, delete=0.3, insert=0)
    places = found.events["timestamp"] - 1
    assert 0.65 < len(places) / len(users.histories.rows) < 0.75 and (np.diff(places) > 0).all()
    np.testing.assert_array_equal(found.histories.rows, users.histories.rows[places])
    np.testing.assert_array_equal(found.events["event_device"], users.events["event_device"][places])
    np.testing.assert_array_equal(found.histories.owners, users.histories.owners[places])


def test_what_is_put_in_is_popular_and_says_nothing_of_itself_but_the_time(users):
    found = perturbed(users, COUNTS, delete=0, insert=0.4)
    foreign = found.events["event_device"] == 0
    assert 0.35 < foreign.sum() / len(users.histories.rows) < 0.45
    np.testing.assert_array_equal(found.histories.rows[~foreign], users.histories.rows)
    drawn = found.histories.rows[foreign]
    assert drawn.min() > 0 and (drawn < 10).mean() == pytest.approx(81 / 121, abs=0.05)
    place = np.flatnonzero(foreign)
    np.testing.assert_array_equal(found.events["timestamp"][place], found.events["timestamp"][place + 1])
    np.testing.assert_array_equal(found.histories.owners[place], found.histories.owners[place + 1])


def test_batches_hold_the_disturbed_history_and_the_true_rest(users):
    found = perturbed(users, COUNTS)
    members = np.arange(USERS)
    one, other = users.batch(members), found.batch(members)
    for name in (SEEN, RELEVANT):
        np.testing.assert_array_equal(one[name], other[name])
    assert ((other[HISTORY] > 0).sum(axis=1) == found.histories.lengths).all()
    assert (one[HISTORY] > 0).sum() != (other[HISTORY] > 0).sum()


def test_the_seed_decides(users):
    first, again, other = (perturbed(users, COUNTS, seed=seed).histories.rows.tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("wrong", [{"delete": 1.5}, {"insert": -0.1}])
def test_what_is_no_probability_is_refused(users, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a probability from 0 to 1"):
        perturbed(users, COUNTS, **wrong)
