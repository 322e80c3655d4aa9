"""Collaborative paths in a ranker: alone or beside interactions, from the past alone, and the same from disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.ranking.test_ranker import MODEL, log
from tfrec import build, config
from tfrec.data import EventColumns, Label, PrepareOptions, prepare
from tfrec.features import AFTER, CANDIDATES, HISTORY, PAD, label_feature
from tfrec.ranking import Ranker, load_ranker


def ranker(data, *interactions, **changes):
    factors = {"rank": 3, "samples": 6, "burn_in": 4, "every": 1}
    return build.ranker(data, MODEL, config.Ranking(), seed=1, interactions=interactions, factors=factors, **changes)


@pytest.fixture(scope="module")
def data():
    labels = {"like": Label("liked"), "stars": Label("stars", range=(1, 5))}
    columns = EventColumns(position="position", context=("liked", "stars"), labels=labels)
    return prepare(log(), options=PrepareOptions(events=columns, split="folds_users"))


@pytest.fixture(scope="module")
def features(data):
    return next(iter(build.ranking_data(data).judged("test")[0].as_numpy_iterator()))


@pytest.fixture(scope="module")
def alone(data):
    return ranker(data, "factors", "neighbourhood")


def test_a_candidate_is_judged_by_the_labels_of_its_own_past_alone(alone, features):
    whole = {name: values.numpy() for name, values in alone(features).items()}
    row = int(np.argmax((features[CANDIDATES] > 0).sum(axis=1)))
    for place in (0, 3, 9):
        s = features[AFTER][row, place]
        cut = {name: values[row : row + 1] for name, values in features.items()}
        cut |= {name: cut[name][:, :s] for name in (HISTORY, "event_liked", "event_stars")}
        cut |= {name: cut[name][:, place : place + 1] for name in (CANDIDATES, AFTER)}
        for name, values in alone(cut).items():
            np.testing.assert_allclose(values[0, 0], whole[name][row, place], atol=1e-4)


def test_users_who_agree_so_far_agree_further_on(data, alone, features):
    truth, found = features[label_feature("like")], alone.predictions(features)["like"].numpy()
    late = (features[AFTER] >= 8) & ~np.isnan(truth)
    assert found[late & (truth == 1)].mean() > found[late & (truth == 0)].mean() + 0.15


def test_a_bare_list_of_ids_is_answered_with_what_all_users_think(alone, features):
    bare = {name: features[name] for name in (HISTORY, CANDIDATES, AFTER)}
    found = alone.predictions(bare)["stars"].numpy()
    for item in np.unique(features[CANDIDATES])[1:]:
        assert np.ptp(found[features[CANDIDATES] == item]) < 1e-4
    assert 1 < found.min() < found.max() < 5


def test_training_answers_as_if_it_had_not_seen_the_label(data, alone):
    batches = build.ranking_data(data).train_plan(4096, seed=1).dataset()
    batch = next(iter(batches.as_numpy_iterator()))
    there = batch[CANDIDATES] != PAD
    truth = batch[label_feature("stars")][there]
    head = alone.heads[1]
    known, corrected = (
        head.value(alone(batch, training=training)["stars"]).numpy()[there] for training in (False, True)
    )
    assert np.mean((corrected - truth) ** 2) > np.mean((known - truth) ** 2) * 1.01


@pytest.mark.parametrize("interactions", [("factors",), ("neighbourhood",), ("factors", "neighbourhood", "mlp")])
def test_everything_that_is_read_learns_and_nothing_else(data, features, interactions):
    model = ranker(data, *interactions)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(features, training=False)
    weights = model.trainable_weights
    found = tape.gradient(loss, [weight.value for weight in weights])
    assert not [w.path for w, g in zip(weights, found, strict=True) if g is None]
    towers = [*model.item_tower.weights, *model.behavior_tower.weights]
    assert any(weight.trainable for weight in towers) == ("mlp" in interactions)
    tables = {id(weight) for weight in model.tables}
    assert {id(table) for each in model.collaborative for table in each.tables} <= tables
    assert not any(id(weight) in tables for weight in weights)


def test_heads_begin_at_what_is_expected(data, features):
    model = ranker(data, "factors", labels=["like"], positive_weight=3.0)
    logit = model.collaborative[0](features, features[AFTER]).numpy()
    np.testing.assert_allclose(model.predictions(features)["like"], 1 / (1 + np.exp(-logit)), atol=1e-5)


def test_it_goes_with_interactions_of_half_precision(data, features):
    half = ranker(data, "factors", "mlp", training=config.Training(mixed_precision=True))
    whole = ranker(data, "factors", "mlp")
    assert half.interactions[0].compute_dtype == "bfloat16"
    np.testing.assert_allclose(half(features)["like"], whole(features)["like"], atol=0.05)


def test_it_comes_back_from_disk_the_same(alone, features, tmp_path):
    alone.compile(keras.optimizers.AdamW(0.01))
    alone.save(tmp_path / "model.keras")
    loaded = load_ranker(tmp_path / "model.keras")
    for name, values in loaded.predictions(features).items():
        np.testing.assert_allclose(values, alone.predictions(features)[name], atol=1e-6)
    assert {"event_liked", "event_stars", HISTORY} <= set(loaded.input_spec_dict)


def test_what_does_not_fit_is_refused(data, alone):
    columns = EventColumns(position="position", context=("slot",), labels={"like": Label("liked")})
    unread = prepare(log(), options=PrepareOptions(events=columns, split="folds_users"))
    with pytest.raises(ValueError, match="'factors', which reads the label 'like'.*add its column 'liked'"):
        ranker(unread, "factors")
    with pytest.raises(ValueError, match="`collaborative` must hold one layer a head, 2; received 1"):
        Ranker(alone.item_tower, alone.behavior_tower, alone.heads, collaborative=alone.collaborative[:1])
    with pytest.raises(ValueError, match="`adversarial` attacks the items' id vectors"):
        alone.compile(adversarial=0.1)
