"""What a draft leaves out and counts: columns without values, targets that the history holds already."""

import logging

import numpy as np
import pandas as pd
import pytest

from tfrec.data import Dataset, EventColumns, ItemColumns, Label, PrepareOptions, RankingData, UserColumns, prepare


def test_columns_without_a_value_in_training_are_left_out_and_said(tmp_path, tiny, titles, caplog):
    tiny = tiny.assign(kind="", shelf=[None, ""] * 5 + [""], device="phone")
    late = tiny.item_id.isin(["y", "z"]) & (tiny.user_id == "a")
    tiny.loc[late, ["kind", "shelf"]] = "late"  # Validation and test alone.
    items = titles.assign(brand="", tags="|", colour="red")
    users = pd.DataFrame({"user_id": list("abcd"), "sex": "", "age": ["1", "2", "3", "4"]})
    options = PrepareOptions(
        events=EventColumns(position="position", event_type="kind", context=("shelf", "device")),
        items=ItemColumns(categorical={"brand": None, "tags": "|", "colour": None}),
        users=UserColumns(categorical=("sex", "age")),
    )
    with caplog.at_level(logging.WARNING):
        dataset = Dataset.open(prepare(tiny, items, users, options=options, folder=tmp_path / "dataset").folder)
    assert list(dataset.event_columns) == ["device"] and list(dataset.user_columns) == ["age"]
    assert list(dataset.category_sizes) == ["colour"]
    assert all(len(vocabulary) for vocabulary in dataset.vocabularies.values())
    assert set(dataset.train().element_spec) == {"history", "target", "event_device", "user_age"}
    said = [("events", "kind"), ("events", "shelf"), ("users", "sex"), ("items", "brand"), ("items", "tags")]
    assert caplog.messages == [
        f"The table {table!r}, column {column!r}: it holds no value in training and is left out"
        for table, column in said
    ]


def bought_after_a_look():
    """Five users who look at three items and buy them; a sixth buys without a look."""
    rows = [(f"u{user}", item, kind) for item in "pqr" for user in range(5) for kind in ("view", "purchase")]
    rows += [("u5", item, "purchase") for item in "pqr"]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "event_type"])
    return events.assign(timestamp=range(len(events)))


def test_targets_that_cannot_be_recommended_are_counted_and_said(caplog):
    options = PrepareOptions(target_events=("purchase",))
    with caplog.at_level(logging.INFO):
        counts = prepare(bought_after_a_look(), options=options).manifest["counts"]
    told = (
        "5 of 6 {} targets are in the user's history and cannot be recommended under seen: remove; set data.seen: keep"
    )
    for part in ("validation", "test"):
        assert (counts[f"{part}_targets"], counts[f"{part}_targets_in_history"]) == (6, 5)
        assert [record.levelname for record in caplog.records if told.format(part) in record.message] == ["WARNING"]


def test_targets_in_the_history_are_counted_alone_where_they_may_be_recommended(caplog):
    options = PrepareOptions(target_events=("purchase",), seen="keep")
    with caplog.at_level(logging.INFO):
        counts = prepare(bought_after_a_look(), options=options).manifest["counts"]
    assert counts["test_targets_in_history"] == 5 and "in the user's history" not in caplog.text


def test_no_warning_where_every_target_is_new(tiny, caplog):
    with caplog.at_level(logging.INFO):
        prepare(tiny)
    assert "in the user's history" not in caplog.text


@pytest.mark.parametrize("seen", ["remove", "keep"])
def test_a_split_by_time_drops_targets_in_the_history_and_says_it(caplog, seen):
    rows = [("a", "p", 1), ("b", "q", 2), ("a", "q", 3), ("b", "p", 3), ("a", "p", 4), ("b", "r", 4), ("b", "p", 5)]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    options = PrepareOptions(split="time", validation_from=3, test_from=4, seen=seen)
    with caplog.at_level(logging.INFO):
        dataset = prepare(events, options=options)
    assert dataset.truth("test").to_numpy().tolist() == [["b", "r"]]
    counts = dataset.manifest["counts"]
    assert (counts["test_users"], counts["test_targets"], counts["test_targets_in_history"]) == (1, 3, 2)
    lines = [record for record in caplog.records if "in the user's history" in record.message]
    assert [line.levelname for line in lines] == ["INFO"]
    assert lines[0].message.startswith("2 of 3 test targets are in the user's history and are dropped")


def shown_again_and_again():
    """Thirty users, each shown five advertisements forty times; every third impression is not known to be clicked."""
    rng = np.random.default_rng(0)
    clicked = np.where(np.arange(1200) % 3 == 0, np.nan, rng.integers(0, 2, 1200))
    log = {
        "user_id": [f"u{n % 30:02d}" for n in range(1200)],
        "item_id": [f"ad{ad}" for ad in rng.integers(0, 5, 1200)],
    }
    return pd.DataFrame({**log, "timestamp": range(1, 1201), "clicked": clicked})


LABELLED = EventColumns(timestamp="timestamp", labels={"click": Label("clicked")})


@pytest.mark.parametrize("split", ["time", "leave_last", "folds_events", "folds_users"])
def test_of_labels_the_labelled_events_count_and_no_target_is_dropped(split, caplog):
    log = shown_again_and_again()
    with caplog.at_level(logging.INFO):
        data = prepare(log, options=PrepareOptions(events=LABELLED, split=split))
    assert "targets" not in caplog.text.replace("train targets", "")
    counts, labelled = data.manifest["counts"], RankingData(data)
    for part in ("validation", "test"):
        events = labelled.judged(part)[1]
        assert counts[f"{part}_targets"] == len(events) == len(set(events.tolist())) > 0
        assert counts[f"{part}_users"] == labelled.truth(events).user_id.nunique()
        assert f"{part}_targets_in_history" not in counts
    if split == "time":
        assert (counts["test_targets"], counts["test_users"]) == (log.clicked[log.timestamp >= 1081].notna().sum(), 20)


def test_a_part_without_a_labelled_event_is_refused():
    log = shown_again_and_again()
    log.loc[log.timestamp > 1080, "clicked"] = np.nan
    told = "The split 'time' leaves no event with a label for test of 30 users and 1200 events, 720 of them"
    with pytest.raises(ValueError, match=told):
        prepare(log, options=PrepareOptions(events=LABELLED, split="time"))
