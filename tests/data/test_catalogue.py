"""A catalogue after training: which row an item has, what is coded how, and what is said or refused."""

import logging

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare
from tfrec.data.catalogue import with_catalogue

COLUMNS = ItemColumns("sku", ("name",), {"family": None, "tags": "|"}, ("price",))


def table():
    """The shop's items with tags and prices; two items have no price."""
    items = tiny_shop.items()
    price = np.where(items.index < 2, np.nan, 10.0 + items.index)
    return items.assign(tags=[f"t{item % 3}|t{item % 2}" for item in range(len(items))], price=price)


def row(sku, name="", family="", tags="", price=np.nan):
    return pd.DataFrame([{"sku": sku, "name": name, "family": family, "tags": tags, "price": price}])


@pytest.fixture(scope="module")
def data():
    """A data set of which training lacks the last item."""
    events = EventColumns("who", "what", "at", event_type="kind")
    return prepare(tiny_shop.events(), table(), options=PrepareOptions(events=events, items=COLUMNS, max_length=6))


def extended(data, *new, old=None):
    return with_catalogue(data, pd.concat([table() if old is None else old, *new], ignore_index=True))


def test_the_same_table_changes_nothing_but_the_candidates(data):
    same = extended(data)
    pd.testing.assert_frame_equal(same.items.drop(columns="candidate"), data.items.drop(columns="candidate"))
    assert same.items["candidate"].tolist() == [False] + [True] * (tiny_shop.ITEMS + 1)
    np.testing.assert_array_equal(same.item_numbers, data.item_numbers)
    assert same.item_numbers.dtype == np.float32
    for name, codes in data.item_categories.items():
        np.testing.assert_array_equal(same.item_categories[name], codes)


def test_new_items_follow_those_of_training(data):
    before = data.items.copy()
    wide = extended(data, row("zz", "新鞋", "family 1", "t1", 12.0), row("7", "👟"), old=table().iloc[5:])
    assert wide.items["item_id"].tolist() == [*data.items["item_id"], "7", "zz"]
    assert wide.items.dtypes.tolist() == data.items.dtypes.tolist()
    assert wide.items[["title", "text", "count", "trained", "held_out"]].iloc[-1].tolist() == ["新鞋"] * 2 + [0] * 3
    assert not wide.items["candidate"].iloc[:6].any() and wide.items["candidate"].iloc[6:].all()
    pd.testing.assert_frame_equal(data.items, before)
    histories = data.histories("test").rows
    np.testing.assert_array_equal(wide.histories("test").rows, histories)
    assert wide.manifest["counts"]["items"] == data.manifest["counts"]["items"] + 2
    assert data.manifest["counts"]["items"] == tiny_shop.ITEMS + 1


def test_values_are_coded_and_standardised_as_in_training(data):
    twin = table().iloc[[8]].assign(sku="twin")
    wide = extended(data, twin, row("bare"))
    place = data.items.index[data.items["item_id"] == "008"][0]
    for name, codes in wide.item_categories.items():
        assert codes[-1].tolist() == codes[place].tolist() and not codes[-2].any(), name
    assert wide.item_numbers[-1] == data.item_numbers[place] and np.isnan(wide.item_numbers[-2]).all()


def test_the_table_says_what_a_known_item_is(data, caplog):
    caplog.set_level(logging.INFO, "tfrec")
    old = table()
    old.loc[8, ["name", "family", "price"]] = ["renamed", "family 3", np.nan]
    wide = extended(data, old=old)
    changed = np.flatnonzero((wide.items["title"] != data.items["title"]).to_numpy())
    assert wide.items["item_id"][changed].tolist() == ["008"]
    assert wide.items["trained"].tolist() == data.items["trained"].tolist()
    assert np.isnan(wide.item_numbers[changed]).all()
    codes = wide.item_categories["family"]
    assert codes[changed].tolist() == codes[data.items["item_id"] == "007"].tolist()
    assert "0 new, 31 known (1 of them described otherwise than before); 0 that the table lacks" in caplog.text


