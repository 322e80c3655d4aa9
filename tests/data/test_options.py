"""Options outside their rules are refused, each with its name, its value and what is right."""

import pytest

from tfrec.data import EventColumns, ItemColumns, PrepareOptions, UserColumns


@pytest.mark.parametrize("name", ["min_user_events", "min_item_events", "max_length", "shards"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True, None])
def test_counts_are_whole_numbers_from_one(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got {value!r}"):
        PrepareOptions(**{name: value})


@pytest.mark.parametrize("name", ["seen", "candidates", "split"])
def test_choices_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*; got 'other'"):
        PrepareOptions(**{name: "other"})


def test_a_bare_text_is_no_list_of_names():
    with pytest.raises(ValueError, match="target_events must be a list of names, .*; got 'purchase'"):
        PrepareOptions(target_events="purchase")
    with pytest.raises(ValueError, match="text must be a list of names"):
        ItemColumns(text="title")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EventColumns(), "need an order"),
        (lambda: EventColumns("id", "id", "time"), "column 'id' of the events is used twice"),
        (lambda: EventColumns(timestamp="t", event_type="a", context=("type",)), "feature name 'event_type'"),
        (
            lambda: ItemColumns(categorical={"genre": None}, numeric=("genre",)),
            "column 'genre' of the items is used twice",
        ),
        (lambda: ItemColumns(numeric=("count",)), "item column 'count' cannot be .* Give the column another name"),
        (
            lambda: ItemColumns(categorical={"genre": ""}),
            "separator of the item column 'genre' must be a text .*; got ''",
        ),
        (lambda: ItemColumns(categorical=["genre"]), "categorical must map each column to its separator"),
        (lambda: UserColumns(categorical=("user_id",)), "column 'user_id' of the users is used twice"),
        (lambda: UserColumns("uid", ("id",)), "feature name 'user_id'"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_are_written_as_json():
    options = PrepareOptions(EventColumns(timestamp="t"), hold_out_items={"b", "a"})
    written = options.as_json()
    assert written["hold_out_items"] == ["a", "b"] and written["events"]["timestamp"] == "t"
    assert PrepareOptions(hold_out_items="/here/cold.csv").as_json()["hold_out_items"] == "cold.csv"
    assert written["validation_from"] == "80%" and written["items"] is None
