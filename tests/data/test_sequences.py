"""Training windows, histories and relevant items of a few users, worked out by hand."""

import numpy as np
import pytest

from tfrec.data import sequences as room
from tfrec.data.sequences import Ragged, Sequences, distinct, histories, relevant_items, segments, training_windows


def make(*users, targets=None):
    """Users as (items, train_end, test_start)."""
    rows = np.concatenate([np.array(items, np.int32) for items, _, _ in users])
    lengths = [len(items) for items, _, _ in users]
    return Sequences(
        user_ids=np.array([f"u{user}" for user in range(len(users))], dtype=object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rows=rows,
        is_target=np.ones(len(rows), bool) if targets is None else np.array(targets, bool),
        train_end=np.array([a for _, a, _ in users]),
        test_start=np.array([b for _, _, b in users]),
        events={"event_type": rows * 10},
        users={"user_sex": np.arange(len(users), dtype=np.int32)},
    )


def lists(ragged):
    return [ragged.rows[a:b].tolist() for a, b in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True)]


def shown(windows):
    """(user, history, targets) of each window."""
    result = []
    for user, start, length, whole in zip(windows.owners, windows.starts, windows.lengths, windows.whole, strict=True):
        targets = windows.targets[start : start + length + 1].tolist()
        result.append(
            (int(user), windows.rows[start : start + length].tolist(), targets if whole else [0, *targets[1:]])
        )
    return result


NOTHING = np.zeros(10, bool)


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (5, [(0, [1, 2, 3], [1, 2, 3, 4])]),
        (4, [(0, [1, 2, 3], [1, 2, 3, 4])]),
        (3, [(0, [1, 2, 3], [0, 2, 3, 4]), (0, [], [1])]),
        (2, [(0, [2, 3], [0, 3, 4]), (0, [], [1])]),
        (1, [(0, [3], [0, 4]), (0, [], [1])]),
    ],
)
def test_a_window_trains_the_newest_events_and_the_first_one_once(max_length, expected):
    windows = training_windows(make(([1, 2, 3, 4, 5, 6], 4, 5)), NOTHING, max_length)
    assert shown(windows) == expected
    assert sorted(windows.target_rows()) == sorted({1, *[1, 2, 3, 4][-max_length:]})


def test_drawn_windows_come_from_anywhere_and_mostly_not_from_the_end():
    """Of one long history and one that is none: an epoch trains as much as without drawing, and other events."""
    sequences = make((list(range(1, 13)), 11, 12), ([13, 14, 15], 3, 3))
    windows = training_windows(sequences, np.zeros(20, bool), 4, drawn=True)
    plain = training_windows(sequences, np.zeros(20, bool), 4)
    assert shown(windows) == shown(plain) == [
        (0, [7, 8, 9, 10], [0, 8, 9, 10, 11]), (1, [13, 14], [13, 14, 15]), (0, [], [1]),
    ]  # fmt: skip
    assert windows.slack.tolist() == [6, 0, 0] and not plain.slack.any()
    assert sorted(windows.possible_rows()) == [*range(1, 12), 13, 14, 15]
    assert sorted(plain.possible_rows()) == [1, 8, 9, 10, 11, 13, 14, 15]
    rng, starts = np.random.default_rng(0), []
    for _ in range(400):
        drawn = windows.drawn(rng)
        (_, history, targets), *others = shown(drawn)
        assert others == shown(plain)[1:] and len(history) == 4
        assert targets == [0, *range(history[0] + 1, history[0] + 5)]
        starts.append(history[0])
    assert set(starts) == set(range(1, 8)) and 0.3 < np.mean(np.array(starts) == 7) < 0.5
    assert plain.drawn(rng) is plain


def test_users_without_training_events_give_no_window_and_one_event_gives_an_empty_history():
    windows = training_windows(make(([1], 0, 0), ([2, 3, 4], 1, 2), ([5, 6], 0, 1)), NOTHING, 5)
    assert shown(windows) == [(1, [], [2])]


def test_held_out_items_leave_the_windows_and_the_rest_closes_up():
    held_out = np.isin(np.arange(10), [2, 4])
    assert shown(training_windows(make(([1, 2, 3, 4, 5, 6, 7], 5, 6)), held_out, 5)) == [(0, [1, 3], [1, 3, 5])]


def test_events_of_other_types_are_context_and_no_targets():
    sequences = make(([1, 2, 3, 4, 5], 3, 4), ([6, 7, 8], 2, 2), targets=[0, 1, 0, 1, 1, 0, 0, 1])
    assert shown(training_windows(sequences, NOTHING, 5)) == [(0, [1, 2], [0, 2, 0])]


def test_a_window_whose_only_target_is_too_old_is_left_out():
    sequences = make(([1, 2, 3, 4, 5], 4, 4), targets=[0, 1, 0, 0, 1])
    assert shown(training_windows(sequences, NOTHING, 2)) == []


def test_the_guard_of_the_windows_refuses_a_leak(monkeypatch):
    sequences = make(([1, 2, 3], 1, 2))
    monkeypatch.setattr(room, "training_events", lambda *_: (np.array([0, 1]), np.array([0, 2])))
    with pytest.raises(RuntimeError, match="training sequences leak"):
        training_windows(sequences, NOTHING, 5)


def test_histories_end_where_their_part_begins():
    sequences = make(([1, 2, 3, 4], 2, 3), ([5], 0, 0), ([6, 7, 8], 1, 2))
    assert lists(histories(sequences, np.array([0, 2]), "validation")[1]) == [[1, 2], [6]]
    assert lists(histories(sequences, np.array([0, 1, 2]), "test")[1]) == [[1, 2, 3], [], [6, 7]]


def test_relevant_items_are_distinct_targets_and_new_ones_where_asked():
    sequences = make(([1, 2, 3, 1, 3, 4, 3], 2, 4), ([5, 5], 1, 1), targets=[1, 1, 1, 0, 1, 1, 1, 1, 1])
    found = relevant_items(sequences, "test", new_only=False, excluded=NOTHING)
    assert found[0].tolist() == [0, 1] and lists(found[1]) == [[3, 4], [5]]
    found = relevant_items(sequences, "test", new_only=True, excluded=NOTHING)
    assert found[0].tolist() == [0] and lists(found[1]) == [[4]] and found[1].user_ids.tolist() == ["u0"]
    found = relevant_items(sequences, "validation", new_only=False, excluded=np.arange(10) == 3)
    assert len(found[0]) == 0


def test_distinct_rows_of_each_list():
    ragged = Ragged(np.array(["a", "b", "c"]), np.array([3, 1, 3, 2, 2]), np.array([0, 3, 3, 5]))
    assert lists(distinct(ragged, 10)) == [[1, 3], [], [2]]


def test_users_can_be_taken_in_another_order():
    sequences = make(([1, 2], 0, 1), ([3], 0, 0), ([4, 5, 6], 1, 2)).take(np.array([2, 0]))
    assert sequences.rows.tolist() == [4, 5, 6, 1, 2] and sequences.offsets.tolist() == [0, 3, 5]
    assert sequences.events["event_type"].tolist() == [40, 50, 60, 10, 20]
    assert sequences.users["user_sex"].tolist() == [2, 0] and sequences.test_start.tolist() == [2, 1]


def test_segments_lie_end_to_end():
    index, offsets = segments(np.array([5, 0, 2]), np.array([2, 0, 3]))
    assert index.tolist() == [5, 6, 2, 3, 4] and offsets.tolist() == [0, 2, 2, 5]
