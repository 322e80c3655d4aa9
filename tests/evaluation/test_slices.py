"""Which users are in which slice."""

import numpy as np
import pandas as pd

from tfrec.evaluation.lists import encode
from tfrec.evaluation.slices import masks

ITEMS = pd.Index([f"i{row}" for row in range(100)])
COUNTS = np.arange(100, 0, -1)  # i0 is the most popular


def lists_for(relevant):
    truth = pd.DataFrame([(u, i) for u, items in relevant.items() for i in items], columns=["user_id", "item_id"])
    return encode(pd.DataFrame({"user_id": ["u"], "item_id": ["i0"], "rank": [1]}), truth, ITEMS)


def slice_of(name, **relevant):
    found = masks(lists_for(relevant), np.ones(len(relevant), int), COUNTS, np.zeros(100, bool))
    return found[name].tolist()


def test_popularity_bins_are_shares_of_the_catalogue():
    relevant = {"u": ["i0"], "v": ["i1"], "w": ["i4"], "x": ["i19"], "y": ["i20"], "z": ["i99"]}
    found = masks(lists_for(relevant), np.ones(6, int), COUNTS, np.zeros(100, bool))
    bins = {name.split(":")[1]: np.flatnonzero(mask).tolist() for name, mask in found.items() if "popularity" in name}
    assert bins == {"top 1%": [0], "1%-5%": [1, 2], "5%-20%": [3], "20%-50%": [4], "50%-100%": [5]}


def test_several_relevant_items_count_by_the_median_one():
    assert slice_of("popularity:5%-20%", u=["i0", "i10", "i99"], v=["i99", "i10"], w=["i60", "i99"]) == [
        True,
        True,
        False,
    ]


def test_an_item_that_the_table_lacks_is_cold_and_untrained():
    found = masks(lists_for({"u": ["unknown"], "v": ["i0"]}), np.ones(2, int), COUNTS, np.zeros(100, bool))
    assert found["cold_items"].tolist() == [True, False]
    assert found["popularity:untrained"].tolist() == [True, False]


def test_one_cold_item_among_the_relevant_makes_a_cold_target():
    cold = np.zeros(100, bool)
    cold[7] = True
    found = masks(lists_for({"u": ["i7", "i1"], "v": ["i1"]}), np.ones(2, int), COUNTS, cold)
    assert (found["cold_items"].tolist(), found["warm_items"].tolist()) == ([True, False], [False, True])


def test_history_bins_meet_without_gap_or_overlap():
    lengths = np.arange(250)
    lists = lists_for({f"u{length}": ["i0"] for length in lengths})
    found = masks(lists, lengths, COUNTS, np.zeros(100, bool))
    bins = {name: mask for name, mask in found.items() if name.startswith("history_length:") or name == "cold_users"}
    assert (sum(mask.astype(int) for mask in bins.values()) == 1).all()
    assert np.flatnonzero(bins["history_length:10-19"])[[0, -1]].tolist() == [10, 19]
    assert np.flatnonzero(bins["history_length:200+"])[0] == 200
    assert np.flatnonzero(bins["cold_users"]).tolist() == [0]


def test_targets_with_few_events_have_one_to_five():
    counts = np.array([9, 6, 5, 1, 0, *[7] * 95])
    relevant = {"u": ["i1"], "v": ["i2"], "w": ["i3"], "x": ["i4"], "y": ["unknown"], "z": ["i0"]}
    found = masks(lists_for(relevant), np.ones(6, int), counts, np.zeros(100, bool))
    assert found["few_events"].tolist() == [False, True, True, False, False, False]


def test_with_several_targets_the_median_one_says_whether_events_are_few():
    counts = np.array([9, 6, 5, 1, 0, *[7] * 95])
    relevant = {"u": ["i0", "i2", "i3"], "v": ["i0", "i1", "i3"], "w": ["i3", "i4"], "x": ["i2", "i0"]}
    found = masks(lists_for(relevant), np.ones(4, int), counts, np.zeros(100, bool))
    assert found["few_events"].tolist() == [True, False, True, False]


def test_a_slice_without_users_is_left_out():
    found = masks(lists_for({"u": ["i0"]}), np.ones(1, int), COUNTS, np.zeros(100, bool))
    assert set(found) == {"warm_items", "warm_users", "history_length:1-4", "popularity:top 1%"}
