"""What a second stage learns from: neighbours, training positions, and negatives that are negatives."""

import numpy as np
import pytest

from tfrec.data import CandidatePlan, EvaluationUsers, NegativeDraws, Ragged, RecalledLists, neighbours
from tfrec.data.positions import training_positions
from tfrec.data.sequences import Sequences
from tfrec.features import CANDIDATES, HISTORY, NEXT, NORMALISER, label_feature

ITEMS = 9


def ragged(*lists):
    lengths = [len(one) for one in lists]
    rows = np.concatenate([np.array(one, np.int32) for one in lists])
    return Ragged(np.array([f"u{n}" for n in range(len(lists))]), rows, np.concatenate([[0], np.cumsum(lengths)]))


def test_neighbours_are_ordered_by_how_often_and_how_near():
    rows, strengths = neighbours(ragged([1, 2, 3], [1, 2], [4]), 6, most=2, distance=2)
    # 1 -> 2 twice next to it: 2 / sqrt(2 * 2); 1 -> 3 once, two events on: 0.5 / sqrt(2 * 1); back counts 0.7 of it.
    assert rows[1].tolist() == [2, 3]
    assert strengths[1] == pytest.approx([1.0, 0.5 / np.sqrt(2)])
    assert rows[2].tolist() == [3, 1]
    assert strengths[2] == pytest.approx([1 / np.sqrt(2), 0.7])
    assert rows[3].tolist() == [2, 1] and strengths[3, 1] == pytest.approx(0.7 * 0.5 / np.sqrt(2))
    assert not rows[4].any() and not strengths[4].any() and not rows[0].any()
    assert neighbours(ragged([1]), 3)[0].shape == (3, 32)


def sequences():
    """Two users; the last event of each is past training, and the first event of the second is no target."""
    return Sequences(
        np.array(["a", "b"]), np.array([0, 5, 8]), np.array([1, 2, 3, 2, 4, 5, 6, 7], np.int32),
        np.array([1, 1, 1, 1, 1, 0, 1, 1], bool), np.array([4, 2]), np.array([5, 3]),
        {"event_type": np.arange(8, dtype=np.int32)}, {"user_tier": np.array([3, 4], np.int32)},
    )  # fmt: skip


def test_each_training_event_stands_beside_what_came_before_it_alone():
    found = training_positions(sequences(), np.zeros(ITEMS, bool), sequences().users, max_length=2, keep=False)
    assert found.relevant.rows.tolist() == [2, 3, 2, 6]
    batch = found.batch(np.arange(4))
    assert batch[HISTORY].tolist() == [[1, 0], [1, 2], [2, 3], [5, 0]]  # The newest two.
    assert batch["event_type"].tolist() == [[0, 0], [0, 1], [1, 2], [5, 0]]
    assert batch["seen"].tolist() == [[1, 0, 0], [1, 2, 0], [1, 2, 3], [5, 0, 0]]
    assert batch["user_tier"].tolist() == [3, 3, 3, 4]
    newest = training_positions(sequences(), np.zeros(ITEMS, bool), {}, max_length=2, keep=True, most=1)
    assert newest.relevant.rows.tolist() == [2, 6]
    assert not newest.batch(np.arange(2))["seen"].any()
    without = training_positions(sequences(), np.arange(ITEMS) == 3, {}, max_length=9, keep=False)
    assert without.relevant.rows.tolist() == [2, 2, 6]


def users(relevant):
    histories = ragged(*([8] for _ in relevant))
    return EvaluationUsers(histories, histories, ragged(*relevant), {}, {}, 5, np.array([7], np.int32))


def plan(relevant, recalled, **changes):
    found = RecalledLists(
        np.array(recalled, np.int32),
        np.arange(len(recalled), dtype=np.float32),
        np.zeros((len(recalled), 3), np.float32),
    )
    members = np.arange(len(recalled))
    wanted = {"count": 4, "mined": 0.5, "chances": np.array([0, 1, 1, 1, 1, 1, 1, 1, 1.0]), **changes}
    return CandidatePlan(users(relevant), members, found, NegativeDraws(**wanted), batch_size=2)


RELEVANT = [[2, 3], [4], [5], [6]]
RECALLED = [[1, 2, 3, 4], [4, 1, 2, 0], [1, 2, 3, 4], [6, 0, 0, 0]]


def epochs(made, count=40):
    return [batch for _ in range(count) for batch in made.dataset().as_numpy_iterator()]


def test_negatives_are_mistakes_of_the_recall_and_others_and_never_what_came_next_or_was_seen():
    made = plan(RELEVANT, RECALLED)
    assert made.positions == 3 and len(made) == 2  # What came next after the third history was not recalled.
    mined, drawn, positives = {0: set(), 1: set(), 3: set()}, set(), {0: set(), 1: set(), 3: set()}
    for batch in epochs(made):
        rows, labels = batch[CANDIDATES], batch[label_feature(NEXT)]
        assert rows.shape[1] == 5 and (labels[:, 0] == 1).all()
        assert np.isnan(labels[rows == 0]).all() and (labels[:, 1:][rows[:, 1:] > 0] == 0).all()
        for place, of in enumerate(batch[NORMALISER].astype(int)):
            positives[of].add(rows[place, 0])
            mined[of] |= set(rows[place, 1:3])
            drawn |= set(rows[place, 3:])
            assert not set(rows[place, 1:]) & {*RELEVANT[of], 7, 8}
    assert positives == {0: {2, 3}, 1: {4}, 3: {6}}
    assert mined == {0: {1, 4}, 1: {1, 2}, 3: {0}}
    assert drawn == {0, 1, 2, 3, 4, 5, 6}


def test_the_mix_and_the_chances_are_those_asked_for():
    alone = epochs(plan(RELEVANT, RECALLED, mined=1.0, count=3), 1)[0]
    assert alone[CANDIDATES].shape[1] == 4
    rare = np.where(np.arange(ITEMS) == 5, 1.0, 0.0)
    drawn = np.concatenate(
        [batch[CANDIDATES][:, 1:].ravel() for batch in epochs(plan([[4]], [[4]], mined=0.0, chances=rare), 3)]
    )
    assert set(drawn) == {5}
    with pytest.raises(ValueError, match="`mined` from 0 to 1; received 4 and 2"):
        NegativeDraws(4, 2, rare)
    with pytest.raises(ValueError, match="`chances` must be above 0 for at least one item"):
        NegativeDraws(4, 0.5, np.zeros(3))


def test_an_epoch_is_drawn_anew_and_can_be_played_again():
    made = plan(RELEVANT, RECALLED)
    first, second = epochs(made, 1), epochs(made, 1)
    made.epoch = 0
    again = epochs(made, 1)
    assert all((one[CANDIDATES] == other[CANDIDATES]).all() for one, other in zip(first, again, strict=True))
    assert any((one[CANDIDATES] != other[CANDIDATES]).any() for one, other in zip(first, second, strict=True))


def test_where_nothing_that_came_next_was_recalled_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="Of the 1 events .* none was recalled: raise ranking.recall"):
        plan([[5]], [[1, 2, 3, 4]])
