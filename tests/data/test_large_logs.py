"""A log that memory does not hold gives the same bytes, and the same words, as one that it holds."""

import errno
import logging

import pandas as pd
import pyarrow.parquet
import pytest

from tests.awkward_log import (
    BAD,
    CASES,
    FULL,
    ITEM_TABLE,
    LITTLE,
    TIMES,
    USER_TABLE,
    files,
    spoiled,
    table,
    with_tables,
    write,
)
from tfrec.data import EventColumns, PrepareOptions, events, prepare, read_events, shelf


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
    whole, parts = in_both_ways(log, tmp_path, with_tables(CASES[name]), items=ITEM_TABLE, users=USER_TABLE)
    assert whole == parts and len(whole) > 6


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


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_in_the_same_words(tmp_path, name):
    column, row, _ = BAD[name]
    log = write(spoiled(name), tmp_path / "log.csv")
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
