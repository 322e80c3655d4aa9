"""Events are read as mapped, ordered stably and filtered."""

import numpy as np
import pandas as pd
import pytest

from tfrec.data import EventColumns, Label, read_events
from tfrec.data.events import keep_frequent, read_log, user_offsets


def frame(rows, columns):
    return pd.DataFrame(rows, columns=columns.split())


def test_columns_are_mapped_to_their_names():
    source = frame([("a", 1, "x", 9, "view", "phone", 0)], "uid when sku rank action device more")
    columns = EventColumns("uid", "sku", "when", "rank", "action", ("device",))
    events = read_events(source, columns)
    assert events.to_dict("records") == [
        {"user_id": "a", "item_id": "x", "timestamp": 1, "event_type": "view", "device": "phone"}
    ]


def test_standard_names_need_no_mapping(log):
    assert list(read_events(log).columns) == ["user_id", "item_id", "timestamp", "event_type"]


@pytest.mark.parametrize("column", ["user_id", "item_id", "when", "action", "device"])
def test_a_missing_column_is_named(column):
    source = frame([("a", "x", 1, "view", "phone")], "user_id item_id when action device").drop(columns=column)
    with pytest.raises(ValueError, match=f"'events' has no column '{column}'"):
        read_events(source, EventColumns(timestamp="when", event_type="action", context=("device",)))


def test_events_without_an_order_are_refused():
    with pytest.raises(
        ValueError, match="'events' has neither a column 'timestamp' nor 'position'.*Its columns are: user_id, item_id"
    ):
        read_events(frame([("a", "x")], "user_id item_id"))


def test_position_goes_before_time_and_ties_keep_the_order_of_the_file():
    rows = [("b", "p", 5, 1), ("a", "q", 9, 0), ("b", "r", 1, 2), ("b", "s", 7, 1), ("a", "t", 2, 1)]
    source = frame(rows, "user_id item_id timestamp position")
    assert "".join(read_events(source).item_id) == "qtpsr"
    assert "".join(read_events(source, EventColumns(timestamp="timestamp")).item_id) == "tqrps"
    assert "".join(read_events(source, by_time=True).item_id) == "tqrps"


def test_ties_in_time_are_broken_by_position_where_time_leads():
    source = frame([("a", "q", 5, 2), ("a", "p", 5, 1)], "user_id item_id timestamp position")
    assert "".join(read_events(source, by_time=True).item_id) == "pq"


def test_positions_are_numbers_even_as_texts():
    source = frame([("a", "q", "10"), ("a", "p", "9")], "user_id item_id position")
    assert "".join(read_events(source).item_id) == "pq"


def test_milliseconds_order_although_seconds_are_kept():
    source = frame([("a", "q", 1_425_231_000_700), ("a", "p", 1_425_231_000_200)], "user_id item_id timestamp")
    events = read_events(source)
    assert "".join(events.item_id) == "pq" and events.timestamp.tolist() == [1_425_231_000] * 2


def test_only_rows_that_are_the_same_in_every_column_are_one_event():
    rows = [("a", "x", 1, 5), ("a", "x", 1, 5), ("a", "x", 1, 4), ("a", "x", 2, 5)]
    assert len(read_events(frame(rows, "user_id item_id timestamp rating"))) == 3


def test_ids_keep_their_zeros(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,position\n007,01,1\n7,1,1\n")
    events = read_events(tmp_path / "events.csv")
    assert events.user_id.tolist() == ["007", "7"] and events.item_id.tolist() == ["01", "1"]


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ("first", "values are not numbers.*'first'"),
        ("1.5", "positions are not whole numbers.*'1.5'"),
        ("", "positions are missing"),
    ],
)
def test_positions_of_the_wrong_type_are_refused(position, message):
    with pytest.raises(ValueError, match=rf"'events'.*column 'position': 1 of 2 {message}"):
        read_events(frame([("a", "x", "1"), ("a", "y", position)], "user_id item_id position"))


def test_missing_times_are_refused_where_they_order():
    source = frame([("a", "x", 1, 1), ("a", "y", None, 2)], "user_id item_id timestamp position")
    assert read_events(source).timestamp.tolist()[0] == 1
    for how in ({"columns": EventColumns(timestamp="timestamp")}, {"by_time": True}):
        with pytest.raises(ValueError, match="'timestamp': 1 of 2 rows have no time.*row 2"):
            read_events(source, **how)


def test_compound_values_are_refused():
    source = frame([("a", "x", 1, ["q"])], "user_id item_id position tags")
    with pytest.raises(ValueError, match="'events': a column holds lists or the like"):
        read_events(source)


def slow_filter(events, least_user, least_item):
    while True:
        users, items = events.user_id.value_counts(), events.item_id.value_counts()
        keep = events[events.user_id.map(users).ge(least_user) & events.item_id.map(items).ge(least_item)]
        if len(keep) == len(events):
            return events
        events = keep


def test_minimum_counts_hold_at_the_end(log):
    kept = keep_frequent(read_log(log), 9, 7)[0].astype({"user_id": "str", "item_id": "str", "event_type": "str"})
    assert 0 < len(kept) < len(log)
    assert kept.user_id.value_counts().min() >= 9 and kept.item_id.value_counts().min() >= 7
    pd.testing.assert_frame_equal(kept, slow_filter(read_events(log), 9, 7).reset_index(drop=True))


def test_minima_that_leave_nothing_are_refused(log):
    with pytest.raises(ValueError, match="No event is left of .* min_user_events=1000 and min_item_events=1: lower"):
        keep_frequent(read_log(log), 1000, 1)


def test_offsets_are_where_users_begin():
    np.testing.assert_array_equal(user_offsets(np.array(["a", "a", "b", "c", "c", "c"])), [0, 2, 3, 6])


def test_impressions_that_are_alike_are_dropped_with_a_warning(caplog):
    log = pd.DataFrame({"user_id": ["u"] * 4, "item_id": ["a"] * 4, "timestamp": [1] * 4, "clicked": [0, 0, 0, 1]})
    told = []
    for labels in ({}, {"click": Label("clicked")}):
        caplog.clear()
        with caplog.at_level("INFO"):
            found = read_events(log, EventColumns(timestamp="timestamp", labels=labels))
        told += [(len(found), record.levelname, record.message) for record in caplog.records]
    assert [each[:2] for each in told] == [(2, "INFO"), (2, "WARNING")]
    assert "2 rows repeat another one in every column and are dropped; if each is an event of its own" in told[1][2]
    apart = read_events(log.assign(shown=range(4)), EventColumns(timestamp="timestamp", labels=labels))
    assert len(apart) == 4
