"""A log that the workers of a cluster prepare gives the same bytes, and the same words, as one on one machine."""

import errno
import importlib.util
import logging

import pandas as pd
import pytest

from tests.awkward_log import (
    BAD,
    CASES,
    FULL,
    ITEM_TABLE,
    LITTLE,
    PIPELINE,
    TIMES,
    USER_TABLE,
    files,
    spoiled,
    told_apart,
    with_tables,
    write,
)
from tests.cluster_stand_in import Workers
from tfrec import stages
from tfrec.config import load
from tfrec.data import BeamRunner, EventColumns, PrepareOptions, UserColumns, events, prepare, shelf
from tfrec.data.cluster.work import Said, merged


def prepared(source, folder, options=None, runner=None, **tables):
    prepare(source, **tables, options=options, folder=folder, memory=LITTLE if runner else 2.0, runner=runner)
    return files(folder)


@pytest.mark.parametrize(("seed", "name"), list(enumerate(CASES)))
def test_a_cluster_writes_the_same_bytes(tmp_path, seed, name):
    options, runner = with_tables(CASES[name]), Workers(seed)
    log = write(told_apart(seed, options), tmp_path / ("log.csv", "log.parquet", "log.csv.gz")[seed % 3])
    tables = {"items": ITEM_TABLE, "users": USER_TABLE}
    whole = prepared(log, tmp_path / "whole", options, **tables)
    assert prepared(log, tmp_path / "cluster", options, runner, **tables) == whole and len(whole) > 6
    assert runner.parts > 2 and runner.pieces > 4
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["cluster", "whole"]


def test_a_log_of_one_part_and_a_part_without_targets(tmp_path):
    options = PrepareOptions(events=FULL, target_events=("purchase",))
    frame = told_apart(3, options)
    one = write(frame[frame.user_id == "u7"], tmp_path / "one.csv")
    frame.loc[frame.user_id < "m", "event_type"] = "view"
    some = write(frame, tmp_path / "some.parquet")
    for source in (one, some):
        whole = prepared(source, tmp_path / f"{source.stem} whole", options)
        assert prepared(source, tmp_path / f"{source.stem} cluster", options, Workers()) == whole


@pytest.mark.parametrize("spelling", TIMES)
def test_times_are_read_as_all_of_them_tell(tmp_path, spelling):
    columns = EventColumns(timestamp="timestamp", position="position")
    frame = told_apart(11, PrepareOptions(events=columns)).drop_duplicates(ignore_index=True)
    frame = frame.iloc[: len(frame) // 2 * 2].copy()
    frame["timestamp"] = TIMES[spelling](frame.timestamp)
    log = write(frame, tmp_path / "log.parquet")
    read = Workers().read_log(log, columns, by_time=False, memory=LITTLE, folder=tmp_path / "work")
    found = pd.concat([read[part].astype({"user_id": "str", "item_id": "str"}) for part in range(len(read))])
    pd.testing.assert_frame_equal(found.reset_index(drop=True), events.read_events(log, columns))
    assert len(read) > 2


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_in_the_same_words(tmp_path, name):
    log = write(spoiled(name), tmp_path / "log.csv")
    told = []
    for runner in (None, Workers()):
        with pytest.raises(ValueError) as caught:
            prepared(log, tmp_path / "made", PrepareOptions(events=FULL, split="time"), runner)
        told.append(str(caught.value))
    assert told[0] == told[1] and "2 of 405" in told[0]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_file_that_cannot_be_read_to_its_end_is_told_in_the_same_words(tmp_path):
    log = write(told_apart(5, PrepareOptions()), tmp_path / "log.csv")
    with open(log, "a") as file:
        file.write("a,b" * 20 + "\n")
    with pytest.raises(ValueError, match=r"The table 'events' \(.*log.csv\) cannot be read as UTF-8 CSV"):
        prepared(log, tmp_path / "made", runner=Workers())
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("columns", "by_time", "alike"),
    [
        (EventColumns(position="position"), False, "position 12"),
        (EventColumns(timestamp="timestamp"), False, r"timestamp 1500000000 \(2017-07-14 02:40:00 UTC\)"),
        (EventColumns(timestamp="timestamp", position="position"), True, r"timestamp 150.*UTC\) and position 12"),
    ],
)
def test_events_that_the_order_does_not_tell_apart_are_refused(tmp_path, columns, by_time, alike):
    frame = told_apart(5, PrepareOptions(events=columns)).drop_duplicates(ignore_index=True)
    twins = frame.user_id[frame.user_id == "u3"].index[:2]
    frame.loc[twins, ["position", "timestamp"]] = 12, 1_500_000_000
    log = write(frame, tmp_path / "log.csv")
    options = PrepareOptions(events=columns, split="time" if by_time else "leave_last")
    told = rf"events' \(.*log.csv\): the user 'u3' has different events with the same {alike}, and on a cluster"
    with pytest.raises(ValueError, match=told + ".* Map a position column that tells the events of a user apart"):
        prepared(log, tmp_path / "made", options, Workers())
    prepared(log, tmp_path / "made", options)


