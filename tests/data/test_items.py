"""Item and user tables: one row each, texts joined, categories coded, numbers standardised."""

import logging

import numpy as np
import pandas as pd
import pytest

from tfrec.data import ItemColumns, UserColumns, read_items, read_users
from tfrec.data.items import category_codes, item_rows, read_item_ids, standardised


def test_texts_are_joined_and_the_first_is_the_title():
    source = pd.DataFrame({"sku": ["1", "2", "3"], "name": ["Shoe ", "", None], "brand": ["Ace", "Bee", ""]})
    items = read_items(source, ItemColumns("sku", text=("name", "brand")))
    assert items.title.tolist() == ["Shoe", "", ""]
    assert items.text.tolist() == ["Shoe. Ace", "Bee", ""]


def test_chinese_emoji_and_empty_titles_stay(titles):
    assert read_items(titles).text.tolist() == ["Vase", "Wok", "跑步鞋", "🎁 box", ""]


def test_a_table_without_a_title_has_empty_texts():
    assert read_items(pd.DataFrame({"item_id": [1]})).text.tolist() == [""]


def test_a_declared_text_column_must_exist(titles):
    with pytest.raises(ValueError, match="'items' has no column 'name'"):
        read_items(titles, ItemColumns(text=("name",)))


def test_identical_rows_are_one_item(titles):
    assert len(read_items(pd.concat([titles, titles]))) == len(titles)


def test_duplicate_items_with_different_titles_are_refused(titles):
    twice = pd.concat([titles, pd.DataFrame({"item_id": ["w"], "title": ["Pan"]})])
    with pytest.raises(ValueError, match="'items': item_id 'w' has two rows whose 'title' differ: 'Wok' and 'Pan'"):
        read_items(twice)


def test_duplicate_items_with_different_numbers_are_refused():
    source = pd.DataFrame({"item_id": ["a", "a"], "title": ["x", "x"], "price": [None, 2.0]})
    with pytest.raises(ValueError, match="'a' has two rows whose 'price' differ: nan and 2.0"):
        read_items(source, ItemColumns(numeric=("price",)))


def test_users_have_one_row_each():
    source = pd.DataFrame({"id": [1, 1, 2], "sex": ["F", "F", None]})
    columns = UserColumns("id", ("sex",))
    assert read_users(source, columns).to_dict("list") == {"user_id": ["1", "2"], "sex": ["F", ""]}
    with pytest.raises(ValueError, match="'users': user_id '1' has two rows whose 'sex' differ: 'F' and 'M'"):
        read_users(source.assign(sex=["F", "M", "F"]), columns)


def test_rows_are_sorted_padding_first_and_hold_items_of_both_tables(titles, caplog):
    with caplog.at_level(logging.WARNING):
        rows = item_rows(read_items(titles), pd.Series(["w", "u", "w"], dtype="str"))
    assert rows.item_id.tolist() == ["", "u", "v", "w", "x", "y", "z"]
    assert rows.text.tolist() == ["", "", "Vase", "Wok", "跑步鞋", "🎁 box", ""]
    assert "1 of 2 items of the events, such as 'u', are not in the table 'items'" in caplog.text


def test_rows_without_an_item_table_are_those_of_the_events():
    assert item_rows(None, pd.Series(["b", "a", "b"], dtype="str")).item_id.tolist() == ["", "a", "b"]


def test_tables_whose_ids_never_meet_are_refused(titles):
    with pytest.raises(
        ValueError, match="No item of the events, such as '1.0', is in the table 'items', which has 'v'"
    ):
        item_rows(read_items(titles), pd.Series(["1.0"], dtype="str"))


def test_several_values_of_a_category_are_several_codes():
    values = pd.Series(["", "Comedy|Drama", " Drama | |Drama", "War"], dtype="str")
    codes, vocabulary = category_codes(values, "|", np.array([False, True, True, False]))
    assert vocabulary.values == ("Comedy", "Drama")
    assert codes.dtype == np.int32 and codes.tolist() == [[0, 0], [1, 2], [2, 0], [0, 0]]


def test_single_values_are_not_taken_apart():
    codes, vocabulary = category_codes(pd.Series(["", "a|b", "a|b"], dtype="str"), None, np.ones(3, bool))
    assert vocabulary.values == ("a|b",) and codes.tolist() == [[0], [1], [1]]


def test_a_column_without_values_has_code_zero():
    codes, vocabulary = category_codes(pd.Series(["", ""], dtype="str"), " ", np.ones(2, bool))
    assert vocabulary.size == 1 and codes.tolist() == [[0], [0]]


def test_numbers_are_standardised_over_the_known_rows():
    numbers = np.array([[np.nan, 5.0], [1.0, 5.0], [3.0, 5.0], [9.0, 7.0]])
    known = np.array([False, True, True, False])
    expected = [[np.nan, 0], [-1, 0], [1, 0], [7, 2]]
    np.testing.assert_array_equal(standardised(numbers, known), np.array(expected, np.float32))


def test_a_number_no_known_row_has_is_missing():
    assert np.isnan(standardised(np.array([[4.0], [np.nan]]), np.array([False, True]))).all()


def test_item_ids_come_from_a_list_or_a_table(tmp_path):
    path = tmp_path / "cold.csv"
    path.write_text("item_id\n02\n007\n02\n")
    assert read_item_ids(path, "hold_out_items") == ["007", "02"] == read_item_ids({"02", "007"}, "hold_out_items")
    path.write_text("id\n1\n")
    with pytest.raises(ValueError, match="'hold_out_items' .*has no column 'item_id'"):
        read_item_ids(path, "hold_out_items")
