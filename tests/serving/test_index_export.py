"""Exports whose vectors are stored in fewer bits, and whose answers come from lists."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.serving.conftest import K_MAX, make_data, make_model
from tfrec.retrieval import FullSoftmax, TwoTower
from tfrec.retrieval.new_items import NewItems
from tfrec.serving import exporter, load, operations
from tfrec.serving import options as options_module
from tfrec.serving.catalogue_check import CatalogueCheck
from tfrec.serving.contract import Contract
from tfrec.serving.exporter import export
from tfrec.serving.index import probes
from tfrec.serving.index.vectors import StoredVectors, VectorTable
from tfrec.serving.options import ExportOptions
from tfrec.serving.session import open_session
from tfrec.serving.signatures import NO_ITEM_SCORE
from tfrec.towers import BehaviorTower, ItemTower, LSTMEncoder

DIM, ITEMS = 8, 600
BARRED = [3, 77]


def shop(items=ITEMS, **changes):
    """A model over items of a dozen kinds, and its data."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    tower = ItemTower(DIM, items + 1)
    rows = np.setdiff1d(np.arange(1, items + 1), BARRED if items > 100 else [])
    model = TwoTower(tower, BehaviorTower(DIM, [LSTMEncoder(DIM)]), FullSoftmax(rows), candidates=rows, **changes)
    kinds = rng.normal(size=(12, DIM))
    tower.embedding.assign(kinds[rng.integers(12, size=items + 1)] + rng.normal(0, 0.2, (items + 1, DIM)))
    for weight in model.behavior_tower.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    ids = ["", *(f"i{row}" for row in range(1, items + 1))]
    data = make_data(items=pd.DataFrame({"item_id": ids, "title": ""}), vocabularies={})
    histories = rng.integers(1, items + 1, (300, 6))
    data.histories = lambda split: SimpleNamespace(
        user_ids=np.arange(300), rows=histories[:: 1 if split == "test" else -1].ravel(), offsets=np.arange(301) * 6
    )
    return model, data