def test_repeated_rows_are_counted_over_all_parts(tmp_path, caplog):
    frame = told_apart(5, PrepareOptions())
    with caplog.at_level(logging.INFO):
        prepared(write(frame, tmp_path / "log.csv"), tmp_path / "made", runner=Workers())
    assert f"log.csv): {frame.duplicated().sum()} rows repeat another one" in caplog.text


def test_of_several_errors_the_first_of_the_table_is_told():
    errors = [ValueError(str(place)) for place in range(3)]
    said = [Said(place, error=errors[place]) for place in (2, 1)] + [Said(0, 5)]
    assert merged(sum, said).error is errors[1]
    assert merged(sum, [merged(sum, said[2:]), merged(sum, said[:2])]).error is errors[1]
    assert merged(sum, [Said(4, 5), Said(3, 6)]) == Said(3, 11)


def test_users_who_are_in_no_table_are_told_in_the_same_words(tmp_path):
    log = write(told_apart(5, PrepareOptions()), tmp_path / "log.csv")
    users = USER_TABLE.assign(user_id="!" + USER_TABLE.user_id)
    told = []
    for runner in (None, Workers()):
        with pytest.raises(ValueError, match="No user of the events, such as ") as caught:
            prepared(log, tmp_path / "made", PrepareOptions(users=UserColumns()), runner, users=users)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_a_full_disk_of_a_worker_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    log = write(told_apart(5, PrepareOptions()), tmp_path / "log.csv")

    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf, "_written", full)
    with pytest.raises(ValueError, match="made cannot be written: the disk is full. Make room"):
        prepared(log, tmp_path / "made", runner=Workers())
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("lost", "told"), [("stored", "The workers left nothing in "), ("found", "A worker does not see ")]
)
def test_a_folder_that_the_workers_do_not_share_is_told(tmp_path, monkeypatch, lost, told):
    log = write(told_apart(5, PrepareOptions()), tmp_path / "log.csv")

    class Elsewhere(Workers):
        def total_of_pieces(self, readings, step, merge, result):
            if lost == "found":
                step.unlink()
                super().total_of_pieces(readings, step, merge, result)

    with pytest.raises(FileNotFoundError, match=f"{told}.*the folder of the run must lie where this machine and all"):
        prepared(log, tmp_path / "made", runner=Elsewhere())


def test_workers_read_a_file(tmp_path):
    with pytest.raises(ValueError, match="`events` is a DataFrame, and workers read a file: write it as .parquet"):
        prepared(told_apart(5, PrepareOptions()), tmp_path / "made", runner=Workers())


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The pipeline of a shop with a log."""
    monkeypatch.delenv("TFREC_DATA", raising=False)
    write(told_apart(5, PrepareOptions()), tmp_path / "log.csv")
    (tmp_path / "shop.yaml").write_text(PIPELINE.format(root=tmp_path), encoding="utf-8")
    return load(tmp_path / "shop.yaml")


def test_a_stage_that_a_cluster_did_is_done(shop, tmp_path, caplog):
    stages.run(shop, tmp_path / "run", only="prepare", runner=Workers())
    stages.run(shop, tmp_path / "here", only="prepare")
    assert files(tmp_path / "run" / "dataset") == files(tmp_path / "here" / "dataset")
    with caplog.at_level(logging.INFO):
        stages.run(shop, tmp_path / "run", only="prepare")
        stages.run(shop, tmp_path / "here", only="prepare", runner=Workers())
    assert caplog.text.count("prepare: done before, nothing to do") == 2


def test_a_runner_prepares_tables_alone(shop, tmp_path):
    with pytest.raises(ValueError, match="`runner` is for the stage `prepare` alone; received one with None"):
        stages.run(shop, tmp_path / "run", runner=Workers())
    (tmp_path / "demo.yaml").write_text("name: demo\ndata: {simulated: {users: 50}}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the data of this pipeline is simulated: leave --runner out"):
        stages.run(load(tmp_path / "demo.yaml"), tmp_path / "demo", only="prepare", runner=Workers())
    assert not (tmp_path / "demo").exists()


def test_beam_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs Apache Beam, which is not installed: pip install 'tfrec\[beam\]'"):
        BeamRunner("direct")
