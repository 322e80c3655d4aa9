import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conftest import DIM, IDS, K_MAX, MAX_LENGTH, NOT_CANDIDATES, make_data, make_model
from tfrec.data.vocabulary import Vocabulary
from tfrec.retrieval import FullSoftmax, TwoTower
from tfrec.serving.exporter import export
from tfrec.serving.request_reader import newest, taken
from tfrec.serving.session import open_session
from tfrec.serving.signatures import NO_ITEM_SCORE, portable
from tfrec.towers import BehaviorTower, ItemTower, LSTMEncoder


@pytest.fixture(scope="module")
def bundle(exported):
    with open_session(exported) as opened:
        yield opened


def ask(bundle, *histories, **inputs):
    width = max(map(len, histories))
    table = np.array([[*history, *[""] * (width - len(history))] for history in histories], object)
    signature = "recommend_full" if inputs else "serving_default"
    answer = bundle.run(signature, {"history": table.reshape(len(histories), width), **inputs})
    return [[item.decode() for item in row] for row in answer["item_ids"]], answer["scores"]


def described(steps, events=("", ""), times=0, country=""):
    return {
        "event_type": np.array([events[:1] * steps], object),
        "event_my_device": np.array([events[1:] * steps], object),
        "timestamp": np.full((1, steps), times, np.int64),
        "user_country": np.array([country], object),
    }


def test_the_newest_known_events_are_kept_in_order():
    rows = np.array(
        [[0, 3, 0, 1, 2, 0, 5], [0, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7], [4, 0, 0, 0, 0, 0, 0]], np.int32
    )
    other = np.arange(rows.size, dtype=np.int64).reshape(rows.shape)
    places, live = newest(tf.constant(rows), 4)
    for row, tokens, numbers in zip(rows, taken(rows, places, live), taken(other, places, live), strict=True):
        kept = np.flatnonzero(row)[-4:]
        assert tokens.numpy().tolist() == [*row[kept], *[0] * (4 - len(kept))]
        line = other[(rows == row).all(1)][0]
        assert numbers.numpy().tolist() == [*line[kept], *[0] * (4 - len(kept))]


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0), (2, 5)])
def test_there_is_at_least_one_step(shape):
    places, live = newest(tf.zeros(shape, tf.int32), 3)
    assert places.shape == live.shape == (shape[0], 1)
    assert not live.numpy().any()


def test_answers_are_those_of_the_model(bundle, model):
    ids, scores = ask(bundle, ["007", "商品", "item3"])
    rows = np.array([[IDS.index(item) + 1 for item in ("007", "商品", "item3")]], np.int32)
    top = tf.math.top_k(model({"history": rows, "seen": rows}), K_MAX)
    assert ids[0] == [IDS[row - 1] for row in top.indices[0].numpy()]
    np.testing.assert_allclose(scores, top.values, atol=1e-5)


def test_empty_and_unknown_ids_leave_no_hole(bundle):
    clean, scores = ask(bundle, ["7", "🎬", "tab\tid"])
    holes, same = ask(bundle, ["", "7", "who?", "🎬", "", "", "tab\tid", "nobody"])
    assert clean == holes
    np.testing.assert_allclose(scores, same, atol=1e-5)


def test_what_describes_an_event_goes_with_it(bundle):
    inputs = described(3)
    inputs["event_type"][0] = ["view", "buy", "view"]
    inputs["event_my_device"][0] = ["phone", "line\nbreak", "中文"]
    inputs["timestamp"][0] = [100, 5000, 90000]
    expected, scores = ask(bundle, ["7", "🎬", "item1"], **inputs)
    holes = described(6)
    holes["event_type"][0] = ["buy", "view", "buy", "buy", "view", "view"]
    holes["event_my_device"][0] = ["phone", "phone", "phone", "line\nbreak", "中文", ""]
    holes["timestamp"][0] = [7, 100, 8, 5000, 90000, 0]
    answer, same = ask(bundle, ["who?", "7", "", "🎬", "item1", ""], **holes)
    assert answer == expected
    np.testing.assert_allclose(same, scores, atol=1e-5)


def test_an_answer_says_how_many_ids_it_knows(bundle):
    history = np.array([["007", "nope", "007", ""], ["nope", "", "what?", ""], ["", "", "", ""]], object)
    assert bundle.run("serving_default", {"history": history})["known_events"].tolist() == [2, 0, 0]
    lines = {"history": np.array(["\n".join(row) for row in history], object)}
    assert bundle.run("recommend_delimited", lines)["known_events"].tolist() == [2, 0, 0]
    nothing = {"allow_items": np.array([["nope"]] * 3, object), "deny_items": np.array([[""]] * 3, object)}
    assert bundle.run("recommend_filtered", {"history": history, **nothing})["known_events"].tolist() == [2, 0, 0]
    described_by = {name: np.repeat(values, 3, axis=0) for name, values in described(4).items()}
    assert bundle.run("recommend_full", {"history": history, **described_by})["known_events"].tolist() == [2, 0, 0]


