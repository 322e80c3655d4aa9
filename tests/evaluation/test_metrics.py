"""Figures against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from tfrec.evaluation import category_vectors, summary, user_metrics
from tfrec.evaluation.lists import encode
from tfrec.evaluation.metrics import coverage, diversity, long_tail, novelty

# 1 / log2(rank + 1) of the second rank.
SECOND = 0.6309297535714575


def lists_of(**lists):
    rows = [(user, item, rank) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])


def pairs(**relevant):
    return pd.DataFrame([(u, i) for u, items in relevant.items() for i in items], columns=["user_id", "item_id"])


RECOMMENDATIONS = lists_of(a="wxv", b="ywx", c="wxy")
TRUTH = pairs(a="x", b="xy", c="z")


def test_figures_of_one_and_of_two_relevant_items_and_of_a_miss():
    table = user_metrics(RECOMMENDATIONS, TRUTH, (1, 3))
    expected = {
        "a": {"hr": 1, "ndcg": SECOND, "mrr": 1 / 2, "recall": 1, "precision": 1 / 3, "f1": 1 / 2},
        "b": {"hr": 1, "ndcg": 1.5 / (1 + SECOND), "mrr": 1, "recall": 1, "precision": 2 / 3, "f1": 4 / 5},
        "c": {"hr": 0, "ndcg": 0, "mrr": 0, "recall": 0, "precision": 0, "f1": 0},
    }
    for user, figures in expected.items():
        assert {name: table.loc[user, f"{name}@3"] for name in figures} == pytest.approx(figures)


def test_the_ideal_list_of_a_short_cutoff_is_short_too():
    table = user_metrics(RECOMMENDATIONS, TRUTH, (1,))
    assert table.loc["b"].to_dict() == pytest.approx(
        {"hr@1": 1, "ndcg@1": 1, "mrr@1": 1, "recall@1": 0.5, "precision@1": 1, "f1@1": 2 / 3}
    )
    assert table.loc["a"].eq(0).all()


def test_a_repeated_relevant_pair_counts_once():
    twice = pd.concat([TRUTH, TRUTH])
    pd.testing.assert_frame_equal(
        user_metrics(RECOMMENDATIONS, twice, (3,)), user_metrics(RECOMMENDATIONS, TRUTH, (3,))
    )


def test_a_user_without_recommendations_has_zeros_and_one_without_truth_is_ignored():
    table = user_metrics(RECOMMENDATIONS, pairs(a="x", nobody="x"), (3,))
    assert list(table.index) == ["a", "nobody"]
    assert table.loc["nobody"].eq(0).all()


def test_summary_has_means_and_half_widths_over_users():
    result = summary(user_metrics(RECOMMENDATIONS, TRUTH, (3,)))
    assert result["users"] == 3
    assert result["hr@3"] == pytest.approx(2 / 3)
    # The deviations from 2/3 are 1/3, 1/3 and -2/3; their mean square is 2/9.
    assert result["hr@3_half_width"] == pytest.approx(1.96 * np.sqrt(2 / 9) / np.sqrt(3))


def test_summary_leaves_out_users_for_whom_a_figure_is_undefined():
    result = summary(pd.DataFrame({"some": [1.0, np.nan, 3.0], "none": [np.nan] * 3}))
    assert result["some"] == pytest.approx(2.0)
    assert result["some_half_width"] == pytest.approx(1.96 / np.sqrt(2))
    assert np.isnan(result["none"]) and np.isnan(result["none_half_width"])


def test_summary_of_nobody():
    assert summary(pd.DataFrame({"hr@1": []})) == {"users": 0}


ITEMS = pd.Index(list("vwxyz"))


def test_novelty_is_the_mean_information_in_bits():
    lists = encode(RECOMMENDATIONS, TRUTH, ITEMS)
    # Counts plus one are 4, 8, 2, 1, 1 of 16: v 2, w 1, x 3, y 4, z 4 bits.
    table = novelty(lists, np.array([3, 7, 1, 0, 0]), (1, 3))
    assert table.loc["a"].to_dict() == pytest.approx({"novelty@1": 1, "novelty@3": (1 + 3 + 2) / 3})
    assert table.loc["b"].to_dict() == pytest.approx({"novelty@1": 4, "novelty@3": (4 + 1 + 3) / 3})


def test_the_long_tail_is_all_but_the_most_popular_fifth():
    lists = encode(RECOMMENDATIONS, TRUTH, ITEMS)
    table = long_tail(lists, np.array([3, 7, 1, 0, 0]), (1, 3), np.ones(5, bool))
    assert table.loc["a"].to_dict() == pytest.approx({"long_tail@1": 0, "long_tail@3": 2 / 3})
    assert table.loc["b"].to_dict() == pytest.approx({"long_tail@1": 1, "long_tail@3": 2 / 3})


def test_an_item_outside_the_catalogue_takes_no_place_in_the_head():
    lists = encode(lists_of(a="w"), pairs(a="w"), ITEMS)
    table = long_tail(lists, np.array([9, 7, 1, 0, 0]), (1,), np.array([False, True, True, True, True]))
    assert table.loc["a", "long_tail@1"] == 0


def test_diversity_is_one_minus_the_mean_cosine_of_the_pairs():
    vectors = np.array([[2, 0], [1, 0], [0, 3], [-1, 0], [0, 0]])  # v and w alike, x across, y opposite, z nothing
    lists = encode(lists_of(a="vwx", b="vyz", c="x"), pairs(a="z", b="z", c="z"), ITEMS)
    table = diversity(lists, vectors, (1, 2, 3))
    assert list(table.columns) == ["diversity@2", "diversity@3"]
    assert table.loc["a"].to_list() == pytest.approx([0, 1 - 1 / 3], abs=1e-6)
    assert table.loc["b"].to_list() == pytest.approx([2, 1 + 1 / 3], abs=1e-6)
    assert table.loc["c"].isna().all()


def test_diversity_wants_one_vector_an_item():
    with pytest.raises(ValueError, match=r"item vectors must have shape \[5, W\].*\(4, 2\)"):
        diversity(encode(RECOMMENDATIONS, TRUTH, ITEMS), np.ones((4, 2)), (2,))


def test_categories_as_vectors():
    assert category_vectors(np.array([[1, 2], [2, 0], [0, 0]]), 3).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_coverage_is_the_share_of_the_catalogue_that_anyone_is_shown():
    lists = encode(RECOMMENDATIONS, TRUTH, ITEMS)
    assert coverage(lists, (1, 3), np.ones(5, bool)) == {"coverage@1": 2 / 5, "coverage@3": 4 / 5}


@pytest.mark.parametrize(
    ("recommendations", "message"),
    [
        (RECOMMENDATIONS.drop(columns="rank"), r"recommendations must have the columns .*'rank'"),
        (RECOMMENDATIONS.assign(rank=[0, 2, 3] * 3), "rank must be a whole number from 1.*got 0"),
        (RECOMMENDATIONS.assign(rank=[1.5, 2, 3] * 3), "rank must be a whole number from 1.*got 1.5"),
        (RECOMMENDATIONS.assign(rank=["first", 2, 3] * 3), "rank must be a whole number from 1.*got 'first'"),
        (
            RECOMMENDATIONS.assign(rank=[1, 2, 2] * 3),
            "every rank at most once; 3 rows repeat one, the first for user 'a'",
        ),
        (lists_of(b="xyx"), "every item at most once; 1 rows repeat one, the first for user 'b'"),
    ],
)
def test_bad_recommendations_are_refused(recommendations, message):
    with pytest.raises(ValueError, match=message):
        user_metrics(recommendations, TRUTH, (1,))


def test_an_empty_truth_is_refused():
    with pytest.raises(ValueError, match="truth must hold at least one relevant pair"):
        user_metrics(RECOMMENDATIONS, TRUTH[:0], (1,))


@pytest.mark.parametrize("cutoffs", [(), (0, 1), (1.5,), (4, 10)])
def test_cutoffs_that_nothing_answers_are_refused(cutoffs):
    with pytest.raises(ValueError, match="cutoffs must"):
        user_metrics(RECOMMENDATIONS, TRUTH, cutoffs)


def test_cutoffs_deeper_than_the_lists_are_left_out():
    assert [name for name in user_metrics(RECOMMENDATIONS, TRUTH, (3, 10)) if name.startswith("hr")] == ["hr@3"]


def test_ranks_may_come_in_any_order():
    shuffled = RECOMMENDATIONS.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(user_metrics(shuffled, TRUTH, (1, 3)), user_metrics(RECOMMENDATIONS, TRUTH, (1, 3)))
