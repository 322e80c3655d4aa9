"""Bad tables end in one clear line; good ones keep their values as written."""

import gzip

import numpy as np
import pandas as pd
import pytest

from tfrec.data import content_hash
from tfrec.data.tables import Table, read_table, spelled


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def ids(values, **kwargs):
    return list(read_table(pd.DataFrame({"id": pd.Series(values, **kwargs)}), "events").ids("id"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'events'.*no file .*absent\.csv.*Correct the path"):
        read_table(tmp_path / "absent.csv", "events")


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k"])
def test_a_missing_public_table_can_be_fetched(tmp_path, name):
    told = (
        rf"no file .*events\.csv\.gz\. Correct the path.* `tfrec download {name}` fetches it, where there is a network"
    )
    for read in (read_table, lambda path, table: content_hash(path)):
        with pytest.raises(FileNotFoundError, match=told):
            read(tmp_path / name / "events.csv.gz", "events")
        with pytest.raises(FileNotFoundError) as caught:
            read(tmp_path / f"{name}.csv", "events")
        assert "tfrec download" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "events.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder; give the path of one file"):
        read_table(tmp_path / "events.csv", "events")


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"events\.xlsx.*must be a \.csv, \.csv\.gz, \.parquet file"):
        read_table(tmp_path / "events.xlsx", "events")


def test_another_kind_of_object_is_refused():
    with pytest.raises(ValueError, match="events must be a path or a pandas DataFrame; got list"):
        read_table([1, 2], "events")


@pytest.mark.parametrize("text", ["", "user_id,item_id\n"])
def test_an_empty_table_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"'events'.*events\.csv\) is empty"):
        read_table(write(tmp_path / "events.csv", text), "events")


def test_an_empty_frame_is_refused():
    with pytest.raises(ValueError, match="'events' is empty: it needs at least one row"):
        read_table(pd.DataFrame({"user_id": []}), "events")


@pytest.mark.parametrize("name", ["events.csv.gz", "events.parquet"])
def test_a_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"not what the name says")
    with pytest.raises(ValueError, match=rf"{name}\) cannot be read as .*Write it anew") as caught:
        read_table(tmp_path / name, "events")
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_file_is_refused(tmp_path):
    packed = gzip.compress(b"user_id,item_id\n" + b"a,b\n" * 1000)
    (tmp_path / "events.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match="cannot be read as UTF-8 CSV"):
        read_table(tmp_path / "events.csv.gz", "events")


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "items.csv").write_bytes("item_id,title\n1,Amélie\n".encode("latin-1"))
    with pytest.raises(ValueError, match="cannot be read as UTF-8 CSV"):
        read_table(tmp_path / "items.csv", "items")


def test_a_row_with_too_many_fields_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as UTF-8 CSV"):
        read_table(write(tmp_path / "items.csv", "item_id,title\n1,Toys, and more\n"), "items")


def test_a_missing_column_is_named_with_the_nearest_one():
    table = Table(pd.DataFrame({"user": [1], "item_id": [2]}), "The table 'events'")
    with pytest.raises(ValueError, match="no column 'user_id'. Did you mean 'user'?.*Its columns are: user, item_id"):
        table.require(["item_id", "user_id"])


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two columns named 'a'"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), "events")


def test_texts_of_a_csv_stay_as_written(tmp_path):
    path = write(tmp_path / "items.csv", "\ufeffitem_id,title\n007,NA\n7,None\n0x1,\n1e3,  🎁 \n")
    table = read_table(path, "items")
    assert list(table.ids("item_id")) == ["007", "7", "0x1", "1e3"]
    assert list(table.texts("title")) == ["NA", "None", "", "  🎁 "]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_table_reads_the_same_from_every_kind_of_file(tmp_path, suffix):
    frame = pd.DataFrame({"item_id": ["007", "鞋"], "title": ['a "b", c', "d\ne"]})
    path = tmp_path / f"items{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    table = read_table(path, "items")
    assert list(table.ids("item_id")) == ["007", "鞋"] and list(table.texts("title")) == ['a "b", c', "d\ne"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7, 70], ["7", "70"]),
        ([7.0, 70.0], ["7", "70"]),
        (["007", 7], ["007", "7"]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
        (pd.array([2**62 + 1, 5], dtype="Int64"), [str(2**62 + 1), "5"]),
        (np.array([2**64 - 1], dtype=np.uint64), [str(2**64 - 1)]),
    ],
)
def test_ids_become_texts(values, expected):
    assert ids(values) == expected


@pytest.mark.parametrize("values", [["a", None], [1.0, np.nan], ["a", ""], ["a", " "], ["a", "NaN"], ["a", "null"]])
def test_missing_ids_are_refused_with_their_row(values):
    with pytest.raises(
        ValueError, match=r"'events'.*column 'id': 1 of 2 ids are missing, first in row 2 .*Remove those"
    ):
        ids(values)


def test_the_id_na_is_an_id():
    assert ids(["NA", "N/A"]) == ["NA", "N/A"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.5, 2.0], "1 of 2 ids are numbers that are not whole, first in row 1 .*1.5"),
        ([True, False], "ids must be texts or whole numbers; the column holds boolean values"),
        (pd.to_datetime(["2020-01-01"]), "the column holds datetime64 values"),
        ([["a"], ["b"]], "the column holds mixed values"),
        (["a\nb", "c"], "1 of 2 ids contain a line break"),
    ],
)
def test_ids_of_the_wrong_type_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ids(values)


def test_numbers_say_which_value_is_none():
    table = Table(pd.DataFrame({"price": ["1.5", "", "nan", "cheap"]}), "The table 'items'")
    with pytest.raises(ValueError, match="'price': 1 of 4 values are not numbers, first in row 4 .*'cheap'"):
        table.numbers("price")
    table = Table(pd.DataFrame({"price": ["1.5", None, "nan", "-2"]}), "The table 'items'")
    np.testing.assert_array_equal(table.numbers("price"), [1.5, np.nan, np.nan, -2])


def test_infinite_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 2 values are infinite"):
        Table(pd.DataFrame({"price": [1.0, np.inf]}), "items").numbers("price")


def test_lists_and_bytes_are_no_texts():
    for value in (["Drama", "Comedy"], b"Drama"):
        with pytest.raises(ValueError, match="'genres': 1 of 2 values are no texts.*join them with a separator"):
            Table(pd.DataFrame({"genres": pd.Series([None, value], dtype=object)}), "items").texts("genres")


def test_spelling_keeps_what_is_missing_and_drops_needless_zeros():
    assert spelled(pd.Series([1.0, np.nan, 3.0])).fillna("-").tolist() == ["1", "-", "3"]
    assert spelled(pd.Series([1.5, 2.0])).tolist() == ["1.5", "2"]
    assert spelled(pd.Series([True, False])).tolist() == ["True", "False"]
