"""An exported two-stage model answers every signature as the Keras model does, by both of its stages."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.serving.conftest import IDS, make_data
from tests.serving.two_stages import RANK, RECALL, candidates, make_two_stage
from tfrec.serving import ExportOptions, load, manifest, recommend_file, stored_answers
from tfrec.serving.catalogue_check import CatalogueCheck
from tfrec.serving.contract import Contract
from tfrec.serving.exporter import export
from tfrec.serving.second_check import SecondCheck
from tfrec.serving.session import open_session
from tfrec.serving.signatures import NO_ITEM_SCORE
from tfrec.serving.version_writer import stored

ROW = {item: row for row, item in enumerate(["", *IDS])}
HISTORY = ["007", "商品", "item3"]


@pytest.fixture(scope="module")
def model():
    return make_two_stage()


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    return export(model, make_data(), tmp_path_factory.mktemp("two_stage"))


@pytest.fixture(scope="module")
def bundle(version):
    with open_session(version) as opened:
        yield opened


def named(answer):
    return [item.decode() for item in answer["item_ids"][0]]


def expected(model, history, **inputs):
    """Ids and scores by the Keras model's own way through both stages."""
    rows = np.array([[ROW[item] for item in history]], np.int32)
    features = {"history": rows[:, -5:], "seen": rows, **inputs}
    found, scores = model.top(model.item_tables(), features, model.rank)
    return [IDS[row - 1] for row in found.numpy()[0]], scores.numpy()[0]


def test_both_stages_answer_and_the_second_one_orders(bundle, model, version):
    answer = bundle.run("serving_default", {"history": np.array([HISTORY], object)})
    ids, scores = expected(model, HISTORY)
    assert named(answer) == ids and len(ids) == RANK
    np.testing.assert_allclose(answer["scores"][0], scores, rtol=1e-5, atol=1e-5)
    rows = np.array([[ROW[item] for item in HISTORY]], np.int32)
    alone = model.retrieval({"history": rows, "seen": rows}).numpy()[0]
    assert ids != [IDS[row - 1] for row in np.argsort(-alone)[:RANK]]
    assert {ROW[item] for item in ids} <= set(np.argsort(-alone)[:RECALL])
    told = manifest.read(version)
    assert told["k_max"] == told["answer_size"] == RANK and told["score"]["recall"] == RECALL
    assert told["self_check"]["largest_difference"] < 1e-5 and "kind" not in told


def test_every_input_reaches_both_stages(bundle, model):
    request = {
        "history": np.array([HISTORY], object),
        "event_type": np.array([["buy", "view", "buy"]], object),
        "event_my_device": np.array([["", "phone", ""]], object),
        "timestamp": np.array([[5, 10**6, 10**9]], np.int64),
        "user_country": np.array(["US"], object),
    }
    inputs = {
        "event_type": np.array([[1, 2, 1]], np.int32),
        "event_my device": np.array([[0, 2, 0]], np.int32),
        "timestamp": request["timestamp"],
        "user_country": np.array([2], np.int32),
    }
    answer = bundle.run("recommend_full", request)
    ids, scores = expected(model, HISTORY, **inputs)
    assert named(answer) == ids
    np.testing.assert_allclose(answer["scores"][0], scores, rtol=1e-5, atol=1e-5)
    assert np.abs(scores - expected(model, HISTORY)[1]).max() > 1e-3


def test_a_filter_chooses_before_recall(bundle):
    allowed = [item for item in candidates() if item not in HISTORY][:3]
    lists = {"allow_items": np.array([allowed], object), "deny_items": np.array([[allowed[0]]], object)}
    answer = bundle.run("recommend_filtered", {"history": np.array([HISTORY], object), **lists})
    assert sorted(named(answer)[:2]) == sorted(allowed[1:]) and named(answer)[2:] == [""] * (RANK - 2)
    assert (answer["scores"][0, 2:] == np.float32(NO_ITEM_SCORE)).all()
    lines = bundle.run("recommend_delimited", {"history": np.array(["\n".join(HISTORY)], object)})
    assert named(lines) == named(bundle.run("serving_default", {"history": np.array([HISTORY], object)}))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_nobody_and_nothing_are_requests_too(bundle, model, shape):
    answer = bundle.run("serving_default", {"history": np.full(shape, "", object)})
    assert answer["scores"].shape == (shape[0], RANK) and np.isfinite(answer["scores"]).all()
    if shape[0]:
        found, _ = model.top(model.item_tables(), {"history": np.zeros((1, 2), np.int32)}, RANK)
        assert named(answer) == [IDS[row - 1] for row in found.numpy()[0]]


def test_it_is_asked_as_any_model_that_recommends(version, tmp_path):
    loaded = load(version)
    table = loaded.recommend([HISTORY, []], RANK)
    assert len(table) == 2 * RANK and table.title.str.startswith("Title of").all()
    with pytest.raises(ValueError, match=f"`k` must be from 1 to {RANK}"):
        loaded.recommend([HISTORY], RANK + 1)
    events = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["007", "商品", "7"], "timestamp": [1, 2, 3]})
    table = pd.read_parquet(recommend_file(loaded, events, tmp_path / "recs.parquet", k=3))
    assert table.user_id.tolist() == ["u"] * 3 + ["v"] * 3 and not set(table.item_id[:3]) & {"007", "商品"}


def test_what_is_asked_again_before_it_is_published_are_its_own_answers(version, bundle):
    told = stored_answers.compare(version, bundle, 1e-5)
    assert told["made_up"] == 8 and told["largest_difference"] < 1e-5


def test_diverse_answers_are_those_of_the_model(tmp_path):
    model = make_two_stage(diverse=True)
    version = export(model, make_data(), tmp_path)
    assert manifest.read(version)["self_check"]["same_lists"] == 1.0
    with open_session(version) as opened:
        answer = opened.run("serving_default", {"history": np.array([HISTORY], object)})
    ids, scores = expected(model, HISTORY)
    assert named(answer) == ids and (np.diff(scores) > 0).any()
    np.testing.assert_allclose(answer["scores"][0], scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [ExportOptions("int8"), ExportOptions(index="ivf")])
def test_what_would_change_the_first_scores_is_refused(model, tmp_path, options):
    with pytest.raises(ValueError, match="a model of two stages is exported with quantization float32"):
        export(model, make_data(), tmp_path, options=options)


def test_a_second_stage_that_answers_otherwise_is_noticed(model, bundle):
    """What the loaded version says is changed on its way to the check."""
    contract = Contract.of(model.retrieval, make_data(), RANK)
    check = CatalogueCheck(
        model.retrieval, stored(model.retrieval, ExportOptions()).restored, contract, 1.0, SecondCheck(model)
    )
    history, rng = np.array([HISTORY, ["who?", "", "7"]], object), np.random.default_rng(0)
    assert check._compare(bundle, "recommend_full", history, rng) < 1e-5
    for name, change, words in (
        ("scores", lambda scores: scores + 0.01, "scores differ from the model's by"),
        ("item_ids", lambda ids: ids[:, ::-1], "scores differ from the model's by"),
        ("item_ids", lambda ids: np.array([[b"007"] * RANK] * 2), "the answer repeats an item"),
    ):
        run = lambda *asked, name=name, change=change: (answer := bundle.run(*asked)) | {name: change(answer[name])}  # noqa: E731
        with pytest.raises(ValueError, match=words):
            check._compare(SimpleNamespace(run=run), "serving_default", history, rng)