def told(folder):
    return json.loads((folder / "assets.extra" / "manifest.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """An exact version and one of lists, of the same vectors in 8 bits."""
    model, data = shop()
    place = tmp_path_factory.mktemp("shop")
    return [
        export(model, data, place, k_max=20, options=ExportOptions("int8", index, 0.9)) for index in ("exact", "ivf")
    ]


def asked(folder, signature, **inputs):
    with open_session(folder) as bundle:
        answer = bundle.run(signature, {name: np.array(values, object) for name, values in inputs.items()})
    return answer["item_ids"].astype(str), answer["scores"]


HISTORIES = [["i1", "i5", "i9"], ["i100", "", ""], ["", "", ""]]


def test_the_manifest_tells_what_was_measured(versions):
    exact, lists = map(told, versions)
    assert exact["index"] == {"kind": "exact"} and "recall" not in exact["self_check"]
    assert lists["index"]["lists"] > 50 and lists["index"]["read"]["answers"]["share_of_items"] < 0.9
    assert lists["self_check"]["recall_floor"] == 0.9 and lists["self_check"]["largest_difference"] < 1e-5
    assert set(lists["self_check"]["recall"]) == {"serving_default", "similar_items"}
    for recall in lists["self_check"]["recall"].values():
        assert 0.9 <= recall["@10"] <= 1 and 0.5 < recall["@20"] <= 1
    assert lists["item_vectors"] == {"kind": "int8", "bytes": 601 * 12, "float32_bytes": 601 * 32}


def test_what_lists_answer_has_its_exact_score_and_was_not_seen(versions):
    model, data = shop()
    vectors = VectorTable.of(np.asarray(model.item_vectors()), "int8").restored
    places = dict(zip(data.items.item_id, range(ITEMS + 1), strict=True))
    rows = np.array([[places[item] for item in history] for history in HISTORIES], np.int32)
    scores = np.asarray(model.query(tf.constant(vectors), {"history": rows})) @ vectors.T
    for signature, history in (
        ("serving_default", HISTORIES),
        ("recommend_delimited", ["\n".join(one) for one in HISTORIES]),
    ):
        ids, given = asked(versions[1], signature, history=history)
        for user, answer in enumerate(ids):
            found = [places[item] for item in answer]
            np.testing.assert_allclose(given[user], scores[user, found], atol=1e-5)
            assert len(set(found)) == 20 and not set(found) & {*BARRED, *rows[user]}


def test_a_filter_finds_what_no_list_that_is_read_holds(versions):
    lists = {"allow_items": [["i4", "i40", "i400"]] * 3, "deny_items": [["", "", ""]] * 3}
    answers = [asked(folder, "recommend_filtered", history=HISTORIES, **lists) for folder in versions]
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    assert sorted(answers[1][0][0][:3]) == ["i4", "i40", "i400"]


def test_similar_items_come_from_lists_too(versions):
    answers = [asked(folder, "similar_items", item_id=["i9", "no such", f"i{BARRED[0]}"]) for folder in versions]
    for user in (0, 2):
        assert len(set(answers[0][0][user][:10]) & set(answers[1][0][user][:10])) >= 7
    assert "i9" not in answers[1][0][0]
    assert not any(answers[1][0][1]) and (answers[1][1][1] == np.float32(NO_ITEM_SCORE)).all()


def test_stock_operations_are_all_it_has(versions):
    assert all(part <= set(dir(tf.raw_ops)) for part, _ in operations.parts(versions[1]))


def test_ids_and_titles_stay_with_their_items(versions):
    table = pd.read_parquet(versions[1] / "assets.extra" / "items.parquet")
    assert table.item_id.tolist() == [f"i{row}" for row in range(1, ITEMS + 1)]
    assert load(versions[1]).recommend([["i1"]], 5).item_id.is_unique
    vectors = VectorTable.of(np.asarray(shop()[0].item_vectors()), "int8").restored
    with open_session(versions[1]) as bundle:
        found = bundle.run("embed_item", {"item_id": np.array(["i7", "i3"], object)})
    np.testing.assert_allclose(found["vector"], vectors[[7, 3]], atol=1e-6)


def test_vectors_are_stored_once_and_in_eight_bits(versions):
    for folder in versions:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        shapes, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        assert [kinds[name] for name, shape in shapes.items() if shape == [ITEMS + 1, DIM]] == [tf.int8]


def few_lists(monkeypatch):
    """Let an index read one list, whatever is asked of it."""
    monkeypatch.setattr(probes, "_enough", lambda ranks, floor, most: 1)


def test_too_little_recall_is_not_exported(tmp_path, monkeypatch):
    few_lists(monkeypatch)
    told = r"serving_default: the index finds 0\.\d+ of the best 10 items for 300 histories, not 0.98 as `recall` asks"
    with pytest.raises(ValueError, match=told):
        export(*shop(), tmp_path / "out", k_max=10, options=ExportOptions(index="ivf"))
    assert not list((tmp_path / "out").iterdir())


def test_wrong_scores_are_not_exported_however_many_items_are_found(tmp_path, monkeypatch):
    right = StoredVectors.scores_of
    monkeypatch.setattr(StoredVectors, "scores_of", lambda self, query, rows: 1.001 * right(self, query, rows))
    with pytest.raises(ValueError, match="serving_default.*scores differ from the model's"):
        export(*shop(), tmp_path / "out", options=ExportOptions(index="ivf", recall=0.9))


@pytest.mark.slow
@pytest.mark.parametrize("seen", ["remove", "keep"])
def test_an_answer_is_as_long_as_an_exact_one_though_one_list_is_read(tmp_path, monkeypatch, seen):
    few_lists(monkeypatch)
    model, data = shop()
    data.seen = seen
    folder = export(model, data, tmp_path, k_max=400, options=ExportOptions(index="ivf", recall=1e-6))
    ids, scores = asked(folder, "serving_default", history=[[f"i{row}" for row in range(1, 301)]])
    assert (ids[0] != "").sum() == (298 + 2 if seen == "remove" else 400) and len(set(ids[0][ids[0] != ""])) > 250
    assert (scores[0][ids[0] == ""] == np.float32(NO_ITEM_SCORE)).all()


@pytest.mark.slow
@pytest.mark.parametrize("items", [1, 3])
def test_the_smallest_catalogues_have_lists(tmp_path, items):
    folder = export(*shop(items), tmp_path, options=ExportOptions("float16", "ivf"))
    ids, _ = asked(folder, "serving_default", history=[["i1"], [""]])
    assert sorted(ids[1]) == [f"i{row}" for row in range(1, items + 1)]
    assert "i1" not in ids[0]


@pytest.mark.slow
def test_new_items_keep_their_bonus(tmp_path):
    model, data = shop(new_items=NewItems(bonus=5.0))
    trained = np.ones((ITEMS + 1, 1), np.float32)
    trained[10:20] = 0
    model.item_tower.trained.assign(trained)
    folder = export(model, data, tmp_path, options=ExportOptions("int8", "ivf", 0.9))
    assert told(folder)["self_check"]["largest_difference"] < 1e-5


@pytest.mark.long
def test_every_input_and_drawn_histories_count_where_there_are_no_others(tmp_path):
    folder = export(make_model(), make_data(), tmp_path, k_max=K_MAX, options=ExportOptions("int8", "ivf", 0.5))
    recall = told(folder)["self_check"]["recall"]
    assert set(recall) == {"serving_default", "recommend_full", "similar_items"}
    assert all(set(found) == {f"@{K_MAX}"} for found in recall.values())


def test_auto_is_exact_for_few_items_and_where_lists_save_little(monkeypatch):
    model, data = shop()
    check = CatalogueCheck(model, np.asarray(model.item_vectors()), Contract.of(model, data, K_MAX))
    assert exporter._index(check, data, ExportOptions()) is None
    monkeypatch.setattr(options_module, "MANY", 100)
    monkeypatch.setattr(exporter, "WORTH", 0.01)
    assert exporter._index(check, data, ExportOptions()) is None
    assert exporter._index(check, data, ExportOptions(index="ivf")) is not None
    monkeypatch.setattr(exporter, "WORTH", 0.99)
    assert exporter._index(check, data, ExportOptions()) is not None
    assert exporter._index(check, data, ExportOptions(index="exact")) is None


def test_vectors_that_are_not_finite_are_told(tmp_path):
    model, data = shop()
    model.item_tower.embedding.assign(np.full(model.item_tower.embedding.shape, np.nan))
    for options in (ExportOptions(index="ivf"), ExportOptions("int8"), ExportOptions("float16", "ivf")):
        with pytest.raises(ValueError, match="not finite"):
            export(model, data, tmp_path / "out", options=options)
