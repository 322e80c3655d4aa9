"""From tables to a dataset: what `prepare` keeps, counts, codes and refuses."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from tfrec.data import Dataset, EventColumns, ItemColumns, PrepareOptions, UserColumns, prepare
from tfrec.features import BARRED, EVENTS_SCORED


def test_the_smallest_use_needs_no_options(tiny, titles):
    dataset = prepare(tiny, titles)
    assert dataset.items.item_id.tolist() == ["", *"vwxyz"]
    assert dataset.items.text.tolist() == ["", "Vase", "Wok", "跑步鞋", "🎁 box", ""]
    assert dataset.manifest["counts"] == {
        "users": 4, "items": 5, "candidates": 5, "trained_items": 3, "events": 11, "train_users": 2, "train_events": 4,
        "train_targets": 4, "validation_users": 3, "validation_targets": 3, "validation_targets_in_history": 0,
        "test_users": 4, "test_targets": 4, "test_targets_in_history": 0,
    }  # fmt: skip
    assert (dataset.seen, dataset.max_length, dataset.has_timestamps) == ("remove", 200, False)
    assert dataset.event_columns == {} == dataset.user_columns and dataset.item_numbers.shape == (6, 0)


def test_items_say_how_often_they_train(tiny):
    items = prepare(tiny).items.set_index("item_id")
    assert items["count"].to_dict() == {"": 0, "v": 1, "w": 2, "x": 1, "y": 0, "z": 0}
    assert items.index[items.trained].tolist() == ["v", "w", "x"]
    assert items.index[items.candidate].tolist() == list("vwxyz")


def test_trained_items_are_those_of_the_windows():
    events = pd.DataFrame({"user_id": "a", "item_id": list("vwxyz"), "position": range(5)})
    dataset = prepare(events, options=PrepareOptions(max_length=1, windows="newest"))
    assert dataset.items.item_id[dataset.items.trained].tolist() == ["v", "x"]  # The first one, and the newest.
    assert dataset.manifest["counts"]["train_targets"] == 2 and dataset.items["count"].sum() == 3


@pytest.mark.parametrize(("candidates", "expected"), [("events", ["u", *"vwxyz"]), ("items", [*"vwxyz", "never"])])
def test_candidates_are_the_items_of_events_or_of_the_table(tiny, titles, candidates, expected):
    titles = pd.concat([titles, pd.DataFrame({"item_id": ["never"], "title": ["Never bought"]})])
    tiny.loc[0, "item_id"] = "u"
    items = prepare(tiny, titles, options=PrepareOptions(candidates=candidates)).items
    assert sorted(items.item_id[items.candidate]) == sorted(expected)
    assert "never" in items.item_id.tolist() and "u" in items.item_id.tolist()


def test_candidates_of_the_item_table_need_one(tiny):
    with pytest.raises(ValueError, match="candidates='items' recommends from the table of items, and none was given"):
        prepare(tiny, options=PrepareOptions(candidates="items"))


def test_items_the_table_lacks_are_kept_and_said(tiny, titles, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = prepare(tiny, titles.iloc[1:])
    assert dataset.items.title.tolist() == ["", "", "Wok", "跑步鞋", "🎁 box", ""]
    assert "1 of 5 items of the events, such as 'v'" in caplog.text


@pytest.fixture
def rich(log):
    """A dataset with every kind of column."""
    names = sorted(log.item_id.unique())
    items = pd.DataFrame({"item_id": names, "title": [f"Item {name}" for name in names]})
    items["tags"] = ["|".join(sorted(set(name))) for name in names]
    items["brand"] = ["", *["Ace", "Bee"] * 20][: len(names)]
    items["price"] = np.arange(len(names), dtype=float)
    users = pd.DataFrame({"uid": sorted(log.user_id.unique())[:-3]})
    users["age"] = [18, 25, 35] * (len(users) // 3) + [18] * (len(users) % 3)
    options = PrepareOptions(
        events=EventColumns(timestamp="timestamp", event_type="event_type", context=("device",)),
        items=ItemColumns(categorical={"tags": "|", "brand": None}, numeric=("price",)),
        users=UserColumns("uid", ("age",)),
        target_events=("purchase",),
        max_length=20,
    )
    return prepare(log, items, users, options=options), log


def test_every_kind_of_column_arrives(rich):
    dataset, _ = rich
    assert dataset.event_columns == {"event_type": 4, "device": 3} and dataset.user_columns == {"age": 4}
    assert dataset.vocabularies["user_age"].values == ("18", "25", "35")
    assert dataset.category_sizes["brand"] == 3 and dataset.item_categories["tags"].shape[1] > 1
    row = int(dataset.items.index[dataset.items.item_id == "012"][0])
    tags = [dataset.vocabularies["item_tags"].values[code - 1] for code in dataset.item_categories["tags"][row] if code]
    assert tags == ["0", "1", "2"] and dataset.items.tags[row] == "0|1|2"
    assert dataset.item_numbers.shape == (len(dataset.items), 1) and np.isnan(dataset.item_numbers[0]).all()
    assert set(dataset.train().element_spec) == {
        "history", "target", "timestamp", "event_type", "event_device", "user_age",
    }  # fmt: skip


def test_features_lie_beside_their_events(rich):
    dataset, log = rich
    rows = {
        (event.user_id, event.item_id, event.timestamp): (event.event_type, event.device) for event in log.itertuples()
    }
    types, devices = (
        {0: "", **dict(enumerate(dataset.vocabularies[name].values, 1))} for name in ("event_type", "event_device")
    )
    ages = {0: None, **dict(enumerate(dataset.vocabularies["user_age"].values, 1))}
    ids = dataset.items.item_id
    seen = 0
    for batch in dataset.test().as_numpy_iterator():
        for place, user in enumerate(batch["user_id"]):
            assert (ages[batch["user_age"][place]] is None) == (user.decode() in sorted(log.user_id.unique())[-3:])
            for step in np.flatnonzero(batch["history"][place]):
                key = user.decode(), ids[batch["history"][place, step]], batch["timestamp"][place, step]
                seen += 1
                expected = rows.get(key)
                found = types[batch["event_type"][place, step]], devices[batch["event_device"][place, step]]
                assert expected == found or (log[["user_id", "item_id", "timestamp"]] == key).all(axis=1).sum() > 1
    assert seen > 300


def test_targets_are_of_the_predicted_type_alone(rich):
    dataset, log = rich
    bought = set(zip(log.user_id[log.event_type == "purchase"], log.item_id[log.event_type == "purchase"], strict=True))
    for split in ("validation", "test"):
        truth = dataset.truth(split)
        assert len(truth) and set(zip(truth.user_id, truth.item_id, strict=True)) <= bought
    targets = sum(int((batch["target"] > 0).sum()) for batch in dataset.train().as_numpy_iterator())
    assert targets == dataset.manifest["counts"]["train_targets"] < dataset.manifest["counts"]["train_events"]


def test_vocabularies_and_statistics_see_training_alone():
    rows = [("a", "p", 1, "old"), ("a", "q", 2, "old"), ("a", "r", 3, "late"), ("a", "s", 4, "new")]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "channel"])
    items = pd.DataFrame({"item_id": list("pqrs"), "price": [1.0, 3.0, 50.0, 90.0], "kind": list("aabc")})
    users = pd.DataFrame({"user_id": ["a"], "sex": ["F"]})
    options = PrepareOptions(
        events=EventColumns(timestamp="timestamp", context=("channel",)),
        items=ItemColumns(numeric=("price",), categorical={"kind": None}),
        users=UserColumns(categorical=("sex",)),
    )
    dataset = prepare(events, items, users, options=options)
    assert dataset.vocabularies["event_channel"].values == ("old",) and dataset.vocabularies["item_kind"].values == (
        "a",
    )
    np.testing.assert_array_equal(dataset.item_numbers[1:, 0], np.array([-1, 1, 48, 88], np.float32))


def test_held_out_items_train_nothing_validate_nothing_and_are_tested(log):
    dataset = prepare(log, options=PrepareOptions(hold_out_items=("001",), hold_out_validation_items=("002",)))
    ids = dataset.items.item_id
    trained = {
        item
        for batch in dataset.train().as_numpy_iterator()
        for name in ("history", "target")
        for item in ids[np.unique(batch[name])]
    }
    assert not {"001", "002"} & trained and "003" in trained
    assert dataset.items.set_index("item_id").loc[["001", "002"], ["count", "trained"]].eq(0).all(axis=None)
    assert "001" not in set(dataset.truth("validation").item_id) and "002" in set(dataset.truth("validation").item_id)
    assert {"001", "002"} <= set(dataset.truth("test").item_id) and {"001", "002"} <= set(
        dataset.history("test").item_id
    )
    assert dataset.items.set_index("item_id").candidate[["001", "002"]].all()
    assert set(ids[dataset.items.candidate & ~dataset.candidates("validation")]) == {"001"}
    assert dataset.candidates("test").tolist() == dataset.items.candidate.tolist()
    assert all(ids[batch[BARRED]].tolist() == ["001"] for batch in dataset.validation(2).as_numpy_iterator())
    assert BARRED not in dataset.test().element_spec


def test_held_out_items_must_be_items(tiny, caplog):
    with pytest.raises(ValueError, match="hold_out_items: none of its 2 ids, such as 'q', is an item here"):
        prepare(tiny, options=PrepareOptions(hold_out_items=("r", "q")))
    with caplog.at_level(logging.WARNING):
        prepare(tiny, options=PrepareOptions(hold_out_items=("z", "q")))
    assert "hold_out_items: 1 of 2 ids are no items here" in caplog.text


def test_users_whose_ids_never_meet_are_refused(tiny):
    users = pd.DataFrame({"user_id": ["1"], "sex": ["F"]})
    with pytest.raises(ValueError, match="No user of the events, such as 'a', is in the table 'users', which has '1'"):
        prepare(tiny, users=users, options=PrepareOptions(users=UserColumns(categorical=("sex",))))


def test_a_split_without_training_is_refused(tmp_path):
    events = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["p", "q"], "position": [0, 0]})
    with pytest.raises(ValueError, match="'leave_last' leaves no user for train of 2 users and 2 events: .*lower"):
        prepare(events, folder=tmp_path / "dataset")
    assert not list(tmp_path.iterdir())


def test_the_same_tables_give_the_same_bytes_and_a_wall_clock_does_not_matter(tmp_path, log, monkeypatch):
    options = PrepareOptions(shards=3)
    first = prepare(log, options=options, folder=tmp_path / "one").folder
    monkeypatch.setattr("time.time", lambda: 2e9)
    second = prepare(log, options=options, folder=tmp_path / "two").folder
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*"))
    assert names == sorted(str(path.relative_to(second)) for path in second.rglob("*"))
    assert all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names if (first / name).is_file()
    )


def test_the_manifest_tells_the_split_and_the_options(tmp_path, log):
    options = PrepareOptions(split="time", validation_from=1_000_200, test_from="90%")
    folder = prepare(log, options=options, folder=tmp_path / "dataset").folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["split"]["kind"] == "time" and manifest["split"]["validation_from"] == 1_000_200
    assert 1_000_200 < manifest["split"]["test_from"] < 1_000_400 and manifest["options"]["test_from"] == "90%"
    assert manifest["options"] == options.as_json()


def test_paths_and_frames_give_the_same_dataset(tmp_path, log):
    log.to_parquet(tmp_path / "log.parquet")
    log.to_csv(tmp_path / "log.csv.gz", index=False)
    opened = [
        Dataset.open(prepare(source, folder=tmp_path / f"d{place}").folder)
        for place, source in enumerate((log, tmp_path / "log.parquet", tmp_path / "log.csv.gz"))
    ]
    for other in opened[1:]:
        pd.testing.assert_frame_equal(other.items, opened[0].items)
        pd.testing.assert_frame_equal(other.truth("test"), opened[0].truth("test"))
        assert len({(one.folder / EVENTS_SCORED).read_bytes() for one in (other, opened[0])}) == 1


def test_a_history_longer_than_the_limit_is_cut_for_the_model_and_whole_for_what_was_seen():
    events = pd.DataFrame({"user_id": "a", "item_id": [f"{item:03d}" for item in range(60)], "position": range(60)})
    dataset = prepare(events, options=PrepareOptions(max_length=10, windows="newest"))
    (batch,) = dataset.test().as_numpy_iterator()
    assert batch["history"].tolist() == [list(range(50, 60))] and batch["seen"].tolist() == [list(range(1, 60))]
    (batch,) = dataset.train().as_numpy_iterator()
    assert sorted(batch["history"].tolist()) == [[0] * 10, list(range(48, 58))]
    assert sorted(batch["target"].tolist()) == [[0, *range(49, 59)], [1] + [0] * 10]


def test_what_was_seen_may_come_back_where_it_is_kept(tiny):
    dataset = prepare(tiny, options=PrepareOptions(seen="keep"))
    assert all(
        (batch["seen"] == 0).all() and batch["seen"].shape[1] == 1 for batch in dataset.test().as_numpy_iterator()
    )
