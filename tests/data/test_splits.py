"""Both splits against the rules written out by hand, and their guards against leaks."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tfrec.data import PrepareOptions, prepare, read_events, splits
from tfrec.data.splits import leave_last


def parts(split):
    """(train, validation, test) items of each user as text, targets in upper case."""
    result = {}
    items = [
        item.upper() if target else item for item, target in zip(split.events.item_id, split.is_target, strict=True)
    ]
    for user, start in enumerate(split.offsets[:-1]):
        mine = items[start : split.offsets[user + 1]]
        a, b = split.train_end[user], split.test_start[user]
        result[split.events.user_id[start]] = tuple("".join(part) for part in (mine[:a], mine[a:b], mine[b:]))
    return result


def test_the_last_event_tests_and_the_one_before_validates(tiny):
    split = leave_last(read_events(tiny))
    assert parts(split) == {"a": ("VWX", "Y", "Z"), "b": ("W", "X", "V"), "c": ("", "Z", "V"), "d": ("", "", "W")}


def typed(text):
    """Events of users written as `a:vVwW`: capitals are purchases."""
    rows = [(user, item) for user, items in (one.split(":") for one in text.split()) for item in items]
    events = pd.DataFrame(rows, columns=["user_id", "item_id"])
    kind = np.where(events.item_id.str.isupper(), "purchase", "view")
    return read_events(events.assign(item_id=events.item_id.str.lower(), event_type=kind, position=range(len(events))))


def test_the_last_target_event_tests_and_what_follows_is_left_out():
    split = leave_last(typed("a:vWxYzZv b:vW c:vw d:X e:WvXw"), ["purchase"])
    assert parts(split) == {"a": ("vWx", "Yz", "Z"), "b": ("v", "", "W"), "d": ("", "", "X"), "e": ("", "Wv", "X")}


def test_a_repeated_item_stays_a_test_target():
    assert parts(leave_last(typed("a:XYX"), ["purchase"])) == {"a": ("X", "Y", "X")}


def by_time(events, validation_from, test_from, targets=()):
    seconds = splits.Seconds(lambda function, merge: merge([function(events.timestamp.to_numpy())]))
    cuts = splits.time_cuts(seconds, validation_from, test_from)
    return splits.by_time(events, cuts, targets)


def timed(*rows):
    return read_events(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), by_time=True)


def test_cuts_in_time_part_the_events():
    events = timed(
        ("a", "v", 1), ("a", "w", 5), ("a", "x", 9), ("b", "v", 4), ("b", "w", 5), ("c", "v", 8), ("c", "z", 9)
    )
    split = by_time(events, 5, 8)
    assert parts(split) == {"a": ("V", "W", "X"), "b": ("V", "W", ""), "c": ("", "", "VZ")}
    assert split.cuts == {"validation_from": 5, "test_from": 8}


def test_context_after_the_test_begins_is_left_out():
    events = typed("a:vWxYz b:wZ").assign(timestamp=[1, 2, 3, 4, 5, 4, 5])
    split = by_time(events, 2, 4, ["purchase"])
    assert parts(split) == {"a": ("v", "Wx", "Y"), "b": ("", "", "Z")}


@pytest.mark.parametrize("cuts", [(5, 5), (8, 5), (1, 5), (5, 10), ("1990-01-01", "1991-01-01")])
def test_cuts_out_of_order_or_outside_the_events_are_refused(cuts):
    with pytest.raises(
        ValueError, match=r"needs first event < validation_from < test_from <= last event; got 1 \(1970-"
    ):
        by_time(timed(("a", "v", 1), ("a", "w", 5), ("a", "x", 9)), *cuts)


def test_a_split_by_time_needs_times(tiny):
    with pytest.raises(ValueError, match="split 'time' needs the time of each event"):
        prepare(tiny, options=PrepareOptions(split="time"))


def test_target_events_must_occur_and_need_a_type(tiny):
    with pytest.raises(ValueError, match="target_events names 'buy', which no event has; .*: purchase, view"):
        splits.check_target_events(["buy"], {"view", "purchase"})
    with pytest.raises(ValueError, match="no column of the events is mapped as event_type"):
        prepare(tiny, options=PrepareOptions(target_events=("buy",)))


@pytest.mark.parametrize("shift", [{"train_end": 1}, {"test_start": -1}, {"train_end": -1}])
def test_the_guard_of_leave_last_names_the_user(tiny, shift):
    split = leave_last(read_events(tiny))
    ((name, step),) = shift.items()
    moved = getattr(split, name).copy()
    moved[1] += step
    with pytest.raises(RuntimeError, match="The split leaks: user 'b' has"):
        leaking = dataclasses.replace(split, **{name: moved})
        splits.check_boundaries(leaking)
        splits._check_last(leaking)


@pytest.mark.parametrize("step", [1, -1])
def test_the_guard_of_the_split_by_time_names_the_user(step):
    split = by_time(timed(("a", "v", 1), ("b", "w", 1), ("b", "x", 5), ("b", "y", 9), ("a", "z", 9)), 5, 9)
    moved = split.train_end.copy()
    moved[1] += step
    with pytest.raises(RuntimeError, match="user 'b' has an event on the wrong side of 5"):
        splits._check_times(dataclasses.replace(split, train_end=moved))
