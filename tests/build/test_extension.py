"""A model with another catalogue: old items score as before, new ones by what describes them, the argument stays."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import tfrec
from tests import tiny_shop
from tfrec import build, config
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare
from tfrec.features import HISTORY
from tfrec.towers.text import MINILM_PACKAGE

ROWS = tiny_shop.ITEMS + 2


def table():
    return tiny_shop.items().assign(price=np.arange(tiny_shop.ITEMS + 1.0))


def prepared(categorical=("family",), numeric=("price",), text=("name",)):
    columns = ItemColumns("sku", text, dict.fromkeys(categorical), numeric)
    events = EventColumns("who", "what", "at", event_type="kind")
    return prepare(tiny_shop.events(), table(), options=PrepareOptions(events=events, items=columns, max_length=6))


@pytest.fixture(scope="module")
def data():
    return prepared()


def words(texts):
    """A text model of two dimensions."""
    return np.array([[len(text), text.count("Thing")] for text in texts], "float32")


def modelled(data, monkeypatch=None, **changes):
    """A model with weights that tell items apart."""
    if monkeypatch:
        monkeypatch.setattr("tfrec.build.text.text_vectors", lambda texts, settings: words(texts))
    model = build.two_tower(data, dim=8, seed=1, **{"text": "none", **changes})
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    return model


def vectors(model):
    return np.asarray(model.item_vectors())


def weights(model):
    return [np.asarray(weight.value) for weight in model.weights]


def new_items(*rows):
    return pd.DataFrame(rows, columns=["sku", "name", "family", "price"])


@pytest.mark.parametrize("objective", ["softmax", "sampled_softmax", "retrieval"])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_old_items_score_as_before_and_a_twin_as_its_twin(data, objective, similarity):
    training = config.change(config.Training(), {"objective.name": objective, "objective.negatives": 4})
    model = modelled(data, training=training, similarity=similarity, behavior=["attention", "lstm"])
    before = weights(model)
    cold = table().iloc[[-1]]  # Nobody has had it: it has no trained id.
    wide, more = build.with_items(model, data, pd.concat([table(), cold.assign(sku="twin")]))
    assert len(more.items) == wide.item_tower.items == ROWS + 1
    np.testing.assert_allclose(vectors(wide)[:ROWS], vectors(model), atol=1e-6)
    np.testing.assert_allclose(vectors(wide)[-1], vectors(model)[-1], atol=1e-6)
    asked = {HISTORY: np.array([[4, 7, 2], [9, 0, 0]], "int32")}
    scores, old = np.asarray(wide(asked)), np.asarray(model(asked))
    np.testing.assert_allclose(scores[:, 1 : ROWS - 1], old[:, 1:-1], atol=1e-5)
    np.testing.assert_allclose(scores[:, -1], scores[:, -2], atol=1e-6)
    assert wide.candidates == list(range(1, ROWS + 1))
    assert all((one == other).all() for one, other in zip(before, weights(model), strict=True))
    assert np.asarray(wide.item_tower.trained.value)[-2:].tolist() == [[0], [0]]


def test_the_extended_model_shares_no_weights(data):
    model = modelled(data)
    before = weights(model)
    wide, more = build.with_items(model, data, table())
    wide.compile()
    wide.fit(more.train(tokens_per_batch=128), epochs=1, verbose=0)
    assert all((one == other).all() for one, other in zip(before, weights(model), strict=True))


def test_the_result_is_exported_and_measured_like_any_other(data, tmp_path):
    wide, more = build.with_items(
        modelled(data), data, pd.concat([table().iloc[10:], new_items(("新", "跑步 👟", "family 2", 3.0))])
    )
    answers = tfrec.serving.load(tfrec.export(wide, more, tmp_path, k_max=50))
    found = answers.recommend([["003", "012"], ["新"]], 50)
    first = found[found["row"] == 0].set_index("item_id")
    assert set(first.index) == {*table()["sku"][10:], "新"} - {"012"}
    assert first.loc["新", "title"] == "跑步 👟"
    assert "新" not in set(found["item_id"][found["row"] == 1])
    assert 0 <= tfrec.evaluate(wide, more, cutoffs=(5,), depth=5).metrics["hr@5"] <= 1


def test_dropped_items_still_speak_in_histories(data, tmp_path):
    model = modelled(data)
    wide, more = build.with_items(model, data, table().iloc[10:])
    asked = {HISTORY: np.array([[4, 6], [0, 0]], "int32")}  # Items 003 and 005, which are gone, and nobody's history.
    scores, before = np.asarray(wide(asked)), np.asarray(model(asked))
    np.testing.assert_allclose(scores[:, 11:-1], before[:, 11:-1], atol=1e-5)
    assert np.abs(scores[0, 11:] - scores[1, 11:]).max() > 0.01
    assert (scores[:, :11] < scores[:, 11:].min() - 100).all()


def test_texts_that_are_new_or_changed_are_embedded_and_no_others(data, monkeypatch):
    model, asked = modelled(data, monkeypatch, text="stand-in"), []
    old = table()
    old.loc[8, "name"] = "Thing Thing"

    def spy(texts):
        asked.extend(texts)
        return words(texts)

    new = pd.concat([old, new_items(("n", "Thing new", "", np.nan), ("z", "", "family 1", 1.0))])
    wide, _ = build.with_items(model, data, new, text=spy)
    assert asked == ["Thing Thing", "Thing new", ""]
    monkeypatch.setattr("tfrec.build.extension.text_vectors", lambda texts, settings: words(texts))
    same, _ = build.with_items(model, data, new, text={"source": "stand-in"})
    np.testing.assert_array_equal(same.item_tower.text, wide.item_tower.text)
    text = np.asarray(wide.item_tower.text.value)
    assert text[[9, -2, -1]].tolist() == [[11, 2], [9, 1], [0, 0]]
    np.testing.assert_array_equal(np.delete(text, [9, -2, -1], 0), np.delete(np.asarray(model.item_tower.text), 9, 0))
    build.with_items(model, data, table())  # Nothing to embed, and no text model needed.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("none", "which makes no vectors"),
        ("another", "which makes other vectors"),
        (config.Text(source="another"), "received 'another', which makes other vectors"),
        ({"source": "another", "pooling": "first"}, "received 'another', which makes other vectors"),
        (lambda texts: np.ones((len(texts), 3)), r"vectors of the width 2 of the model; received \(1, 3\)"),
        (lambda texts: None, "received None"),
    ],
)
def test_another_text_model_is_refused(data, monkeypatch, text, told):
    model = modelled(data, monkeypatch, text="stand-in")
    monkeypatch.setattr(
        "tfrec.build.extension.text_vectors",
        lambda texts, settings: None if settings.source == "none" else words(texts) + 1,
    )
    with pytest.raises(ValueError, match=told):
        build.with_items(model, data, pd.concat([table(), new_items(("n", "new", "", 1.0))]), text=text)


def test_an_item_that_nothing_describes_is_left_out_and_said(data, caplog):
    new = new_items(("bare", "a title that it does not read", "unheard", np.nan), ("priced", "", "", 4.0))
    wide, more = build.with_items(modelled(data), data, pd.concat([table(), new]))
    assert more.items["item_id"][wide.candidates].tolist() == [*table()["sku"], "priced"]
    assert more.manifest["counts"]["candidates"] == ROWS == more.items["candidate"].sum()
    assert "items: 1 of 33 are not recommended, having no trained id and no text or feature" in caplog.text
    assert caplog.text.count("'bare'") == 1


def test_a_text_that_the_text_model_cannot_read_describes_nothing(data, monkeypatch, caplog):
    model = modelled(data, monkeypatch, text="stand-in", item_features=False)
    new = new_items(("emoji", "🎁", "", np.nan), ("words", "Thing", "", np.nan))
    _, more = build.with_items(
        model, data, pd.concat([table(), new]), text=lambda texts: words(texts) * [["🎁" not in t] for t in texts]
    )
    assert "words" in set(more.items["item_id"][more.items["candidate"]])
    assert "emoji" not in set(more.items["item_id"][more.items["candidate"]])
    assert "no text or feature that the model reads: 'emoji'" in caplog.text


def test_ids_alone_describe_no_new_item_but_choose_among_the_old(data):
    model = modelled(data, item_features=False)
    with pytest.raises(ValueError, match="knows items by their ids alone, and .* has 1 new ones, such as 'n'"):
        build.with_items(model, data, pd.concat([table(), new_items(("n", "", "family 1", 1.0))]))
    wide, more = build.with_items(model, data, table().iloc[20:])
    assert more.items["item_id"][wide.candidates].tolist() == table()["sku"][20:-1].tolist()  # The last has no id.
    np.testing.assert_allclose(vectors(wide), vectors(model), atol=1e-6)


def test_tables_without_what_the_model_reads_are_refused(data, monkeypatch):
    with pytest.raises(ValueError, match="No item of the table 'items' has a text or a feature"):
        build.with_items(modelled(data, ids=False), data, table().assign(family="", price=np.nan))
    with pytest.raises(ValueError, match=r"no text at all in 'name', and the model was trained with texts"):
        build.with_items(modelled(data, monkeypatch, text="stand-in"), data, table().assign(name=" "), text=words)


def test_a_model_of_other_data_is_refused(data):
    with pytest.raises(ValueError, match="`data` must be the data set that the model was trained on"):
        build.with_items(modelled(data), prepared(categorical=()), table())


@pytest.mark.slow
@pytest.mark.skipif(find_spec(MINILM_PACKAGE) is None, reason="the MiniLM wheel is not installed")
def test_the_pretrained_text_places_a_new_item_beside_its_kin():
    names = [f"running shoes model {item}" if item % 2 else f"kitchen knife no. {item}" for item in range(31)]
    items = table().assign(name=names)
    events = EventColumns("who", "what", "at")
    options = PrepareOptions(events=events, items=ItemColumns("sku", ("name",)), max_length=6)
    data = prepare(tiny_shop.events(), items, options=options)
    model = build.two_tower(data, dim=8, text="minilm", ids=False, seed=1)
    new = pd.concat([items, new_items(("n", "jogging sneakers for women", "", 1.0))])
    wide, more = build.with_items(model, data, new, text="minilm")
    text = np.asarray(wide.item_tower.text.value)
    likeness = pd.Series(text[1:-1] @ text[-1]).groupby(np.arange(31) % 2).mean()
    assert likeness[1] > likeness[0] + 0.2
    assert more.items["text"].iloc[-1] == "jogging sneakers for women"
    with pytest.raises(ValueError, match="received 'none', which makes no vectors"):
        build.with_items(model, data, new, text="none")