def test_statistics_stay_those_of_training_however_often_prices_change(data):
    dear = table().assign(price=table()["price"] + 5)
    once = with_catalogue(data, dear)
    np.testing.assert_array_equal(with_catalogue(once, table()).item_numbers, data.item_numbers)
    assert np.nanmean(once.item_numbers - data.item_numbers) > 0.1


def test_more_values_than_before_widen_the_codes(data):
    wide = extended(data, row("many", tags="t0|t1|t2|t1|new"))
    assert data.item_categories["tags"].shape[1] == 2
    assert wide.item_categories["tags"].shape[1] == 3
    assert sorted(wide.item_categories["tags"][-1]) == [1, 2, 3]
    fewer = table().assign(tags="t1")
    assert extended(data, old=fewer).item_categories["tags"].shape[1] == 2


def test_what_training_does_not_know_is_said(data, caplog):
    extended(data, row("a", family="unheard"), row("b", family="unheard"), row("c", family="?", tags="t0|x", price=1e4))
    assert "'family', 3 of 34 items: values that training lacked count as missing: 2, such as 'unheard'" in caplog.text
    assert "'tags', 1 of 34 items: values that training lacked count as missing: 1, such as 'x'" in caplog.text
    assert "'price', 1 of 34 items: numbers far outside those of training (12 to 39), such as 10000" in caplog.text
    caplog.clear()
    extended(data, row("a", family="family 1", price=30))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_emptied_column_is_said(data, caplog):
    wide = extended(data, old=table().assign(family="", price=np.nan))
    assert not wide.item_categories["family"].any() and np.isnan(wide.item_numbers).all()
    for name in ("family", "price"):
        assert f"column '{name}' holds no value: it is missing for all 31 items" in caplog.text


def test_ids_that_look_alike_are_said(data, caplog):
    extended(data, row("7"), row("8.0"), old=table().drop(index=[7, 8]))
    assert (
        "2 of the new ids are like ids that the table lacks but for zeros, blanks or case, such as '7' and '007'"
        in (caplog.text)
    )
    caplog.clear()
    extended(data, row("7"))  # Beside 007 it is another item.
    assert "are like ids" not in caplog.text


def test_files_are_read_as_prepare_reads_them(data, tmp_path):
    new = pd.concat([table(), row("n", "🎁", "family 1", "t1", 12.5)], ignore_index=True)
    new.to_csv(tmp_path / "new.csv.gz", index=False)
    new.to_parquet(tmp_path / "new.parquet")
    for name in ("new.csv.gz", "new.parquet"):
        pd.testing.assert_frame_equal(with_catalogue(data, tmp_path / name).items, with_catalogue(data, new).items)


def test_a_data_set_without_a_table_of_items_takes_ids_and_titles():
    log = tiny_shop.events()[["who", "what"]].rename(columns={"who": "user_id", "what": "item_id"})
    bare = prepare(log.assign(position=range(len(log))))
    wide = with_catalogue(bare, pd.DataFrame({"item_id": ["004", "new"], "title": ["Four", "New"]}))
    assert wide.items["title"][wide.items["candidate"]].tolist() == ["Four", "New"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.drop(columns="family"), "'items' has no column 'family'"),
        (lambda t: t.assign(sku=""), "'sku': 31 of 31 ids are missing"),
        (lambda t: t.assign(price="dear"), "'price': 31 of 31 values are not numbers"),
        (
            lambda t: t.assign(sku=t["sku"].str.lstrip("0") + "!"),
            r"No item .* such as '!', .* which has '000': the ids",
        ),
        (lambda t: pd.concat([t, t.iloc[[3]].assign(name="?")]), "item_id '003' has two rows whose 'title' differ"),
        (lambda t: t.iloc[:0], "'items' is empty"),
    ],
)
def test_tables_that_are_refused(data, change, told):
    with pytest.raises(ValueError, match=told):
        with_catalogue(data, change(table()))
