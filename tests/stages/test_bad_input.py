"""Tables that cannot be prepared: one line on standard error, status 1, and what existed stays as it was."""

import gzip
import logging
import os
import re
from pathlib import Path

import pytest

from tfrec import cli

PIPELINE = """\
name: mine
data:
  root: {root}
  events: {{path: events.csv, columns: {{user_id: who, item_id: what, timestamp: at}}}}
  items: {{path: items.csv, item_id: sku, text: [name], numeric: [price]}}
  shards: 1
"""
EVENTS = "who,what,at\n" + "".join(f"u{user},{item},{100 + item}\n" for user in range(4) for item in range(1, 5))
ITEMS = "sku,name,price\n" + "".join(f"{item},Thing {item},{item}.5\n" for item in range(1, 5))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with sound tables and their pipeline."""
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.delenv("TFREC_DEBUG", raising=False)
    monkeypatch.setattr(logging.getLogger("tfrec"), "level", logging.getLogger("tfrec").level)
    (tmp_path / "events.csv").write_text(EVENTS, encoding="utf-8")
    (tmp_path / "items.csv").write_text(ITEMS, encoding="utf-8")
    (tmp_path / "p.yaml").write_text(PIPELINE.format(root=tmp_path), encoding="utf-8")
    return tmp_path


def prepare(folder: Path, *options: str) -> int:
    return cli.main(["prepare", str(folder / "p.yaml"), "--out", str(folder / "run"), *options])


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, folder: Path, *options: str) -> str:
    """The one line of a refusal; nothing that was there has changed."""
    before = snapshot(folder)
    assert prepare(folder, *options) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("tfrec: error: ")] == lines[-1:]
    assert not [line for line in lines if "Traceback" in line]
    after = snapshot(folder)
    assert {name: after.get(name) for name in before} == before
    return lines[-1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"events\.csv\) is empty"),
        ("who,what,at\n", r"events\.csv\) is empty"),
        (EVENTS.replace("who,", "user,", 1), r"has no column 'who'. Its columns are: user, what, at"),
        (EVENTS.replace("u1,2,102", ",2,102"), r"column 'who': 1 of 16 ids are missing, first in row 6"),
        (EVENTS.replace("u1,2,102", "u1,,102"), r"column 'what': 1 of 16 ids are missing, first in row 6"),
        (EVENTS.replace("u1,2,102", "u1,2,someday"), r"column 'at': .* no times"),
        (EVENTS.replace("u1,2,102", "u1,2,"), r"column 'at': 1 of 16 rows have no time"),
        (EVENTS.replace("u1,2,102", 'u1,"2,102'), r"cannot be read as UTF-8 CSV"),
    ],
)
def test_events_that_cannot_be_read(folder, capsys, text, told):
    (folder / "events.csv").write_text(text, encoding="utf-8")
    assert re.search(told, refused(capsys, folder))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ITEMS.replace("name", "title"), r"has no column 'name'. Its columns are: sku, title, price"),
        (ITEMS + "2,Another thing,2.5\n", r"item_id '2' has two rows .* 'Thing 2' and 'Another thing'"),
        (ITEMS.replace("2.5", "cheap"), r"column 'price': 1 of 4 values are not numbers, first in row 2 .* 'cheap'"),
        (ITEMS.replace("2,Thing", ",Thing"), r"column 'sku': 1 of 4 ids are missing, first in row 2"),
    ],
)
def test_items_that_cannot_be_read(folder, capsys, text, told):
    (folder / "items.csv").write_text(text, encoding="utf-8")
    assert re.search(told, refused(capsys, folder))


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("data.events.path=gone.csv", r"gone\.csv"),
        ("data.items.path=gone.parquet", r"gone\.parquet"),
        ("data.events.path=p.yaml", r"p\.yaml.*(csv|CSV)"),
        ("data.cold_items=gone.csv", r"gone\.csv"),
        ("data.target_events=[buy]", r"target_events needs the column events\.columns\.event_type"),
        ("data.split={kind: time, validation_from: someday, test_from: 110}", r"someday"),
        ("data.min_item_events=100", r"100"),
    ],
)
def test_settings_that_the_tables_do_not_bear(folder, capsys, option, told):
    assert re.search(told, refused(capsys, folder, "--set", option))


def test_a_broken_archive_is_named(folder, capsys):
    (folder / "events.csv.gz").write_bytes(gzip.compress(EVENTS.encode())[:-12])
    assert "events.csv.gz" in refused(capsys, folder, "--set", "data.events.path=events.csv.gz")


def test_a_folder_with_other_things_is_left_alone(folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "thesis.txt").write_text("years of work", encoding="utf-8")
    assert "run" in refused(capsys, folder)
    assert os.listdir(folder / "run") == ["thesis.txt"]


def test_the_folder_of_another_pipeline_is_left_alone(folder, capsys):
    assert prepare(folder) == 0
    capsys.readouterr()
    assert "'mine'" in refused(capsys, folder, "--set", "name=yours")


def test_bad_input_leaves_the_prepared_data_set(folder, capsys):
    assert prepare(folder) == 0
    made = snapshot(folder / "run" / "dataset")
    (folder / "events.csv").write_text("who,what,at\n", encoding="utf-8")
    capsys.readouterr()
    assert prepare(folder) == 1
    assert made and snapshot(folder / "run" / "dataset") == made


def test_a_folder_that_cannot_be_made_is_named(folder, capsys):
    (folder / "file").write_text("", encoding="utf-8")
    assert "file" in refused(capsys, folder, "--out", str(folder / "file" / "run"))


@pytest.mark.parametrize("name", ["items.parquet", "item_features.npz"])
def test_a_data_set_that_was_damaged_is_told_and_prepared_anew(folder, capsys, name):
    assert prepare(folder) == 0
    damaged = folder / "run" / "dataset" / name
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    assert cli.main(["train", str(folder / "p.yaml"), "--out", str(folder / "run")]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("tfrec: error: `train` needs the stage `prepare`, which was done, but what it left in ")
    assert told.endswith("is damaged. Run `tfrec prepare` first, or `tfrec run` for all.")
    assert prepare(folder) == 0
    assert damaged.read_bytes() == whole
