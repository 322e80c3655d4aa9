"""Heads predict what their losses say, begin at the mean, and say where nothing can be learnt."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrec.evaluation import Predictions
from tfrec.ranking import BinaryHead, LossWeights, RatingHead

LABELS = np.float32([1, 0, 0, 1, 0])
LOGITS = np.float32([0.3, -2.0, 0.7, 4.0, -0.1])
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))


def built(head, width=3):
    head.build((None, None, width))
    return head


def test_the_loss_of_yes_and_no_is_the_mean_cross_entropy():
    expected = -np.where(LABELS == 1, np.log(PROBABILITIES), np.log(1 - PROBABILITIES))
    np.testing.assert_allclose(BinaryHead(name="click").loss(LABELS, LOGITS), expected.mean(), rtol=1e-5)
    weighted = BinaryHead(3.0, name="click").loss(LABELS, LOGITS)
    np.testing.assert_allclose(weighted, (expected * np.where(LABELS == 1, 3, 1)).mean(), rtol=1e-5)


def test_a_probability_is_right_whatever_a_yes_counts():
    """The weighted loss is least at odds `positive_weight` times too high; the head takes that away again."""
    labels = np.float32([1] * 10 + [0] * 90)
    for weight in (1.0, 9.0, 0.2):
        head, logits = BinaryHead(weight, name="click"), np.linspace(-6, 2, 321, dtype="float32")
        losses = [float(head.loss(labels, np.full(100, logit))) for logit in logits]
        np.testing.assert_allclose(head.value(logits[int(np.argmin(losses))]), 0.1, atol=3e-3)


def test_the_loss_of_a_rating_is_the_mean_square_in_units_of_the_range():
    head = RatingHead(1, 5, name="stars")
    ratings = np.float32([1, 5, 3, 4, 2])
    predicted = 1 + 4 * PROBABILITIES
    np.testing.assert_allclose(head.value(LOGITS), predicted, rtol=1e-6)
    np.testing.assert_allclose(head.loss(ratings, LOGITS), np.mean(((ratings - predicted) / 4) ** 2), rtol=1e-5)


@pytest.mark.parametrize("head", [BinaryHead(name="a"), RatingHead(1, 5, name="b")])
def test_no_known_label_costs_nothing_and_moves_nothing(head):
    logits = tf.Variable(tf.zeros((0,)))
    with tf.GradientTape() as tape:
        loss = head.loss(tf.zeros((0,)), logits)
    assert float(loss) == 0 and np.isfinite(tape.gradient(loss, logits).numpy()).all()


def test_heads_begin_at_the_mean_of_the_labels():
    zeros = np.zeros((1, 2, 3), "float32")
    for weight in (1.0, 4.0):
        click = built(BinaryHead(weight, name="click"))
        click.start(LABELS)
        np.testing.assert_allclose(click.value(click(zeros)), [[0.4, 0.4]], rtol=1e-5)
    stars = built(RatingHead(1, 5, name="stars"))
    stars.start(np.float32([5, 4, 4, 3]))
    np.testing.assert_allclose(stars.value(stars(zeros)), [[4, 4]], rtol=1e-5)


@pytest.mark.parametrize(
    ("head", "labels", "words"),
    [
        (BinaryHead(name="click"), [1, 1, 1], "label 'click' is 1 for all 3 events in training"),
        (BinaryHead(name="click"), [0, 0], "label 'click' is 0 for all 2 events in training"),
        (BinaryHead(name="click"), [], "label 'click' is known of no event in training"),
        (RatingHead(1, 5, name="stars"), [], "label 'stars' is known of no event in training"),
        (RatingHead(1, 5, name="stars"), [4, 4], "label 'stars' is 4 for all 2 events in training"),
    ],
)
def test_a_label_that_teaches_nothing_is_refused(head, labels, words):
    with pytest.raises(ValueError, match=words):
        built(head).start(np.float32(labels))


def test_metrics_are_of_what_is_predicted():
    loss = -np.log(np.where(LABELS == 1, PROBABILITIES, 1 - PROBABILITIES)).mean()
    found = {metric.name: metric for metric in BinaryHead(name="click").metrics("click_")}
    for metric in found.values():
        metric.update_state(LABELS, BinaryHead(name="click").value(LOGITS))
    np.testing.assert_allclose(found["click_log_loss"].result(), loss, rtol=1e-4)
    np.testing.assert_allclose(found["click_auc"].result(), 5 / 6, atol=1e-3)  # One pair of six is out of order.
    values = {metric.name: metric for metric in RatingHead(1, 5, name="stars").metrics()}
    for metric in values.values():
        metric.update_state([1.0, 5.0], [2.0, 5.0])
    assert {name: round(float(each.result()), 4) for name, each in values.items()} == {"rmse": 0.7071, "mae": 0.5}


def test_the_area_under_the_curve_tells_rare_labels_apart():
    rng = np.random.default_rng(0)
    logits = rng.normal(-6, 0.3, 20_000).astype("float32")
    labels = (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype("float32")
    metric = BinaryHead(name="click").metrics()[1]
    metric.update_state(labels, 1 / (1 + np.exp(-logits)))
    exact = Predictions(np.arange(len(labels)), labels, 1 / (1 + np.exp(-logits)), True).figures()["auc"]
    assert labels.mean() < 0.004 and float(metric.result()) == pytest.approx(exact, abs=0.01)


def test_weights_of_losses_are_stated_or_learnt():
    losses = {"click": tf.constant(2.0), "stars": tf.constant(0.5)}
    assert float(LossWeights(["click", "stars"], {})(losses)) == 2.5
    assert float(LossWeights(["click", "stars"], {"stars": 4.0})(losses)) == 4.0
    learnt = LossWeights(["click", "stars"])
    learnt.build()
    learnt.log_variance.assign([np.log(2.0), np.log(0.5)])
    # Each log variance is where its own loss has the least sum: exp(-s) * loss = 1 / 2 would need s = log(2 * loss).
    expected = 2.0 / 2 + 0.5 / 0.5 + 0.5 * (np.log(2.0) + np.log(0.5))
    np.testing.assert_allclose(float(learnt(losses)), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="`weights` names 'buy'; the heads are: 'click'"):
        LossWeights(["click"], {"buy": 1.0})
    with pytest.raises(ValueError, match="`weights` must be above 0; received 0 for 'click'"):
        LossWeights(["click"], {"click": 0})


@pytest.mark.parametrize("layer", [BinaryHead(2.5, name="a"), RatingHead(1, 5, name="b"), LossWeights(["a"], None)])
def test_config_round_trip(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="`positive_weight` must be above 0; received 0"):
        BinaryHead(0)
    with pytest.raises(ValueError, match="`low` must be less than `high`; received 5 and 1"):
        RatingHead(5, 1)
