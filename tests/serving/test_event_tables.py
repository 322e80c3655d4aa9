"""Tables of events under the names that the model's data had: in the manifest, in the answers, on the command line."""

import json
import logging

import pandas as pd
import pytest

from tests import tiny_shop
from tests.serving.conftest import K_MAX, make_data
from tfrec import cli
from tfrec.data import EventColumns, PrepareOptions, prepare
from tfrec.serving import event_tables
from tfrec.serving.answers import load, recommend_file
from tfrec.serving.exporter import export

COLUMNS = EventColumns("who", "what", timestamp="at", position="step", event_type="kind", context=("my device",))
EVENTS = pd.DataFrame(
    {
        "who": ["u2", "u1", "u1", "u1"],
        "what": ["7", "007", "🎬", "item1"],
        "at": [50, 30, 10, 20],
        "step": [1, 1, 2, 3],
        "kind": ["buy", "view", "view", "buy"],
        "my device": ["phone", "中文", "phone", "phone"],
        "country": ["US", "NA", "US", "NA"],
    }
)
STANDARD = {"who": "user_id", "what": "item_id", "at": "timestamp", "step": "position", "kind": "event_type"}
INPUTS = {
    "event_type": "event_type",
    "event_my_device": "my device",
    "timestamp": "timestamp",
    "user_country": "country",
}


def manifest(columns=COLUMNS, split="leave_last"):
    options = PrepareOptions(events=columns, split=split).as_json()
    dataset = make_data(manifest={"options": options})
    return {"inputs": INPUTS, "events": event_tables.recorded(dataset)}


@pytest.fixture(scope="module")
def named(model, tmp_path_factory):
    """A version whose data had names of its own and was split by time."""
    options = PrepareOptions(events=COLUMNS, split="time").as_json()
    data = make_data(manifest={"content_hash": "abc", "options": options})
    return export(model, data, tmp_path_factory.mktemp("named"), k_max=K_MAX)


@pytest.fixture
def quietly(monkeypatch):
    monkeypatch.delenv("TFREC_DEBUG", raising=False)
    level = logging.getLogger("tfrec").level
    yield
    logging.getLogger("tfrec").setLevel(level)


def test_an_export_writes_the_mapping_down(named):
    told = json.loads((named / "assets.extra" / "manifest.json").read_text("utf-8"))["events"]
    assert told == {
        "columns": {
            "user_id": "who", "item_id": "what", "timestamp": "at", "position": "step", "event_type": "kind",
            "context": ["my device"],
        },
        "by_time": True,
    }  # fmt: skip


def test_what_prepare_wrote_is_what_is_recorded(tmp_path):
    columns = EventColumns("who", "what", timestamp="at", event_type="kind")
    dataset = prepare(tiny_shop.events(), options=PrepareOptions(events=columns), folder=tmp_path / "data")
    told = event_tables.recorded(dataset)
    assert told["by_time"] is False
    assert EventColumns(**told["columns"]) == columns
    assert event_tables.recorded(object()) == {"columns": None, "by_time": False}


def test_the_command_reads_the_names_of_the_data(named, tmp_path, capsys, quietly):
    EVENTS.to_csv(tmp_path / "events.csv", index=False)
    question = ("--events", tmp_path / "events.csv", "--output", tmp_path / "recs.parquet", "--k", 4)
    assert cli.main(list(map(str, ("recommend", named, *question)))) == 0, capsys.readouterr().err
    answer = pd.read_parquet(tmp_path / "recs.parquet")
    renamed = EVENTS.drop(columns="step").rename(columns=STANDARD)
    expected = pd.read_parquet(recommend_file(named, renamed, tmp_path / "same.parquet", k=4))
    pd.testing.assert_frame_equal(answer, expected)
    assert answer.user_id.tolist() == ["u1"] * 4 + ["u2"] * 4
    ids = load(named).recommend([["🎬", "item1", "007"]], k=4)
    assert answer.score[:4].tolist() != pytest.approx(ids.score.tolist())  # What describes the events was sent too.


def test_the_command_names_what_fits_neither(named, tmp_path, capsys, quietly):
    EVENTS.rename(columns={"what": "thing"}).to_csv(tmp_path / "events.csv", index=False)
    question = ("--events", tmp_path / "events.csv", "--output", tmp_path / "recs.parquet", "--k", 4)
    assert cli.main(list(map(str, ("recommend", named, *question)))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "needs the columns 'who', 'what' and 'at' or 'step', as in the data of the model; or 'user_id', 'item_id' and "
        "'timestamp' or 'position'. Its columns are: who, thing, at, step, kind, my device, country. Rename them."
    )
    assert "events.csv" in line and not (tmp_path / "recs.parquet").exists()


@pytest.mark.parametrize(("split", "order"), [("leave_last", ["007", "🎬", "item1"]), ("time", ["🎬", "item1", "007"])])
def test_events_are_ordered_as_prepare_orders_them(split, order):
    for table in (EVENTS, EVENTS.rename(columns=STANDARD)):
        events = event_tables.read(table, manifest(split=split))
        assert events[events.user_id == "u1"].item_id.tolist() == order
        assert {"event_type", "my device", "country", "timestamp"} <= set(events)


def test_a_mapping_that_is_given_counts_and_is_ordered_by_time_too():
    other = EVENTS.rename(columns={"who": "a", "what": "b"})
    events = event_tables.read(other, manifest(split="time"), EventColumns("a", "b", timestamp="at", position="step"))
    assert events[events.user_id == "u1"].item_id.tolist() == ["🎬", "item1", "007"]
    with pytest.raises(ValueError, match="no column 'nowhere'"):
        event_tables.read(other, manifest(), EventColumns("a", "nowhere", timestamp="at"))


def test_columns_that_the_table_lacks_are_missing():
    events = event_tables.read(EVENTS[["who", "what", "at"]], manifest())
    assert events.columns.tolist() == ["user_id", "item_id", "timestamp"]
    assert events[events.user_id == "u1"].item_id.tolist() == ["🎬", "item1", "007"]


def test_a_model_without_the_mapping_takes_standard_names():
    for known in ({"inputs": INPUTS}, manifest(columns=None)):
        assert len(event_tables.read(EVENTS.rename(columns=STANDARD), known)) == len(EVENTS)
        with pytest.raises(
            ValueError, match="needs the columns 'user_id', 'item_id' and 'timestamp' or 'position'. Its"
        ):
            event_tables.read(EVENTS, known)
