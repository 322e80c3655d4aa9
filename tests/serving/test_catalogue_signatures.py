"""Requests in other forms, filtered ones, and items by their ids: each is answered right, or not exported."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conftest import DIM, IDS, K_MAX, NOT_CANDIDATES, make_data, make_model
from tfrec.data.vocabulary import Vocabulary
from tfrec.serving import catalogue_signatures as room
from tfrec.serving.catalogue_check import CatalogueCheck
from tfrec.serving.contract import Contract
from tfrec.serving.exporter import export
from tfrec.serving.index.vectors import VectorTable
from tfrec.serving.session import open_session
from tfrec.serving.signatures import NO_ITEM_SCORE

FAMILY, COLOUR = ["a=b", "动作"], ["red"]


@dataclasses.dataclass
class Described:
    """A data set whose items have two families at most, and some of them a colour."""

    items: object
    vocabularies: dict
    item_categories: dict
    seen: str = "remove"
    max_length: int = 5


def described():
    plain, rows = make_data(), np.arange(len(IDS) + 1)
    families = np.stack([rows % 3, np.where(rows % 6 == 1, 2, 0)], axis=1) * (rows > 0)[:, None]
    colours = (rows % 5 == 1).astype(int)[:, None]
    vocabularies = {**plain.vocabularies, "item_family": Vocabulary(FAMILY), "item_colour": Vocabulary(COLOUR)}
    return Described(plain.items, vocabularies, {"family": families, "colour": colours})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, model):
    with open_session(export(model, described(), tmp_path_factory.mktemp("described"), k_max=K_MAX)) as opened:
        yield opened


def filtered(bundle, history=("item3",), **lists):
    request = {name: np.array([["", *lists.get(name, [])]], object) for name in LISTS}
    answer = bundle.run("recommend_filtered", {"history": np.array([history], object), **request})
    return [item.decode() for item in answer["item_ids"][0]], answer["scores"][0]


LISTS = (room.ALLOW_ITEMS, room.DENY_ITEMS, room.ALLOW_CATEGORIES, room.DENY_CATEGORIES)


def having(column, value):
    data = described()
    code = data.vocabularies[f"item_{column}"].values.index(value) + 1
    return {IDS[row - 1] for row in np.flatnonzero((data.item_categories[column] == code).any(axis=1))}


def test_delimited_histories_answer_as_padded_ones(bundle):
    padded = [["007", "商品", "item3"], ["item1", "", ""], ["", "no such", "a,b"], ["", "", ""]]
    plain = bundle.run("serving_default", {"history": np.array(padded, object)})
    lines = np.array(["007\n商品\nitem3", "item1", "no such\n\na,b", ""], object)
    given = bundle.run("recommend_delimited", {"history": lines})
    np.testing.assert_array_equal(given["item_ids"], plain["item_ids"])
    np.testing.assert_allclose(given["scores"], plain["scores"], atol=1e-5)
    assert bundle.run("recommend_delimited", {"history": np.zeros(0, object)})["item_ids"].shape == (0, K_MAX)


def test_what_is_unknown_makes_no_delimited_history_longer(bundle, monkeypatch):
    lines = np.array(["007\n" + "no such\n" * 20_000 + "item3", "item1"], object)
    given = bundle.run("recommend_delimited", {"history": lines})
    plain = bundle.run("serving_default", {"history": np.array([["007", "item3"], ["item1", ""]], object)})
    np.testing.assert_array_equal(given["item_ids"], plain["item_ids"])


def test_everything_that_was_trained_on_goes_in_one_dimension(bundle):
    plain = bundle.signatures["recommend_full"]["inputs"]
    given = bundle.signatures["recommend_full_delimited"]["inputs"]
    assert set(given) == set(plain) and {len(each["shape"]) for each in given.values()} == {1}
    country = np.array(["NA", "US", ""], object)
    history = np.array([["007", "no such", "item3"], ["item1", "", ""], ["", "", ""]], object)
    events = {
        "event_type": np.array([["buy", "view", "view"], ["view", "", ""], ["buy", "", ""]], object),
        "event_my_device": np.array([["phone", "中文", ""], ["", "", ""], ["", "", ""]], object),
        "timestamp": np.array([[100, 200, 2**40], [5, 0, 0], [0, 0, 0]]),
    }
    expected = bundle.run("recommend_full", {"history": history, **events, "user_country": country})
    # Too many values, too few of them, and a time that is none: nothing of it is anybody else's.
    lines = {
        "history": ["007\nno such\nitem3", "item1", ""],
        "event_type": ["buy\nview\nview\nbuy", "view\nbuy", "buy\nbuy"],
        "event_my_device": ["phone\n中文", "", ""],
        "timestamp": [f"100\nnever\n{2**40}", "5", "-7"],
    }
    lines = {name: np.array(values, object) for name, values in lines.items()}
    answer = bundle.run("recommend_full_delimited", {**lines, "user_country": country})
    np.testing.assert_array_equal(answer["item_ids"], expected["item_ids"])
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-5)


def test_filters_go_in_one_dimension(bundle):
    lists = {
        room.ALLOW_ITEMS: [["item5", "007", "商品", "no such"], ["", "", "", ""], ["no such", "", "", ""]],
        room.DENY_ITEMS: [["", ""], ["item1", "item2"], ["", ""]],
        room.ALLOW_CATEGORIES: [["", ""], ["family=a=b", "colour=red"], ["", ""]],
        room.DENY_CATEGORIES: [["family=动作"], [""], [""]],
    }
    lists = {name: np.array(rows, object) for name, rows in lists.items()}
    history = np.array([["item3", ""], ["no such", "007"], ["", ""]], object)
    expected = bundle.run("recommend_filtered", {"history": history, **lists})
    lines = {name: ["\n".join(row).rstrip("\n") for row in rows] for name, rows in lists.items()}
    lines["history"] = ["item3", "no such\n007", ""]
    request = {name: np.array(rows, object) for name, rows in lines.items()}
    answer = bundle.run("recommend_filtered_delimited", request)
    np.testing.assert_array_equal(answer["item_ids"], expected["item_ids"])
    assert answer["item_ids"][0, 0] and answer["item_ids"][1, 0] and not answer["item_ids"][2].any()
    nobody = {name: values[:0] for name, values in request.items()}
    assert bundle.run("recommend_filtered_delimited", nobody)["item_ids"].shape == (0, K_MAX)


def test_a_query_goes_in_one_dimension(bundle):
    plain = bundle.run("embed_query", {"history": np.array([["007", "item3"], ["", ""]], object)})["vector"]
    lines = np.array(["007\nno such\nitem3", ""], object)
    np.testing.assert_allclose(bundle.run("embed_query_delimited", {"history": lines})["vector"], plain, atol=1e-5)


def test_empty_lists_filter_nothing(bundle):
    plain = bundle.run("serving_default", {"history": np.array([["item3"]], object)})
    ids, scores = filtered(bundle)
    assert ids == [item.decode() for item in plain["item_ids"][0]]
    np.testing.assert_allclose(scores, plain["scores"][0], atol=1e-5)


def test_allowed_items_are_all_that_is_left_in_their_order(bundle):
    ids, scores = filtered(bundle, allow_items=["item5", "007", "no such", "item3"])
    assert sorted(ids[:2]) == ["007", "item5"] and ids[2:] == [""] * (K_MAX - 2)  # item3 was seen.
    assert (np.diff(scores[:2]) <= 0).all() and (scores[2:] == np.float32(NO_ITEM_SCORE)).all()


def test_denied_items_make_room_for_the_next(bundle):
    before, _ = filtered(bundle)
    after, _ = filtered(bundle, deny_items=before[:2])
    assert after[: K_MAX - 2] == before[2:] and not set(after) & set(before[:2]) and all(after)


def test_categories_name_their_items(bundle):
    ids, _ = filtered(bundle, allow_categories=["family=a=b", "colour=no such"])
    assert {item for item in ids if item} <= having("family", "a=b")
    ids, _ = filtered(bundle, deny_categories=["family=动作", "colour=red"])
    assert ids[0] and not set(ids) & (having("family", "动作") | having("colour", "red"))


def test_two_lists_leave_what_both_name(bundle):
    both = having("family", "动作") & having("colour", "red") - {IDS[row - 1] for row in NOT_CANDIDATES}
    ids, _ = filtered(bundle, allow_categories=["family=动作"], allow_items=sorted(having("colour", "red")))
    assert {item for item in ids if item} == both and both


def test_where_nothing_is_allowed_the_answer_is_empty_and_marked(bundle):
    for lists in ({"allow_items": ["no such"]}, {"allow_categories": ["family=none"]}, {"deny_items": IDS}):
        ids, scores = filtered(bundle, **lists)
        assert ids == [""] * K_MAX and (scores == np.float32(NO_ITEM_SCORE)).all()


def test_lists_need_a_row_for_each_history(bundle):
    request = {name: np.array([[""]] * 2, object) for name in LISTS}
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have as many rows as history"):
        bundle.run("recommend_filtered", {"history": np.array([["item3"]], object), **request})


def test_without_categories_items_alone_are_listed(exported):
    with open_session(exported) as opened:
        assert set(opened.signatures["recommend_filtered"]["inputs"]) == {"history", "allow_items", "deny_items"}


def test_a_query_and_an_item_multiply_to_the_score(bundle):
    history = np.array([["007", "item3"]], object)
    query = bundle.run("embed_query", {"history": history})["vector"]
    answer = bundle.run("serving_default", {"history": history})
    items = bundle.run("embed_item", {"item_id": answer["item_ids"][0]})
    assert query.shape == (1, DIM) and items["known"].tolist() == [1] * K_MAX
    np.testing.assert_allclose(items["vector"] @ query[0], answer["scores"][0], atol=1e-4)
    unknown = bundle.run("embed_item", {"item_id": np.array(["no such", ""], object)})
    assert unknown["known"].tolist() == [0, 0] and not unknown["vector"].any()


def test_similar_items_are_the_nearest_by_cosine_and_never_the_item_itself(bundle, model):
    vectors = np.asarray(model.item_vectors())[1:]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = ["商品", "no such", IDS[NOT_CANDIDATES[0] - 1]]
    answer = bundle.run("similar_items", {"item_id": np.array(asked, object)})
    for item, ids, scores in zip(asked, answer["item_ids"], answer["scores"], strict=True):
        if item == "no such":
            assert not any(ids) and (scores == np.float32(NO_ITEM_SCORE)).all()
            continue
        cosines = unit @ unit[IDS.index(item)]
        cosines[[IDS.index(item), *(row - 1 for row in NOT_CANDIDATES)]] = -2
        best = np.argsort(-cosines)[:K_MAX]
        assert [one.decode() for one in ids] == [IDS[row] for row in best]
        np.testing.assert_allclose(scores, cosines[best], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "broken", "told"),
    [
        ("_allowed", lambda self, lists: tf.constant(True), "recommend_filtered.*shows one that was seen or is no"),
        ("_of_ids", lambda self, ids: tf.fill([tf.shape(ids)[0], len(IDS) + 1], True), "are shown where"),
        ("_full_delimited", lambda self, history, **rest: self._delimited(history), "recommend_full_delimited"),
        ("_filtered_delimited", lambda self, history, **rest: self._delimited(history), "recommend_filtered_delimited"),
        (
            "_embedded_query_delimited",
            lambda self, history: {"vector": tf.zeros([tf.size(history), DIM])},
            "embed_query_d",
        ),
        (
            "_embedded_query",
            lambda self, history: {"vector": tf.zeros([tf.shape(history)[0], DIM])},
            "embed_query",
        ),
        ("_similar", lambda self, item_id: self._answer({"history": item_id[:, None]}), "similar_items"),
    ],
)
def test_a_graph_that_answers_otherwise_is_not_exported(tmp_path, monkeypatch, model, name, broken, told):
    monkeypatch.setattr(room.CatalogueGraph, name, broken)
    with pytest.raises(ValueError, match=told):
        export(model, described(), tmp_path / "models", k_max=K_MAX)
    assert not list((tmp_path / "models").glob("[0-9]*"))


def test_the_bonus_of_new_items_is_no_likeness(tmp_path):
    model = make_model(rich=False)
    vectors = np.asarray(model.item_vectors())
    wide = np.concatenate([vectors, np.arange(len(vectors))[:, None]], axis=1).astype("float32")
    contract = Contract.of(model, make_data(), K_MAX)
    graph = room.CatalogueGraph.__new__(room.CatalogueGraph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room.ServingGraph, "__init__", lambda self, *arguments: setattr(self, "module", tf.Module()))
        room.CatalogueGraph.__init__(graph, model, VectorTable.of(wide), contract, tmp_path / "ids")
    np.testing.assert_allclose(graph._inverse[1:], 1 / np.linalg.norm(vectors[1:], axis=1), rtol=1e-5)
    assert CatalogueCheck(model, wide, contract)._places["007"] == 1
