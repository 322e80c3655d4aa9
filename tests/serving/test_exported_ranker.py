"""A ranker in Python and on the command line: candidates in order, with titles; what cannot be asked is one line."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conftest import IDS
from tests.serving.rankers import OUTPUTS, make_ranker, ranker_data
from tfrec import cli
from tfrec.ranking import RankerEnsemble
from tfrec.serving import ExportOptions, export, load, load_ranker
from tfrec.serving import exported_ranker as module
from tfrec.serving.session import open_session


@pytest.fixture(scope="module")
def judge(exported_ranker):
    return load_ranker(exported_ranker.parent)


def test_candidates_come_in_the_order_of_the_first_label_with_their_titles(judge, exported_ranker, caplog):
    candidates = ["7", "007", "👻", "🎬", "007"]
    table = judge.predict(["商品", "who?"], candidates)
    request = {"history": np.array([["商品"]], object), "candidates": np.array([candidates], object)}
    with open_session(exported_ranker) as bundle:
        answer = bundle.run("serving_default", request)
    order = np.argsort(-answer["click"][0], kind="stable")
    assert table.item_id.tolist() == [candidates[place] for place in order] and table["rank"].tolist() == [
        1,
        2,
        3,
        4,
        5,
    ]
    for label, output in OUTPUTS.items():
        np.testing.assert_allclose(table[f"predicted_{label}"], answer[output][0][order], rtol=1e-5)
    assert table.set_index("item_id").known.to_dict() == {item: item != "👻" for item in candidates}
    assert dict(zip(table.item_id, table.title, strict=True))["🎬"] == "Title of 🎬"
    assert "1 item ids that the model does not know: who?" in caplog.text


def test_without_candidates_the_catalogue_is_judged_where_it_is_no_larger_than_that(judge, monkeypatch):
    monkeypatch.setattr(module, "A_REQUEST", 7)
    whole = judge.predict(["007"])
    assert sorted(whole.item_id) == sorted(set(IDS) - {"item3"})
    assert judge.predict(["007"], k=3).equals(whole.head(3)) and len(judge.predict(["007"], [])) == 0
    monkeypatch.setattr(module, "MOST_OF_CATALOGUE", 10)
    with pytest.raises(ValueError, match="has 19 items that may be recommended, and without candidates at most 10"):
        judge.predict(["007"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"history": "007"}, "`history` must be a list of item ids; received '007'"),
        ({"history": [], "candidates": "007"}, "`candidates` must be a list of item ids"),
        ({"history": [], "k": 0}, "`k` must be a whole number of at least 1, or None for all; received 0"),
    ],
)
def test_what_is_no_list_is_refused(judge, given, words):
    with pytest.raises(ValueError, match=words):
        judge.predict(**given)


def test_each_kind_of_model_says_how_the_other_is_asked(exported, exported_ranker):
    with pytest.raises(ValueError, match="is a ranker, which judges the candidates that it is given"):
        load(exported_ranker)
    with pytest.raises(ValueError, match="is a model that recommends, and judges no candidates"):
        load_ranker(exported)


def test_the_command_shows_every_prediction(exported_ranker, capsys, monkeypatch):
    words = ["recommend", str(exported_ranker), "--history", "007, 商品", "--candidates", "🎬,nope,7,🎬"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "item", "title", "click", "known", "5-stars"] and len(lines) == 5
    assert sum("(not known to the model)" in line for line in lines) == 1
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["history"] == ["007", "商品"] and len(told["predictions"]) == 4
    assert set(told["predictions"][0]) == {
        "rank",
        "item_id",
        "title",
        "known",
        *(f"predicted_{one}" for one in OUTPUTS),
    }
    assert cli.main(["recommend", str(exported_ranker), "--history", "", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 10
    assert cli.main(["recommend", str(exported_ranker), "--history", "7", "--candidates", ","]) == 0
    assert "--candidates names no item" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--candidates", "7"], "--candidates goes with --history or --events"),
        (["--candidates", "7", "--history", "7", "--text", "shoes"], "--candidates goes with --history or --events"),
        (["--events", "e.csv", "--output", "o.parquet"], "e.csv"),
        (["--events", "e.csv", "--output", "o.parquet", "--candidates", "7", "--text", "x"], "--candidates goes with"),
        (["--text", "shoes"], "is a ranker, which judges the candidates that it is given"),
    ],
)
def test_what_a_ranker_is_not_asked_is_one_line(exported_ranker, capsys, options, words):
    assert cli.main(["recommend", str(exported_ranker), *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]


def test_an_ensemble_is_exported_as_one_ranker_that_says_what_the_mean_of_the_logits_does(ranker, tmp_path):
    other = make_ranker()
    for weight in other.trainable_weights:
        weight.assign(weight * 0.8)
    both = RankerEnsemble([ranker, other])
    served = load_ranker(export(both, ranker_data(), tmp_path, options=ExportOptions("float16")))
    history, candidates = ["007", "item3"], ["7", "商品", "item3"]
    found = served.predict(history, candidates).set_index("item_id").loc[candidates, "predicted_click"]
    rows = {item: row for row, item in enumerate(["", *IDS])}
    features = {name: np.array([[rows[item] for item in each]], np.int32)
                for name, each in (("history", history), ("candidates", candidates))}  # fmt: skip
    logits = [np.asarray(member(features)["click"]) for member in both.members]
    assert np.abs(logits[0] - logits[1]).min() > 0.01
    expected = np.asarray(both.heads[0].value(tf.constant((logits[0] + logits[1]) / 2)))
    np.testing.assert_allclose(found, expected[0], atol=2e-3)
