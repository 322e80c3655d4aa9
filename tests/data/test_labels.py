"""Labels are read as they are written, and what cannot be one is refused by row."""

import numpy as np
import pandas as pd
import pytest

from tfrec.data import EventColumns, Folds, Label, PrepareOptions, prepare, read_events


def log(**columns):
    base = {"user_id": ["a", "a", "a", "b"], "item_id": ["x", "y", "z", "x"], "position": [1, 2, 3, 1]}
    return pd.DataFrame({**base, **columns})


def labels(label, **columns):
    read = read_events(log(**columns), EventColumns(position="position", labels={"liked": label}))
    return read["label_liked"].tolist()


def test_a_rating_is_its_number():
    assert labels(Label("stars", range=(1, 5)), stars=[1, 5, 3.5, 2]) == [1, 5, 3.5, 2]


def test_at_least_says_from_where_on_it_is_a_yes():
    assert labels(Label("stars", at_least=4), stars=["4", "3.9", "5", "-1"]) == [1, 0, 1, 0]


def test_a_label_of_yes_and_no_is_read_from_booleans_and_digits():
    assert labels(Label("bought"), bought=[True, False, True, True]) == [1, 0, 1, 1]
    assert labels(Label("bought"), bought=["1", "0", "0", "1"]) == [1, 0, 0, 1]


@pytest.mark.parametrize("label", [Label("v"), Label("v", range=(0, 1)), Label("v", at_least=1)])
def test_a_missing_value_is_unknown_and_no_no(label):
    found = labels(label, v=[1, None, 0, np.nan])
    assert np.isnan(found).tolist() == [False, True, False, True] and found[0] == 1 and found[2] == 0


@pytest.mark.parametrize(
    ("label", "values", "words"),
    [
        (Label("v", range=(1, 5)), [1, 6, 0, 2], "2 of 4 values lie outside the range 1 to 5 of the label 'liked'"),
        (Label("v"), [1, 0, 2, 0], "1 of 4 values are neither 0 nor 1.*first in row 3.*2"),
        (Label("v"), ["1", "0", "yes", "0"], "values are not numbers, first in row 3"),
        (Label("w"), [1, 0, 1, 0], "'w'"),
    ],
)
def test_what_is_no_label_is_refused_by_column_and_row(label, values, words):
    with pytest.raises(ValueError, match=words):
        labels(label, v=values)


@pytest.mark.parametrize("wrong", [{"range": (5, 1)}, {"range": (1, 5), "at_least": 4}, {"range": (1, 2, 3)}])
def test_a_label_is_of_one_kind(wrong):
    with pytest.raises(ValueError, match="range"):
        Label("v", **wrong)


def test_labels_are_kept_with_the_data_set_and_change_its_content():
    told = {"stars": Label("stars", range=(1, 5)), "liked": Label("stars", at_least=4)}
    table = log(stars=[1, 5, None, 4])
    options = PrepareOptions(events=EventColumns(position="position", labels=told), min_user_events=1)
    data, without = prepare(table, options=options), prepare(table)
    assert data.labels == told and without.labels == {}
    assert data.manifest["content_hash"] != without.manifest["content_hash"]
    np.testing.assert_array_equal(data.sequences.labels["stars"], np.float32([1, 5, np.nan, 4]))
    np.testing.assert_array_equal(data.sequences.labels["liked"], np.float32([0, 1, np.nan, 1]))
    assert data.event_columns == {} and without.sequences.labels == {}


def test_an_event_of_a_type_that_is_not_predicted_has_no_label():
    table = log(kind=["buy", "view", "buy", "buy"], stars=[1, 2, 3, 4])
    table = pd.concat([table, table.assign(user_id="c")], ignore_index=True)
    columns = EventColumns(position="position", event_type="kind", labels={"stars": Label("stars", range=(1, 5))})
    data = prepare(
        table,
        options=PrepareOptions(
            events=columns, target_events=("buy",), split="folds_events", folds=Folds(2, validation=0.3)
        ),
    )
    assert np.isnan(data.sequences.labels["stars"]).sum() == 2
    assert not np.isnan(data.sequences.labels["stars"][data.sequences.is_target]).any()
