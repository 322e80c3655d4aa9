"""A log that memory does not hold gives the same bytes, and the same words, as one that it holds."""

import dataclasses
import errno
import logging

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from tfrec.data import (
    EventColumns,
    Folds,
    ItemColumns,
    Label,
    PrepareOptions,
    UserColumns,
    events,
    prepare,
    read_events,
    shelf,
)

LITTLE = 5e-5  # GB: some dozens of rows.
USERS = ["007", "7", "u😀", "é", "a b", "A", "a", 'z"q', "x,y", *(f"u{number}" for number in range(30))]
ITEMS = ["01", "1", "🎁", "ü", "I;", *(f"i{number:03d}" for number in range(40))]
LABELS = {"stars": Label("stars", range=(1, 5)), "click": Label("clicked")}
FULL = EventColumns("user_id", "item_id", "timestamp", "position", "event_type", ("device", "extra"), LABELS)


def table(seed, rows=360):
    """Events with ties, repeated rows, missing values, texts of every kind, in no order."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": rng.choice(USERS, rows),
            "item_id": np.array(ITEMS)[rng.zipf(1.4, rows) % len(ITEMS)],
            "timestamp": rng.integers(1_500_000_000, 1_500_000_300, rows),
            "position": rng.integers(0, 50, rows),
            "event_type": rng.choice(["view", "cart", "purchase", ""], rows, p=[0.5, 0.1, 0.35, 0.05]),
            "device": rng.choice(["phone", "desk", "", "NA", "跑"], rows),
            "extra": rng.choice([1, 2, 3, np.nan], rows),
            "stars": rng.choice(["1", "2.5", "5", ""], rows),
            "clicked": rng.choice([0, 1], rows),
            "unmapped": rng.choice([True, False], rows),
        }
    )
    again = frame.iloc[rng.integers(0, rows, rows // 8)]
    return pd.concat([frame, again]).sample(frac=1, random_state=seed, ignore_index=True)


CASES = {
    "last": PrepareOptions(events=EventColumns(timestamp="timestamp")),
    "standard names": PrepareOptions(),
    "everything": PrepareOptions(
        events=FULL, target_events=("purchase",), min_user_events=4, min_item_events=3, max_length=5, seen="keep",
    ),
    "newest": PrepareOptions(
        events=EventColumns(position="position", context=("device",)), windows="newest", candidates="items",
        hold_out_items=("i001", "🎁"), hold_out_validation_items=("i002",), shards=3,
    ),
    "shares": PrepareOptions(
        events=EventColumns("user_id", "item_id", "timestamp", "position", "event_type"), split="time",
        target_events=("purchase", "view"), validation_from="60%", test_from="80%", min_item_events=2,
    ),
    "moments": PrepareOptions(events=FULL, split="time", validation_from=1_500_000_150, test_from=1_500_000_220),
    "folds of events": PrepareOptions(
        events=FULL, target_events=("purchase",), split="folds_events", folds=Folds(4, 1, seed=3)
    ),
    "folds of users": PrepareOptions(events=FULL, target_events=("cart",), split="folds_users", folds=Folds(3, 2)),
}  # fmt: skip
ITEM_TABLE = pd.DataFrame({"item_id": [*ITEMS[:-6], "new"], "title": "T", "price": np.arange(40.0)}).assign(
    tags=["a|b", "b", "c|d", ""] * 10
)
USER_TABLE = pd.DataFrame(
    {"user_id": USERS[:24], "age": ["1", "2", "3"] * 8, "bio": ["Likes it.", "", "Wants it."] * 8}
)


def write(frame, path):
    frame.to_parquet(path, row_group_size=70) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_both_ways(source, folder, options=None, **tables):
    """The files of a dataset that is prepared at once, and in parts."""
    made = {}
    for name, memory in (("whole", 2.0), ("parts", LITTLE)):
        prepare(source, **tables, options=options, folder=folder / name, memory=memory)
        made[name] = files(folder / name)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["parts", "whole"]
    columns = options.events if options else None
    assert len(events.read_log(source, columns, memory=LITTLE, folder=folder / "work")) > 2
    return made["whole"], made["parts"]


@pytest.mark.parametrize(("seed", "name"), list(enumerate(CASES)))
def test_a_log_in_parts_gives_the_same_bytes(tmp_path, seed, name):
    log = write(table(seed), tmp_path / ("log.csv", "log.parquet", "log.csv.gz")[seed % 3])
    options = dataclasses.replace(
        CASES[name],
        items=ItemColumns(categorical={"tags": "|"}, numeric=("price",)),
        users=UserColumns(categorical=("age",), text=("bio",)),
    )
    whole, parts = in_both_ways(log, tmp_path, options, items=ITEM_TABLE, users=USER_TABLE)
    assert whole == parts and len(whole) > 6


TIMES = {
    "the day first, told by one row": lambda seconds: [
        "13.07.2017",
        *(f"{1 + second % 9:02}.{1 + second % 11:02}.2017" for second in seconds[1:]),
    ],
    "ISO": lambda seconds: pd.to_datetime(seconds, unit="s").astype(str),
    "milliseconds, half of which could be seconds": lambda seconds: np.where(
        np.arange(len(seconds)) % 2, seconds + 110 * 10**9, seconds % 300 + 98 * 10**9
    ),
    "some with a fraction": lambda seconds: np.where(seconds % 7, seconds.astype(str), (seconds + 0.25).astype(str)),
    "dates": lambda seconds: pd.to_datetime(seconds, unit="s").dt.tz_localize("Asia/Shanghai"),
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("spelling", TIMES)
def test_times_are_read_as_all_of_them_tell(tmp_path, spelling, kind):
    frame = table(11).iloc[:-1].copy()
    frame["timestamp"] = TIMES[spelling](frame.timestamp)
    log = write(frame, tmp_path / f"log.{kind}")
    columns = EventColumns(timestamp="timestamp")
    parts = events.read_log(log, columns, memory=LITTLE, folder=tmp_path / "work")
    found = pd.concat([parts[part].astype({"user_id": "str", "item_id": "str"}) for part in range(len(parts))])
    pd.testing.assert_frame_equal(found.reset_index(drop=True), read_events(log, columns))
    assert len(parts) > 2


BAD = {
    "an id is missing": ("user_id", 200, " "),
    "an item is missing": ("item_id", 300, None),
    "a line break": ("item_id", 250, "a\nb"),
    "no time": ("timestamp", 333, "soon"),
    "a time is missing": ("timestamp", 333, None),
    "no number": ("position", 150, "first"),
    "no whole number": ("position", 399, "1.5"),
    "outside the range": ("stars", 222, "7"),
    "neither yes nor no": ("clicked", 350, "2"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_in_the_same_words(tmp_path, name):
    column, row, value = BAD[name]
    frame = table(5).astype(object)
    frame["timestamp"] = pd.to_datetime(frame.timestamp, unit="s").astype(str)
    frame.loc[[row, row + 3], column] = value
    log = write(frame, tmp_path / "log.csv")
    told = []
    for memory in (2.0, LITTLE):
        with pytest.raises(ValueError) as caught:
            prepare(log, options=PrepareOptions(events=FULL, split="time"), folder=tmp_path / "made", memory=memory)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert f"column {column!r}: 2 of 405 " in told[0] and f"first in row {row + 1} (the header not counted)" in told[0]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_row_of_too_many_fields_is_refused_in_whichever_piece_it_is(tmp_path):
    log = write(table(5), tmp_path / "log.csv")
    with open(log, "a") as file:
        file.write("a,b" * 20 + "\n")
    for memory in (2.0, LITTLE):
        with pytest.raises(ValueError, match="cannot be read as UTF-8 CSV"):
            prepare(log, folder=tmp_path / "made", memory=memory)


def test_numbers_that_lack_in_another_piece_are_spelled_alike(tmp_path):
    frame = table(5)
    frame["extra"] = pd.array([*[2**53 + 1] * 30, *range(len(frame) - 35), *[None] * 5], dtype="Int64").astype(object)
    path = tmp_path / "log.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(frame).replace_schema_metadata(), path)
    whole, parts = in_both_ways(path, tmp_path, PrepareOptions(events=FULL))
    assert whole == parts and str(2**53).encode() in whole["vocabularies/event_extra.txt"]


def test_a_user_of_most_events_is_not_parted(tmp_path):
    frame = table(5)
    frame.loc[frame.index % 10 > 0, "user_id"] = "0"
    log = write(frame, tmp_path / "log.csv")
    alone = write(frame.assign(user_id="0"), tmp_path / "alone.csv")
    for source, memory in ((log, 2.0), (log, LITTLE)):
        prepare(source, folder=tmp_path / str(memory), memory=memory)
    assert files(tmp_path / "2.0") == files(tmp_path / str(LITTLE))
    assert len(events.read_log(alone, memory=LITTLE, folder=tmp_path / "work")) == 1
    parts = events.read_log(log, memory=LITTLE, folder=tmp_path / "work")
    assert [part for part in range(len(parts)) if "0" in parts[part].user_id.tolist()] == [0] and len(parts) > 1


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    log = write(table(5), tmp_path / "log.csv")

    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf, "_written", full)
    with pytest.raises(ValueError, match="made cannot be written: the disk is full. Make room"):
        prepare(log, folder=tmp_path / "made", memory=LITTLE)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_repeated_rows_are_counted_over_all_parts(tmp_path, caplog):
    log = write(table(5), tmp_path / "log.csv")
    repeated = int(table(5).duplicated().sum())
    with caplog.at_level(logging.INFO):
        prepare(log, folder=tmp_path / "made", memory=LITTLE)
    assert f"{repeated} rows repeat another one in every column and are dropped" in caplog.text


@pytest.mark.parametrize("memory", [0, -1.0, float("nan")])
def test_memory_is_a_number_above_0(tmp_path, memory):
    with pytest.raises(ValueError, match="memory must be a number of GB above 0"):
        prepare(table(5), folder=tmp_path / "made", memory=memory)
