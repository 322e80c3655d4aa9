"""The rules that recommendations must keep, and what an evaluation holds."""

import logging

import numpy as np
import pandas as pd
import pytest

from tfrec.evaluation import evaluate

ITEMS = pd.DataFrame(
    {
        "item_id": ["", "v", "w", "x", "y", "z"],
        "count": [0, 3, 7, 1, 0, 0],
        "candidate": [False, True, True, True, True, True],
        "trained": [False, True, True, True, False, False],
    }
)
HISTORY = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["v", "v", "w"]})
TRUTH = pd.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["x", "y", "z"]})


def lists_of(**lists):
    rows = [(user, item, rank) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])


GOOD = lists_of(a="xw", b="vx", c="wz")


def test_the_figures_and_those_of_the_catalogue():
    result = evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, cutoffs=(1, 2))
    assert result.metrics["users"] == 3
    assert result.metrics["hr@1"] == pytest.approx(1 / 3)
    assert result.metrics["hr@2"] == pytest.approx(2 / 3)
    assert result.metrics["coverage@2"] == pytest.approx(4 / 5)
    assert result.metrics["cold_share@2"] == pytest.approx(1 / 6)
    assert "coverage@2_half_width" not in result.metrics
    assert list(result.per_user.index) == ["a", "b", "c"]
    assert "diversity@2" not in result.metrics


def test_slices_by_target_by_history_and_by_popularity():
    slices = evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, cutoffs=(2,)).slices
    users = {name: figures["users"] for name, figures in slices.items()}
    assert users == {
        "cold_items": 2, "warm_items": 1, "few_events": 1, "cold_users": 1, "warm_users": 2, "history_length:1-4": 2,
        "popularity:50%-100%": 1, "popularity:untrained": 2,
    }  # fmt: skip
    assert slices["cold_items"]["hr@2"] == pytest.approx(1 / 2)
    assert slices["few_events"]["hr@2"] == 1
    assert slices["cold_users"]["hr@2"] == 1
    assert slices["warm_items"]["hr@2"] == 1


def test_the_users_of_each_slice_are_told():
    result = evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, cutoffs=(2,))
    assert set(result.groups) == set(result.slices)
    assert result.per_user.index[result.groups["cold_items"]].tolist() == ["b", "c"]
    assert result.per_user.index[result.groups["few_events"]].tolist() == ["a"]


def test_the_cold_items_may_be_named():
    slices = evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, cutoffs=(2,), cold={"x"}).slices
    assert (slices["cold_items"]["users"], slices["warm_items"]["users"]) == (1, 2)


def test_item_vectors_bring_diversity_and_follow_the_rows_of_the_items():
    vectors = np.array([[9, 9], [0, 1], [1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    result = evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, cutoffs=(2,), item_vectors=vectors)
    assert result.per_user["diversity@2"].to_list() == pytest.approx([0, 1, 1])
    with pytest.raises(ValueError, match="item_vectors must have one row for each of the 6 rows of items, got 5"):
        evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, item_vectors=vectors[1:])


@pytest.mark.parametrize(
    ("recommendations", "message"),
    [
        (lists_of(a="xv", b="vx", c="wz"), "must not repeat an item of the user's history.*broken 1 times.*user 'a'"),
        (lists_of(a="xw", b="v", c="wz"), r"must have the ranks 1\.\.2 once each: broken 1 times, first for user 'b'"),
        (lists_of(a="xw", b="vx"), r"must have the ranks 1\.\.2 once each: broken 1 times, first for user 'c'"),
        (lists_of(a="xw", b="v?", c="wz"), "must be items of the catalogue: broken 1 times, first for user 'b'"),
        (GOOD[GOOD["rank"] == 2], r"must have the ranks 1\.\.2 once each: broken 3 times"),
    ],
)
def test_a_broken_rule_is_an_error(recommendations, message):
    with pytest.raises(ValueError, match=message):
        evaluate(recommendations, TRUTH, ITEMS, history=HISTORY, cutoffs=(1, 2))


def test_several_broken_rules_are_all_named():
    with pytest.raises(ValueError, match=r"ranks 1\.\.2.*catalogue.*history"):
        evaluate(lists_of(a="v?", b="v"), TRUTH, ITEMS, history=HISTORY, cutoffs=(1,))


def test_an_item_that_is_no_candidate_is_outside_the_catalogue():
    items = ITEMS.assign(candidate=ITEMS["item_id"] != "z")
    items.loc[0, "candidate"] = False
    with pytest.raises(ValueError, match="must be items of the catalogue: broken 1 times, first for user 'c'"):
        evaluate(GOOD, TRUTH, items, history=HISTORY, cutoffs=(1,))


def test_seen_items_may_come_back_when_the_rule_says_so():
    back = lists_of(a="xv", b="wx", c="wz")
    assert evaluate(back, TRUTH, ITEMS, history=HISTORY, cutoffs=(2,), keep_seen=True).metrics["hr@2"] == pytest.approx(
        2 / 3
    )


def test_lists_are_short_exactly_where_the_catalogue_is_exhausted():
    exhausted = lists_of(a="xwyz", b="vxyz", c="wzvxy")
    assert evaluate(exhausted, TRUTH, ITEMS, history=HISTORY, cutoffs=(4,)).metrics["hr@4"] == 1
    with pytest.raises(ValueError, match=r"ranks 1\.\.5 once each: broken 1 times, first for user 'b'"):
        evaluate(exhausted, TRUTH, ITEMS, history=HISTORY[:1], cutoffs=(4,))


def test_users_that_the_truth_lacks_are_ignored():
    more = pd.concat([GOOD, lists_of(stranger="?")])
    assert evaluate(more, TRUTH, ITEMS, history=HISTORY, cutoffs=(2,)).metrics["users"] == 3


def test_a_cutoff_beyond_the_lists_is_left_out_and_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="tfrec.evaluation.ranking"):
        result = evaluate(GOOD, TRUTH, ITEMS, history=HISTORY, cutoffs=(2, 10))
    assert "hr@2" in result.metrics and "hr@10" not in result.metrics
    assert "cut-offs [10] are left out: the deepest rank is 2" in caplog.text


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="items must have each item_id once, got 'z' more than once"):
        evaluate(GOOD, TRUTH, pd.concat([ITEMS, ITEMS[-1:]]), history=HISTORY)
    with pytest.raises(ValueError, match="history must have the columns"):
        evaluate(GOOD, TRUTH, ITEMS, history=HISTORY[["user_id"]])


def test_items_need_no_more_than_their_id():
    result = evaluate(GOOD, TRUTH, ITEMS[["item_id"]], history=HISTORY, cutoffs=(2,))
    assert result.metrics["cold_share@2"] == 0
    assert "cold_items" not in result.slices


def test_a_seen_item_outside_the_catalogue_takes_nothing_from_the_list():
    items = ITEMS.assign(candidate=[False, False, True, True, True, True])
    whole = lists_of(a="wxyz", b="xyz", c="wxyz")  # a has had v alone, which is no candidate
    assert evaluate(whole, TRUTH, items, history=HISTORY, cutoffs=(4,)).metrics["hr@4"] == 1
