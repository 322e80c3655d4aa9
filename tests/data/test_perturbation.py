"""Disturbed histories lack what was taken out, hold what was put in, and nothing else of the evaluation changes."""

import numpy as np
import pytest

from tfrec.data.batches import EvaluationUsers
from tfrec.data.perturbation import Noise, disturbed_windows, perturbed
from tfrec.data.sequences import Ragged, Windows
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


def windows(targets=None):
    """Two users' windows: one whole history, and one whose first event is no target."""
    rows = np.arange(20, 32, dtype=np.int32)
    return Windows(
        owners=np.array([0, 1]), starts=np.array([0, 5]), lengths=np.array([4, 6]), whole=np.array([True, False]),
        slack=np.array([0, 0]), first=np.array([False, False]), rows=rows, targets=rows if targets is None else targets,
        events={"timestamp": np.arange(100, 112)},
    )  # fmt: skip


def played(found):
    """What each window reads, and what it asks for after each event."""
    return [
        (found.rows[start : start + length].tolist(), found.targets[start : start + length + 1].tolist())
        for start, length in zip(found.starts, found.lengths, strict=True)
    ]


def test_windows_stay_what_they_are_where_nothing_is_asked():
    assert played(disturbed_windows(Noise(COUNTS, 0, 0), windows(), np.random.default_rng(0))) == played(windows())


def test_windows_ask_for_the_next_true_event_and_neither_read_nor_ask_for_what_was_taken_out():
    own = [list(range(20, 25)), list(range(25, 32))]
    noise, rng, seen = Noise(COUNTS * (COUNTS > 1), 0.4, 0.4), np.random.default_rng(1), set()
    for _ in range(60):
        found = disturbed_windows(noise, windows(), rng)
        assert found.whole.tolist() == [True, False] and not found.slack.any()
        for (read, asked), events in zip(played(found), own, strict=True):
            kept = [row for row in asked if row in events]
            assert kept == asked and asked == sorted(asked) and asked[-1] == events[-1]
            true = [row for row in read if row >= 20]
            assert set(true) == set(asked) - {asked[-1]}
            for place, row in enumerate([*read, asked[-1]]):
                following = next((each for each in [*read, asked[-1]][place:] if each >= 20), None)
                assert asked[place] == following
                seen.add(row >= 20)
    assert seen == {True, False}


def test_what_is_no_target_stays_none_in_a_disturbed_window():
    targets = np.where(np.arange(12) == 2, 0, np.arange(20, 32)).astype(np.int32)
    found = disturbed_windows(Noise(COUNTS, 0, 0.5), windows(targets), np.random.default_rng(0))
    assert (found.targets == 0).any() and 22 not in found.targets
