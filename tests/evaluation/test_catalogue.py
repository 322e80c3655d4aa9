"""Histories from tables, ranked rows, and the table of recommendations."""

import numpy as np
import pandas as pd
import pytest

from tfrec.evaluation import Catalogue, Histories, best, recommendation_table

IDS = np.array(["", "a", "b", "c"], object)


def test_histories_keep_the_order_of_the_table_and_the_order_of_the_users():
    events = pd.DataFrame(
        {"user_id": ["v", "u", "v", "stranger", "u", "v"], "item_id": ["b", "a", "a", "a", "c", "unknown"]}
    )
    histories = Histories.from_frame(events, ["u", "empty", "v"], IDS)
    assert histories.rows.tolist() == [1, 3, 2, 1]
    assert histories.offsets.tolist() == [0, 2, 2, 4]
    assert histories.last().tolist() == [3, 0, 1]


def test_the_events_of_some_users():
    histories = Histories(np.array(["u", "empty", "v"]), np.array([1, 3, 2, 1]), np.array([0, 2, 2, 4]))
    owner, rows = histories.events_of(np.array([2, 1, 0]))
    assert owner.tolist() == [0, 0, 2, 2]
    assert rows.tolist() == [2, 1, 1, 3]


def test_histories_of_nobody_and_of_users_without_events():
    assert Histories(np.array([]), np.array([], int), np.array([0])).last().tolist() == []
    assert Histories(np.array(["u"]), np.array([], int), np.array([0, 0])).last().tolist() == [0]


@pytest.mark.parametrize("offsets", [[0, 2], [0, 3, 2], [0, 1, 3], [1, 1, 2], []])
def test_offsets_that_do_not_fit_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must be 3 ascending numbers from 0 to 2"):
        Histories(np.array(["u", "v"]), np.array([1, 2]), np.array(offsets))


def test_a_catalogue_wants_equal_lengths_and_padding_that_is_no_candidate():
    with pytest.raises(ValueError, match=r"must have one length, got \(4, 3, 4\)"):
        Catalogue(IDS, np.ones(3, bool), np.zeros(4))
    with pytest.raises(ValueError, match="candidate must be False at row 0"):
        Catalogue(IDS, np.ones(4, bool), np.zeros(4))


def test_popularity_gives_every_row_its_place():
    items = pd.DataFrame({"item_id": IDS, "candidate": [False, True, True, True], "count": [0, 2, 5, 2]})
    places = Catalogue.from_items(items).popularity()
    assert np.argsort(-places).tolist() == [2, 1, 3, 0]
    assert places.max() == 1 and len(set(places)) == 4


def test_the_best_columns_in_order_with_ties_to_the_lower_column():
    rows, scores = best(np.array([[0.1, 0.5, 0.5, 0.9], [-np.inf, 2.0, -np.inf, -np.inf]]), 3)
    assert rows[0].tolist() == [3, 1, 2]
    assert rows[1][0] == 1 and scores[1].tolist() == [2.0, -np.inf, -np.inf]
    assert best(np.ones((1, 2)), 5)[0].tolist() == [[0, 1]]


def test_the_table_leaves_out_what_is_exhausted():
    table = recommendation_table(
        np.array(["007", "v"]), IDS, np.array([[2, 1], [3, 0]]), np.array([[0.5, 0.25], [1.0, -np.inf]])
    )
    assert table.values.tolist() == [["007", "b", 1, 0.5], ["007", "a", 2, 0.25], ["v", "c", 1, 1.0]]
    assert list(table.columns) == ["user_id", "item_id", "rank", "score"]
