"""What may be filtered by: every value that an item has, whether training knew it or not; and where it is listed."""

import json

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tests.serving.conftest import make_data
from tfrec import build
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare
from tfrec.data.vocabulary import Vocabulary
from tfrec.serving.exporter import export
from tfrec.serving.served_categories import ServedCategories
from tfrec.serving.session import open_session

UNTRAINED = f"{tiny_shop.ITEMS:03d}"


def table():
    """The items of the tiny shop with tags; one that nobody has had has a family of its own."""
    items = tiny_shop.items()
    items["tags"] = np.where(np.arange(len(items)) % 2, "old| red", "old")
    items.loc[items.sku == UNTRAINED, ["family", "tags"]] = ["lonely = one", "new"]
    return items


@pytest.fixture(scope="module")
def data():
    columns = ItemColumns("sku", ("name",), {"family": None, "tags": "|"}, ())
    events = EventColumns("who", "what", "at")
    options = PrepareOptions(events=events, items=columns, max_length=6, candidates="items")
    return prepare(tiny_shop.events(), table(), options=options)


def model_of(data):
    model = build.two_tower(data, dim=8, text="none", seed=1)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    return model


def allowed(folder, category, form="recommend_filtered"):
    names = ("allow_items", "deny_items", "allow_categories", "deny_categories")
    request = {"history": "000", **dict.fromkeys(names, ""), "allow_categories": category}
    with open_session(folder) as bundle:
        wrap = (lambda text: [text]) if form.endswith("delimited") else (lambda text: [[text]])
        answer = bundle.run(form, {name: np.array(wrap(text), object) for name, text in request.items()})
    return {item.decode() for item in answer["item_ids"][0] if item}


def test_the_whole_table_counts_and_not_what_training_knew(data):
    assert "lonely = one" not in data.vocabularies["item_family"].values
    served = ServedCategories.of(data, len(data.items))
    assert "family=lonely = one" in served.values and dict(served.columns) == {"family": 5, "tags": 3}
    assert served.values[5:] == ("tags=new", "tags=old", "tags=red")
    codes = served.codes[data.items.index[data.items.item_id == UNTRAINED][0]]
    assert {served.values[code - 1] for code in codes if code} == {"family=lonely = one", "tags=new"}
    assert not served.codes[0].any()


def test_an_item_that_nobody_had_is_found_by_its_category_and_the_values_are_listed(data, tmp_path):
    folder = export(model_of(data), data, tmp_path, k_max=40)
    for form in ("recommend_filtered", "recommend_filtered_delimited"):
        assert allowed(folder, "family=lonely = one", form) == {UNTRAINED}
    listed = pd.read_parquet(folder / "assets.extra" / "categories.parquet").set_index("category")
    assert listed.loc["family=lonely = one"].to_dict() == {
        "column": "family", "value": "lonely = one", "items": 1, "candidates": 1,
    }  # fmt: skip
    assert listed.loc["tags=red", "items"] == 15 and len(listed) == 8
    told = json.loads((folder / "assets.extra" / "manifest.json").read_text("utf-8"))
    assert told["categories"]["tags"] == {"values": 3, "first": ["tags=new", "tags=old", "tags=red"]}
    assert told["score"]["calibrated"] is False and told["score"]["probability"].startswith("softmax over all items")


def test_a_new_catalogue_brings_its_own_values(data, tmp_path):
    new = table()
    new.loc[new.sku == "001", "family"] = "renamed"
    new = pd.concat([new, pd.DataFrame([["n1", "Thing of today", "today", "old|fresh"]], columns=new.columns)])
    model, wide = build.with_items(model_of(data), data, new)
    folder = export(model, wide, tmp_path, k_max=40)
    assert allowed(folder, "family=today") == {"n1"} == allowed(folder, "tags=fresh")
    assert allowed(folder, "family=renamed") == {"001"}


def test_only_as_many_values_as_one_reads_are_in_a_manifest():
    data = make_data(vocabularies={"item_c": Vocabulary([f"v{i:03d}" for i in range(300)]), "item_d": Vocabulary([])})
    data.item_categories = {"c": np.zeros((21, 2), int), "d": np.zeros((21, 1), int)}
    described = ServedCategories.of(data, 21).described()
    assert described["c"]["values"] == 300 and len(described["c"]["first"]) == 10
    assert described["d"] == {"values": 0, "first": []}
    none = ServedCategories.none(21)
    assert none.codes.shape == (21, 1) and none.described() == {} and none.table(np.ones(21, bool)).empty