def test_every_input_counts_and_unknown_values_are_missing_ones(bundle):
    plain = ask(bundle, ["7", "🎬"])[1]
    missing = ask(bundle, ["7", "🎬"], **described(2, events=("nothing", "such"), country="XX"))[1]
    np.testing.assert_allclose(missing, plain, atol=1e-5)
    for change in ({"events": ("buy", "")}, {"events": ("", "phone")}, {"times": 10**9}, {"country": "US"}):
        assert np.abs(ask(bundle, ["7", "🎬"], **described(2, **change))[1] - plain).max() > 1e-3


def test_seen_items_are_removed_beyond_the_length_limit(bundle):
    history = [*IDS[:3], *IDS[10:14], *IDS[14:18]]
    assert len(history) > MAX_LENGTH
    ids, _ = ask(bundle, history)
    assert not set(ids[0]) & set(history)
    _, newest_only = ask(bundle, history)
    _, scores = ask(bundle, history[:2] + history)
    np.testing.assert_allclose(newest_only, scores, atol=1e-5)


@pytest.mark.parametrize("histories", [[[]], [["who?", ""]], [[], []]])
def test_histories_of_nothing_known_are_empty_ones(bundle, model, histories):
    ids, scores = ask(bundle, *histories)
    empty = np.zeros((1, 2), np.int32)
    best = tf.math.top_k(model({"history": empty}), K_MAX)
    assert ids == [[IDS[row - 1] for row in best.indices[0].numpy()]] * len(histories)
    np.testing.assert_allclose(scores, np.repeat(best.values, len(histories), 0), atol=1e-5)


def test_no_row_is_a_request_too(bundle):
    for shape in ((0, 0), (0, 3)):
        answer = bundle.run("serving_default", {"history": np.zeros(shape, object)})
        assert answer["scores"].shape == answer["item_ids"].shape == (0, K_MAX)


def test_where_little_is_left_the_rest_is_marked(bundle):
    candidates = [item for row, item in enumerate(IDS, 1) if row not in NOT_CANDIDATES]
    ids, scores = ask(bundle, candidates[:-2])
    assert sorted(ids[0][:2]) == sorted(candidates[-2:])
    assert ids[0][2:] == [""] * (K_MAX - 2)
    assert (scores[0, 2:] == np.float32(NO_ITEM_SCORE)).all()
    assert np.isfinite(scores).all()


def test_event_columns_must_have_the_shape_of_the_history(bundle):
    with pytest.raises(tf.errors.InvalidArgumentError, match="event_type must have the shape of history"):
        ask(bundle, ["7", "🎬"], **{**described(2), "event_type": np.array([["buy"]], object)})


@pytest.fixture(scope="module")
def keeping(tmp_path_factory):
    """A model of ids alone that recommends what was seen, over a catalogue smaller than k_max."""
    model = make_model(rich=False, similarity="cosine")
    folder = export(model, make_data(seen="keep", vocabularies={}), tmp_path_factory.mktemp("keep"))
    with open_session(folder) as opened:
        yield opened


def test_k_max_is_cut_to_the_candidates_and_no_other_item_is_shown(keeping):
    ids, _ = ask(keeping, ["007"])
    assert sorted(ids[0]) == sorted(item for row, item in enumerate(IDS, 1) if row not in NOT_CANDIDATES)


def test_a_model_of_ids_alone_has_both_signatures(keeping):
    assert keeping.signatures["recommend_full"] == keeping.signatures["serving_default"]


def test_a_column_that_was_empty_in_training_is_served(tmp_path):
    tower = BehaviorTower(DIM, [LSTMEncoder(DIM)], event_columns={"coupon": 1}, user_columns={"country": 1})
    model = TwoTower(ItemTower(DIM, len(IDS) + 1), tower, FullSoftmax(np.arange(1, len(IDS) + 1)))
    empty = {"event_coupon": Vocabulary([]), "user_country": Vocabulary([])}
    with open_session(export(model, make_data(vocabularies=empty), tmp_path, k_max=K_MAX)) as opened:
        inputs = {"event_coupon": np.array([["", "ten %"]], object), "user_country": np.array(["US"], object)}
        ids, scores = ask(opened, ["007", "7"], **inputs)
        expected, same = ask(opened, ["007", "7"])
    assert ids == expected
    np.testing.assert_allclose(scores, same, atol=1e-5)


def test_tracing_avoids_cudnn_and_leaves_the_layer_as_it_was():
    encoders = make_model().behavior_tower
    cells = [cell for encoder in encoders.encoders for cell in getattr(encoder, "cells", [])]
    assert cells
    assert all(isinstance(cell, keras.layers.LSTM) and cell.units == DIM for cell in cells)
    before = [cell.use_cudnn for cell in cells]
    with portable(encoders):
        assert not any(cell.use_cudnn for cell in cells)
    assert [cell.use_cudnn for cell in cells] == before
