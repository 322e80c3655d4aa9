"""The text model as a server loads it: what a text does to an answer, and what any bytes do to it."""

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import words
from tests.serving.conftest import IDS, K_MAX, NOT_CANDIDATES, make_data, make_model
from tfrec.serving import load
from tfrec.serving.exporter import export
from tfrec.serving.session import open_session
from tfrec.serving.text_exporter import AWKWARD, export_text
from tfrec.serving.text_signatures import Words, resources

HISTORY = ["007", "商品", "item3"]


@pytest.fixture(scope="module")
def text():
    return words.bert()


@pytest.fixture(scope="module", params=[False, True], ids=["query", "user_text"])
def pair(request, text, tmp_path_factory):
    """The folders of a model and of its text model, and the model."""
    model, folder = words.two_tower(text, user_text=request.param), tmp_path_factory.mktemp("pair")
    plain = export(model, make_data(), folder / "shop", k_max=K_MAX)
    return plain, export_text(model, make_data(), words.encoder(text), folder / "shop_text", k_max=K_MAX), model


@pytest.fixture(scope="module")
def opened(pair):
    with open_session(pair[0]) as plain, open_session(pair[1]) as told:
        yield plain, told


def ask(bundle, texts, history=(), signature="serving_default"):
    histories = np.array([list(history)] * len(texts), object).reshape(len(texts), len(history))
    answer = bundle.run(signature, {"history": histories, "text": np.array(texts, object)})
    return [[item.decode() for item in row] for row in answer["item_ids"]], answer["scores"]


@pytest.mark.parametrize("history", [[], HISTORY], ids=["empty", "history"])
@pytest.mark.parametrize("blank", ["", "  \t", "\u3000\u00a0\n"])
def test_a_text_that_says_nothing_leaves_the_answer_as_it_is(opened, history, blank):
    plain, told = opened
    expected = plain.run("serving_default", {"history": np.array([history], object).reshape(1, len(history))})
    ids, scores = ask(told, [blank], history)
    assert ids[0] == [item.decode() for item in expected["item_ids"][0]]
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-5)


@pytest.mark.parametrize("history", [[], HISTORY], ids=["empty", "history"])
def test_a_text_and_a_history_both_count(opened, history):
    _, told = opened
    answers = {text: ask(told, [text], history)[1].tolist() for text in ("", "nail polish", "title of 商品")}
    assert len({str(scores) for scores in answers.values()}) == 3
    if history:
        assert not set(ask(told, ["nail polish"], history)[0][0]) & set(history)
        assert ask(told, ["nail polish"])[1].tolist() != answers["nail polish"]


def test_both_names_are_one_signature(opened):
    _, told = opened
    assert ask(told, ["nail"], HISTORY)[0] == ask(told, ["nail"], HISTORY, "recommend")[0]
    assert set(told.signatures) == {"serving_default", "recommend", "recommend_delimited", "embed_text"}
    assert told.signatures["embed_text"]["outputs"]["vector"]["shape"] == [-1, words.WIDTH]


def test_a_delimited_history_with_a_text_answers_as_a_padded_one(opened):
    _, told = opened
    texts = np.array(["nail polish", "", "title of 商品"], object)
    rows = np.array([["007", "no such", "item3"], ["item1", "", ""], ["", "", ""]], object)
    expected = told.run("serving_default", {"history": rows, "text": texts})
    lines = np.array(["007\nno such\nitem3", "item1", ""], object)
    answer = told.run("recommend_delimited", {"history": lines, "text": texts})
    np.testing.assert_array_equal(answer["item_ids"], expected["item_ids"])
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-5)


def test_vectors_of_texts_are_the_text_models(opened, text):
    given = opened[1].run("embed_text", {"text": np.array(["nail polish", "", "商品 title", "nail polish"], object)})
    expected = words.embed(text, "nail polish", "title", "商品 title", "nail polish")
    expected[1] = 0
    np.testing.assert_allclose(given["vector"], expected, atol=1e-5)


@pytest.mark.parametrize("awkward", AWKWARD, ids=range(len(AWKWARD)))
def test_any_bytes_are_answered(opened, awkward):
    ids, scores = ask(opened[1], [awkward], HISTORY)
    assert len(set(ids[0])) == K_MAX and np.isfinite(scores).all()


