"""The stage `prepare`: odd tables that are sound, and the simulated shop with its oracle."""

import logging
import shutil

import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import cli, config
from tfrec.features import EVENTS_SCORED
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset, open_oracle


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for variable in ("TFREC_DATA", "TFREC_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    level = logging.getLogger("tfrec").level
    yield
    logging.getLogger("tfrec").setLevel(level)


@pytest.fixture
def shop(tmp_path):
    tiny_shop.write(tmp_path / "shop")
    return tmp_path / "shop"


def prepared(shop, *overrides, log=None):
    """The data set that `tfrec prepare` makes of the tables, with another log where one is given."""
    if log is not None:
        log.to_csv(shop / "events.csv", index=False)
    out = shop.parent / "run"
    shutil.rmtree(out, ignore_errors=True)
    options = [part for override in overrides for part in ("--set", override)]
    assert cli.main(["prepare", str(shop / "tiny.yaml"), "--out", str(out), *options]) == 0
    return open_dataset(Run(config.load(shop / "tiny.yaml", overrides), out))


def test_ids_and_titles_are_kept_as_they_are_written(shop):
    data = prepared(shop)
    titles = data.items.set_index("item_id")["title"]
    assert {"000", "007"} <= set(titles.index)
    assert titles[["003", "004", "005"]].tolist() == ["跑步鞋", "🎁 box", ""]
    assert "000" in set(data.truth("test")["user_id"])


@pytest.mark.parametrize("spell", [lambda at: at * 1000, lambda at: pd.to_datetime(at, unit="s").astype(str)])
def test_times_may_be_milliseconds_or_dates(shop, spell):
    expected = pd.read_csv(prepared(shop).folder / EVENTS_SCORED, dtype=str)
    log = tiny_shop.events()
    found = pd.read_csv(prepared(shop, log=log.assign(at=spell(log["at"]))).folder / EVENTS_SCORED, dtype=str)
    assert found["timestamp"].tolist() == expected["timestamp"].tolist()


def test_events_of_items_without_a_row_are_kept_and_told(shop, caplog):
    log = tiny_shop.events().replace({"what": {"007": "no such item"}})
    data = prepared(shop, log=log)
    assert "no such item" in set(data.items["item_id"])
    assert data.items.set_index("item_id").loc["no such item", "text"] == ""
    assert [line for line in caplog.messages if "1 of 30 items of the events, such as 'no such item', are not" in line]


def test_items_that_nobody_had_are_candidates_where_the_settings_say_so(shop):
    never = f"{tiny_shop.ITEMS:03d}"
    for candidates, count in (("events", tiny_shop.ITEMS), ("items", tiny_shop.ITEMS + 1)):
        items = prepared(shop, f"data.candidates={candidates}").items.set_index("item_id")
        assert items["candidate"].sum() == count
        assert not items["trained"].get(never, False)


def test_users_with_one_event_are_tested_without_a_history(shop):
    histories = prepared(shop).histories("test")
    sizes = dict(zip(histories.user_ids, histories.lengths, strict=True))
    assert sizes[f"{tiny_shop.USERS - 1:03d}"] == 0
    assert sizes["000"] == tiny_shop.EVENTS - 1 > 6  # Longer than the limit.


def test_the_same_tables_give_the_same_bytes(shop):
    def content():
        folder = prepared(shop).folder
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert content() == content()


def test_a_table_that_is_moved_or_renamed_repeats_nothing(shop, caplog):
    (shop / "cold.csv").write_text("item_id\n003\n", encoding="utf-8")

    def repeated(*overrides):
        caplog.clear()
        options = [part for override in overrides for part in ("--set", override)]
        assert cli.main(["prepare", str(shop / "tiny.yaml"), "--out", str(shop.parent / "run"), *options]) == 0
        return "prepare: done before, nothing to do" not in caplog.messages

    assert repeated("data.cold_items=cold.csv")
    for name in ("events.csv", "items.csv", "cold.csv"):
        (shop / "other").mkdir(exist_ok=True)
        (shop / name).rename(shop / "other" / f"new_{name}")
    moved = [f"data.{key}=new_{key.partition('.')[0]}.csv" for key in ("events.path", "items.path")]
    moved += [f"data.root={shop / 'other'}", "data.cold_items=new_cold.csv"]
    assert not repeated(*moved)
    (shop / "other" / "new_cold.csv").write_text("item_id\n004\n", encoding="utf-8")
    assert repeated(*moved)


def test_the_cold_items_of_a_simulated_shop_count_with_their_content(tmp_path, caplog):
    path, cold = tmp_path / "simulated.yaml", tmp_path / "cold.csv"
    path.write_text(SIMULATED, encoding="utf-8")

    def held_out(*ids):
        cold.write_text("\n".join(["item_id", *ids]), encoding="utf-8")
        options = ["--out", str(tmp_path / "run"), "--set", f"data.cold_items={cold}"]
        assert cli.main(["prepare", str(path), *options]) == 0
        items = open_dataset(Run(config.load(path), tmp_path / "run")).items
        return items.item_id[items.held_out == 1].tolist()

    assert cli.main(["prepare", str(path), "--out", str(tmp_path / "run")]) == 0
    first, second = open_dataset(Run(config.load(path), tmp_path / "run")).items.item_id[1:3]
    assert held_out(first) == [first] and held_out(second) == [second]
    caplog.clear()
    assert held_out(second) == [second] and "prepare: done before, nothing to do" in caplog.messages


SIMULATED = "name: simulated\ndata: {simulated: {users: 30, items: 200, mean_events: 10}}\n"


def test_the_oracle_goes_with_the_data_that_it_answers(tmp_path):
    path, out = tmp_path / "simulated.yaml", tmp_path / "run"
    path.write_text(SIMULATED, encoding="utf-8")

    def oracle(*overrides):
        options = [part for override in overrides for part in ("--set", override)]
        assert cli.main(["prepare", str(path), "--out", str(out), *options]) == 0
        run = Run(config.load(path, overrides), out)
        return open_dataset(run), open_oracle(run)

    data, best = oracle()
    assert set(best["user_id"]) == set(data.truth("test")["user_id"])
    assert set(best["item_id"]) <= set(data.items["item_id"])
    data, best = oracle("data.split={kind: time, validation_from: 70%, test_from: 85%}", "data.max_length=5")
    assert best is None
    assert (data.max_length, data.manifest["split"]["kind"]) == (5, "time")
    assert oracle()[1] is not None
