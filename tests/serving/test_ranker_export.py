"""An exported ranker says of candidates what the Keras model does, whatever it is asked, and is checked before."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.serving.conftest import DIM, IDS, MAX_LENGTH, another, changed
from tests.serving.rankers import OUTPUTS, WIDTH, ranker_data
from tfrec.serving import ExportOptions, gate, operations, prediction_logs, stored_answers
from tfrec.serving.contract import Contract
from tfrec.serving.publisher import publish
from tfrec.serving.ranker_check import RankerCheck
from tfrec.serving.ranker_signatures import MOST_CANDIDATES, RankerGraph
from tfrec.serving.rollbacks import rollback
from tfrec.serving.session import open_session
from tfrec.serving.version_writer import stored

ROW = {item: row for row, item in enumerate(["", *IDS])}


@pytest.fixture(scope="module")
def bundle(exported_ranker):
    with open_session(exported_ranker) as opened:
        yield opened


def texts(*rows):
    width = max(map(len, rows))
    return np.array([[*row, *[""] * (width - len(row))] for row in rows], object).reshape(len(rows), width)


def ask(bundle, history, candidates, **inputs):
    signature = "predict_full" if inputs else "serving_default"
    return bundle.run(signature, {"history": texts(history), "candidates": texts(candidates), **inputs})


def described(steps, judged, types="", device="", times=0, country="", shown="", text=0.0):
    return {
        "event_type": np.array([[types] * steps], object),
        "event_my_device": np.array([[device] * steps], object),
        "timestamp": np.full((1, steps), times, np.int64),
        "user_country": np.array([country], object),
        "user_text": np.full((1, 5), text, np.float32),
        "user_words": np.zeros((1, 2, WIDTH), np.float32),
        "context_my_device": np.array([[shown] * judged], object),
    }


def test_predictions_are_those_of_the_model_by_its_own_table(bundle, ranker):
    candidates = ["7", "007", "🎬", "商品", "7", "item3"]
    answer = ask(bundle, ["", "007", "who?", "商品", "", "item3"], candidates)
    history = np.array([[ROW[item] for item in ("007", "商品", "item3")]], np.int32)
    rows = np.array([[ROW[item] for item in candidates]], np.int32)
    expected = ranker.predictions({"history": history, "candidates": rows})
    assert 0.05 < np.ptp(answer["click"]) and answer["click"].max() < 0.999
    for label, output in OUTPUTS.items():
        np.testing.assert_allclose(answer[output], expected[label], atol=1e-6)
        assert answer[output].dtype == np.float32 and answer[output][0, 0] == answer[output][0, 4]
    assert np.abs(answer["click"][0, 0] - answer["click"][0, 1]) > 1e-3  # 7 and 007 are two items.
    assert answer["known"].tolist() == [[1] * 6] and answer["known_events"].tolist() == [3]


def test_candidates_that_are_unknown_get_the_answer_of_an_item_of_which_nothing_is_known(bundle, ranker):
    answer = ask(bundle, ["007"], ["nope", "7", "", "👻"])
    assert answer["known"].tolist() == [[0, 1, 0, 0]]
    features = {"history": np.array([[ROW["007"], 0]], np.int32), "candidates": np.zeros((1, 1), np.int32)}
    for label, values in ranker.predictions(features).items():
        np.testing.assert_allclose(answer[OUTPUTS[label]][0, [0, 2, 3]], [values[0, 0]] * 3, atol=1e-6)


def test_every_input_counts_but_neutral_ones_and_unknown_values_are_missing(bundle):
    assert set(bundle.signatures["predict_full"]["inputs"]) == {"history", "candidates", *described(1, 1)}
    assert bundle.signatures["serving_default"]["inputs"]["candidates"] == {"dtype": "string", "shape": [-1, -1]}
    plain = ask(bundle, ["7", "🎬"], ["a,b"])["click"]
    missing = described(2, 1, types="nothing", device="such", country="XX", shown="?")
    np.testing.assert_allclose(ask(bundle, ["7", "🎬"], ["a,b"], **missing)["click"], plain, atol=1e-6)
    for change in ({"types": "buy"}, {"device": "phone"}, {"times": 10**9}, {"country": "US"}, {"text": 2.0},
                   {"shown": "中文"}):  # fmt: skip
        other = ask(bundle, ["7", "🎬"], ["a,b"], **described(2, 1, **change))["click"]
        assert np.abs(other - plain).max() > 1e-4, change


def test_words_are_as_many_as_a_text_has_and_count_for_items_that_have_some(bundle, ranker):
    inputs, judged = described(1, 4), ["007", "商品", "nope", "item1"]
    inputs["user_words"] = np.arange(2 * WIDTH, dtype=np.float32).reshape(1, 2, WIDTH)
    answer = ask(bundle, ["7"], judged, **inputs)["click"]
    silent = ask(bundle, ["7"], judged, **described(1, 4))["click"]
    told = ranker.word_attention.item_words.numpy().any(axis=(1, 2))[[ROW.get(item, 0) for item in judged]]
    assert told.tolist() == [True, True, False, True] and (np.abs(answer - silent)[0, told] > 1e-4).all()
    np.testing.assert_allclose(answer[0, ~told], silent[0, ~told], atol=1e-6)
    longer = inputs | {"user_words": np.pad(inputs["user_words"], [(0, 0), (1, 3), (0, 0)])}
    np.testing.assert_allclose(ask(bundle, ["7"], judged, **longer)["click"], answer, atol=1e-6)
    none = inputs | {"user_words": inputs["user_words"][:, :0]}
    np.testing.assert_allclose(ask(bundle, ["7"], judged, **none)["click"], silent, atol=1e-6)


def test_only_the_newest_events_are_read_and_a_candidate_does_not_depend_on_the_others(bundle):
    long = list(IDS[:9])
    whole, newest = (ask(bundle, part, ["item1", "7"])["click"] for part in (long, long[-MAX_LENGTH:]))
    np.testing.assert_allclose(whole, newest, atol=1e-6)
    np.testing.assert_allclose(ask(bundle, long, ["7", "x", "item1"])["click"][0, [2, 0]], whole[0], atol=1e-6)


@pytest.mark.parametrize(("users", "steps", "judged"), [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0), (1, 0, 0)])
def test_nobody_nothing_and_no_candidate_are_requests_too(bundle, users, steps, judged):
    empty = {"history": np.full((users, steps), "", object), "candidates": np.full((users, judged), "", object)}
    answer = bundle.run("serving_default", empty)
    for output in OUTPUTS.values():
        assert answer[output].shape == (users, judged) and np.isfinite(answer[output]).all()
    assert answer["known"].sum() == answer["known_events"].sum() == 0


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (lambda: (["7"], ["7"] * (MOST_CANDIDATES + 1), {}), "candidates may be 10000 a row at most"),
        (lambda: (["7"], ["7", "007"], described(1, 1)), "context_my_device must have the shape of candidates"),
        (lambda: (["7"], ["7"], described(2, 1)), "event_my_device must have the shape of history"),
    ],
)
def test_requests_that_do_not_fit_are_refused(bundle, request_of, words):
    history, candidates, inputs = request_of()
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        ask(bundle, history, candidates, **inputs)


def test_rows_of_history_and_candidates_must_be_as_many(bundle):
    with pytest.raises(tf.errors.InvalidArgumentError, match="candidates must have as many rows as that of history"):
        bundle.run("serving_default", {"history": texts(["7"]), "candidates": texts(["7"], ["7"])})


def test_a_version_holds_what_serving_reads_and_says_what_it_predicts(exported_ranker, ranker):
    told = json.loads((exported_ranker / "assets.extra" / "manifest.json").read_text("utf-8"))
    assert told["kind"] == "ranker" and "k_max" not in told and told["self_check"]["largest_difference"] < 1e-5
    assert [(each["label"], each["output"], each["is"], each["range"]) for each in told["labels"]] == [
        ("click", "click", "probability", [0, 1]), ("known", "known_", "probability", [0, 1]),
        ("5-stars", "5_stars", "rating", [1, 5]),
    ]  # fmt: skip
    assert told["inputs"]["context_my_device"] == told["inputs"]["event_my_device"] == "my device"
    items = pd.read_parquet(exported_ranker / "assets.extra" / "items.parquet")
    assert items.loc[~items.candidate, "item_id"].tolist() == ["item3"]
    reader = tf.train.load_checkpoint(str(exported_ranker / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert len(names) == 1 + len(ranker.weights) - len(ranker.item_tower.weights)
    assert sorted(map(reader.get_variable_to_shape_map().get, names)).count([len(IDS) + 1, DIM]) == 1
    asked = {
        name for name, _, _ in prediction_logs.read(exported_ranker / "assets.extra" / "tf_serving_warmup_requests")
    }
    assert asked == {"serving_default", "predict_full"}
    assert {name for part, _ in operations.parts(exported_ranker) for name in part} <= set(dir(tf.raw_ops))


@pytest.fixture(scope="module")
def check(ranker):
    contract = Contract.of_ranker(ranker, ranker_data())
    return RankerCheck(ranker, stored(ranker, ExportOptions("int8")).restored, contract)


def test_vectors_in_eight_bits_are_those_that_the_check_compares_with(ranker, check, tmp_path):
    graph = RankerGraph(ranker, stored(ranker, ExportOptions("int8")), check.contract, tmp_path / "ids.txt")
    inputs = {"history": texts(["7", "🎬"]), "candidates": texts(["007", "item1"])}
    given = graph.signatures["serving_default"](**{name: tf.constant(values) for name, values in inputs.items()})
    np.testing.assert_allclose(given["click"], check._answer(inputs)["click"], atol=1e-6)
    rows = {name: np.array([[ROW[item] for item in values[0]]]) for name, values in inputs.items()}
    whole = ranker.predictions(rows)
    assert 1e-5 < np.abs(given["click"] - whole["click"]).max() < 0.05


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda found: {**found, "5_stars": found["5_stars"] + 0.1}, "predictions differ from the model's by 0.02"),
        (lambda found: {**found, "known": 1 - found["known"]}, "known is "),
        (lambda found: {**found, "click": found["click"] * np.float32(np.nan)}, "click is not finite"),
        (lambda found: {**found, "click": found["click"][:, :1]}, "click is float32"),
        (lambda found: {"click": found["click"]}, "the outputs are click, not"),
    ],
)
def test_a_graph_that_answers_otherwise_is_not_exported(check, broken, words):
    """In the place of the loaded version stands the model itself, and what it says is changed."""
    answers = SimpleNamespace(run=lambda signature, inputs: check._answer(inputs))
    history, rng = texts(["7", "who?", "🎬"], []), np.random.default_rng(0)
    assert check._compare(answers, "predict_full", history, rng) < 1e-6
    answers = SimpleNamespace(run=lambda signature, inputs: broken(check._answer(inputs)))
    with pytest.raises(ValueError, match=words):
        check._compare(answers, "predict_full", history, rng)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_the_gate_asks_it_in_a_session_and_in_c(exported_ranker, monkeypatch):
    monkeypatch.setenv("CC", "gcc")
    assert gate.verify(exported_ranker) == {"asked_in": ["session", "c"], "made_up": 8, "real": 0}


def test_an_answer_that_is_not_the_models_bars_a_version(exported_ranker, tmp_path, monkeypatch):
    copied = tmp_path / "copy" / "1"
    shutil.copytree(exported_ranker, copied)
    asked = list(prediction_logs.read(copied / stored_answers.FILE))
    for name, change, words in (
        ("click", 0.1, "predictions differ by 0.* of their scale"), ("known", 1, "other items are known"),
        ("5_stars", np.nan, "predictions differ by nan"),
    ):  # fmt: skip
        prediction_logs.write(
            tmp_path / "log", [(key, inputs, {**found, name: found[name] + np.array(change, found[name].dtype)})
                               for key, inputs, found in asked],
        )  # fmt: skip
        changed(copied, stored_answers.FILE, (tmp_path / "log").read_bytes())
        with pytest.raises(ValueError, match=words):
            gate.verify(copied)


def test_what_it_costs_is_compared(exported_ranker):
    report = gate.compare(exported_ranker, exported_ranker, gate.Limits(1000.0))
    assert report["compared_with"] == 1 and min(report["milliseconds"]) > 0


def test_it_is_published_beside_its_own_kind_alone(exported_ranker, exported, tmp_path, unasked):
    published = publish(exported_ranker, tmp_path / "models", "clicks")
    copied = tmp_path / "copy" / "1"
    shutil.copytree(exported_ranker, copied)
    assert [published.name, publish(another(copied, 2), tmp_path / "models", "clicks").name] == ["1", "2"]
    assert rollback(tmp_path / "models" / "clicks").name == "1"
    with pytest.raises(ValueError, match="holds the versions of a ranker, and this is a model that recommends"):
        publish(exported, tmp_path / "models", "clicks")
    assert sorted(path.name for path in (tmp_path / "models" / "clicks").iterdir()) == ["1", "2"]


def test_an_input_beside_those_of_the_towers_is_asked_for_by_its_column():
    grid = [tf.TensorSpec([None, None], tf.int32)] * 4
    model = SimpleNamespace(
        item_tower=SimpleNamespace(items=len(IDS) + 1),
        behavior_tower=SimpleNamespace(event_columns={}, user_columns={}),
        heads=[SimpleNamespace(name="click")],
        input_spec_dict=dict(zip(("history", "candidates", "after", "event_slot"), grid, strict=True)),
    )
    contract = Contract.of_ranker(model, ranker_data())
    assert contract.columns == {"event_slot": "slot"} and contract.vocabularies == {"event_slot": ("first", "later")}
    assert set(contract.specs) == {"history", "candidates", "event_slot"} and contract.of_events("event_slot")
    assert not contract.of_events("candidates")