def test_rows_do_not_touch_one_another(opened):
    together = ask(opened[1], ["nail", "", "title of item " * 9, "nail"], HISTORY)
    assert together[0][0] == together[0][3]
    for row, one in enumerate(["nail", "", "title of item " * 9]):
        np.testing.assert_allclose(ask(opened[1], [one], HISTORY)[1][0], together[1][row], atol=1e-4)


def test_no_users_at_all_are_answered(opened):
    assert ask(opened[1], [])[1].shape == (0, K_MAX)
    assert opened[1].run("embed_text", {"text": np.zeros(0, object)})["vector"].shape == (0, words.WIDTH)


@pytest.mark.parametrize(("texts", "histories"), [(2, 3), (0, 1), (3, 1)])
def test_each_history_has_a_text(opened, texts, histories):
    request = {"history": np.full((histories, 2), "007", object), "text": np.full(texts, "nail", object)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="text must have as many rows as history"):
        opened[1].run("serving_default", request)


def test_a_query_is_scored_by_likeness_beside_the_history(text):
    model = words.two_tower(text)
    meaning = Words.of(model, text, 4.0)
    np.testing.assert_allclose(np.linalg.norm(meaning.items.restored[1:], axis=1), 1, atol=1e-5)
    different = np.unique(meaning.items.restored[1:], axis=0)
    cosines = (different @ different.T)[np.triu_indices(len(different), 1)]
    assert meaning.scale * cosines.std() == pytest.approx(4.0, rel=1e-3)
    assert Words.of(model, text, 8.0).scale == pytest.approx(2 * meaning.scale)


def test_items_of_one_text_or_none_are_no_error(text):
    model = words.two_tower(text)
    for vectors in (np.ones((len(IDS) + 1, words.WIDTH)), np.zeros((len(IDS) + 1, words.WIDTH))):
        model.item_tower.set_features(text=vectors)
        assert np.isfinite(Words.of(model, text, 4.0).scale)


def test_a_trained_user_text_is_what_the_model_calls_it(opened, pair, text):
    plain, told = opened
    if not pair[2].behavior_tower.text_width:
        assert "user_text" not in plain.signatures["recommend_full"]["inputs"]
        return
    texts = np.array(["nail polish", "", "title of 商品"], object)
    request = {
        "history": np.array([HISTORY] * 3, object),
        "user_country": np.full(3, "", object),
        "user_text": told.run("embed_text", {"text": texts})["vector"],
    }
    full = plain.run("recommend_full", request)
    ids, scores = ask(told, texts, HISTORY)
    assert ids == [[item.decode() for item in row] for row in full["item_ids"]]
    np.testing.assert_allclose(scores, full["scores"], atol=1e-5)
    assert full["scores"][0].tolist() != full["scores"][1].tolist()
    with pytest.raises(tf.errors.InvalidArgumentError, match="user_text must have as many rows as that of history"):
        plain.run("recommend_full", {**request, "user_text": request["user_text"][:2]})


@pytest.mark.long
def test_byte_pairs_are_cut_in_the_graph_too(tmp_path):
    text = words.gpt2()
    assert len(resources(text.tokenizer)) >= 3
    folder = export_text(words.two_tower(text), make_data(), words.encoder(text), tmp_path, k_max=K_MAX)
    with open_session(folder) as told:
        given = told.run("embed_text", {"text": np.array(["nail polish", "nail", ""], object)})["vector"]
        assert ask(told, ["never seen before"], HISTORY)[0][0]
    np.testing.assert_allclose(given[:2], words.embed(text, "nail polish", "nail"), atol=1e-5)
    assert not given[2].any()


def test_a_model_without_text_has_no_text_model(text, tmp_path):
    with pytest.raises(ValueError, match="`model` reads no text: train it with `model.text`"):
        export_text(make_model(), make_data(), words.encoder(text), tmp_path)
    model = words.two_tower(text)
    model.item_tower.text_width = 7
    with pytest.raises(ValueError, match="`text` gives vectors of 16 numbers, and the model reads 7: another model"):
        export_text(model, make_data(), words.encoder(text), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_candidates_are_those_of_the_model(pair):
    table = load(pair[1]).recommend([[]], K_MAX, texts=["title of item"])
    assert not {IDS[row - 1] for row in NOT_CANDIDATES} & set(table.item_id)
