"""Figures of predictions against their definitions written out, pair by pair and bin by bin."""

import dataclasses
import itertools

import numpy as np
import pytest

from tfrec.evaluation import Predictions, best_threshold, compare_predictions, measured, reliability
from tfrec.evaluation.label_baselines import SHRINKAGE, LabelledEvents, label_baselines


def clicks(events=400, users=30, seed=0, decimals=2, threshold=0.5):
    """Probabilities with ties, some users of one event, some of one label."""
    rng = np.random.default_rng(seed)
    who = np.concatenate([rng.integers(0, users, events - 3), [users, users + 1, users + 2]])
    values = np.round(rng.beta(2, 3, events), decimals)
    labels = (rng.random(events) < values).astype(float)
    return Predictions(np.array([f"u{user}" for user in who]), labels, values, True, threshold)


def auc(labels, values):
    pairs = list(itertools.product(values[labels == 1], values[labels == 0]))
    return np.mean([1.0 if yes > no else 0.5 if yes == no else 0.0 for yes, no in pairs]) if pairs else np.nan


def test_auc_is_the_share_of_ordered_pairs_overall_and_by_user():
    found = clicks()
    figures = found.figures()
    assert figures["auc"] == pytest.approx(auc(found.labels, found.values))
    users = [
        auc(found.labels[found.users == user], found.values[found.users == user]) for user in np.unique(found.users)
    ]
    assert np.isnan(users).any() and figures["user_auc"] == pytest.approx(np.nanmean(users))


def test_log_loss_and_decisions_are_their_definitions():
    found = clicks(threshold=0.4)
    labels, values = found.labels, np.clip(found.values, 1e-7, 1 - 1e-7)
    said = found.values >= 0.4
    hits = (said & (labels == 1)).sum()
    expected = {
        "log_loss": -np.mean(np.where(labels == 1, np.log(values), np.log(1 - values))),
        "accuracy": (said == labels).mean(), "precision": hits / said.sum(), "recall": hits / labels.sum(),
        "f1": 2 * hits / (said.sum() + labels.sum()),
    }  # fmt: skip
    assert {name: found.figures()[name] for name in expected} == pytest.approx(expected)


def test_where_the_truth_is_known_predictions_are_held_against_it():
    found = clicks(events=3000, decimals=6)
    truth = np.clip(found.values + np.linspace(-0.05, 0.1, 3000), 0.01, 0.99)
    figures = dataclasses.replace(found, truth=truth).figures()
    values = np.clip(found.values, 1e-7, 1 - 1e-7)
    divergence = truth * np.log(truth / values) + (1 - truth) * np.log((1 - truth) / (1 - values))
    assert figures["excess_log_loss"] == pytest.approx(divergence.mean()) and divergence.mean() > 0
    gaps = [(truth - found.values)[part].sum() for part in np.array_split(np.argsort(found.values), 15)]
    assert figures["true_calibration_error"] == pytest.approx(np.abs(gaps).sum() / 3000)
    best = dataclasses.replace(found, values=truth, truth=truth)
    assert [best.figures()[name] for name in ("excess_log_loss", "true_calibration_error")] == pytest.approx([0, 0])
    part = best.take(np.arange(3000) < 10)
    np.testing.assert_array_equal(part.truth, truth[:10])
    assert "excess_log_loss" not in found.figures()


def test_calibration_error_is_the_mean_gap_of_the_bins():
    found = clicks(events=3000, decimals=6)
    table = reliability(found)
    assert len(table) == 15 and table.events.sum() == 3000 and table.events.max() - table.events.min() <= 1
    order = np.argsort(found.values)
    for place, part in enumerate(np.array_split(order, 15)):
        assert table.predicted[place] == pytest.approx(found.values[part].mean())
        assert table.observed[place] == pytest.approx(found.labels[part].mean())
    gap = (table.events * (table.predicted - table.observed).abs()).sum() / 3000
    assert found.figures()["calibration_error"] == pytest.approx(gap)


def test_probabilities_that_are_right_are_calibrated_and_shifted_ones_are_not():
    right = clicks(events=60_000, users=3000, decimals=6)
    wrong = Predictions(right.users, right.labels, np.clip(right.values + 0.1, 0, 1), True)
    assert right.figures()["calibration_error"] < 0.01
    assert wrong.figures()["calibration_error"] == pytest.approx(0.1, abs=0.01)


def test_equal_probabilities_share_a_bin_and_one_value_is_one_bin():
    one = Predictions(np.arange(50), np.arange(50) % 2 * 1.0, np.full(50, 0.5), True)
    table = reliability(one)
    assert len(table) == 1 and table.events[0] == 50 and one.figures()["calibration_error"] == 0


def test_ratings_have_rmse_and_mae():
    found = Predictions(np.array(["a", "a", "b"]), np.array([1.0, 5.0, 3.0]), np.array([2.0, 5.0, 1.0]), False)
    assert found.figures() == pytest.approx({"rmse": np.sqrt(5 / 3), "mae": 1.0})
    assert set(measured(found)) == {"events", "users", "rmse", "mae", "rmse_half_width", "mae_half_width"}


def test_the_half_width_is_of_users_and_not_of_events():
    """Each user's events are copies of one: 50 of them say no more than one does."""
    rng = np.random.default_rng(0)
    users, gaps = np.arange(200), rng.normal(size=200)
    one = measured(Predictions(users, 0 * gaps, gaps, False), resamples=1000)
    many = measured(Predictions(np.repeat(users, 50), np.zeros(10_000), np.repeat(gaps, 50), False), resamples=1000)
    assert many["rmse"] == pytest.approx(one["rmse"])
    assert many["rmse_half_width"] == pytest.approx(one["rmse_half_width"])
    assert one["mae_half_width"] == pytest.approx(1.96 * np.abs(gaps).std() / np.sqrt(200), rel=0.1)


def test_weights_of_users_count_their_events_so_often():
    found = clicks(events=300, users=8)
    rng = np.random.default_rng(1)
    for _ in range(5):
        weights = rng.integers(0, 3, int(found.codes.max()) + 1)
        index = np.concatenate(
            [np.flatnonzero(found.codes == user) for user in np.repeat(np.arange(len(weights)), weights)]
        )
        again = np.concatenate(
            [
                [copy] * (found.codes == user).sum()
                for copy, user in enumerate(np.repeat(np.arange(len(weights)), weights))
            ]
        )
        drawn = Predictions(again, found.labels[index], found.values[index], True, 0.5).figures()
        weighted = found.measure.figures(weights.astype(float))
        for name in set(drawn) - {"calibration_error"}:  # Its bins are those of all events.
            assert weighted[name] == pytest.approx(drawn[name]), name


def test_the_threshold_has_the_best_f1_of_all():
    found = clicks(events=200)
    chosen = best_threshold(found)
    scores = {
        value: Predictions(found.users, found.labels, found.values, True, value).figures()["f1"]
        for value in np.unique(found.values)
    }
    assert scores[chosen] == max(scores.values())


def test_a_threshold_that_nothing_passes_has_no_precision_and_no_recall():
    figures = measured(clicks(threshold=1.0))
    assert np.isnan(figures["precision"]) and figures["recall"] == 0 and figures["f1"] == 0


def test_labels_that_are_all_alike_have_no_auc():
    figures = measured(Predictions(np.arange(4), np.ones(4), np.array([0.2, 0.4, 0.6, 0.8]), True))
    assert np.isnan(figures["auc"]) and np.isnan(figures["user_auc"]) and figures["log_loss"] > 0


def test_a_better_model_is_told_from_a_worse_one_whatever_the_figure():
    worse = clicks(events=4000, users=300, decimals=6)
    rng = np.random.default_rng(5)
    noisy = Predictions(worse.users, worse.labels, np.clip(worse.values + rng.normal(0, 0.3, 4000), 0, 1), True, 0.5)
    gaps = compare_predictions(worse, noisy)
    for name in ("auc", "user_auc", "log_loss", "calibration_error", "accuracy", "f1"):
        assert gaps[name].verdict == "better" and gaps[name].low < gaps[name].difference < gaps[name].high, name
    back = compare_predictions(noisy, worse)
    assert back["log_loss"].verdict == "worse" and back["log_loss"].difference == -gaps["log_loss"].difference
    same = compare_predictions(worse, worse)
    assert {gap.verdict for gap in same.values()} == {"not better"} and same["auc"].difference == 0


def test_seeds_are_averaged():
    one, two, other = (clicks(seed=0), clicks(seed=0), clicks(seed=0))
    better = Predictions(one.users, one.labels, one.labels * 0.8 + 0.1, True, 0.5)
    gaps = compare_predictions([better, two], other)
    assert gaps["auc"].seeds == 2 and gaps["auc"].ours == pytest.approx((1 + other.figures()["auc"]) / 2)


def test_predictions_of_other_events_cannot_be_compared():
    with pytest.raises(ValueError, match="the same events in the same order"):
        compare_predictions(clicks(seed=0), clicks(seed=1))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"labels": [1.0]}, "of one length"),
        ({"users": [], "labels": [], "values": []}, "1 or more"),
        ({"values": [0.5, np.nan]}, "finite"),
        ({"values": [0.5, 1.5]}, "probabilities from 0 to 1"),
        ({"labels": [1.0, 2.0]}, "labels must be 0 or 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, words):
    given = {"users": ["a", "b"], "labels": [1.0, 0.0], "values": [0.5, 0.5]} | wrong
    with pytest.raises(ValueError, match=words):
        Predictions(*(np.array(given[name]) for name in ("users", "labels", "values")), True)


def test_baselines_are_shrunk_means_of_training_and_of_the_history():
    items, labels = np.array([0, 1, 0, 1, 1, 0]), np.array([1.0, 0.0, 1.0, np.nan, 0.0, 1.0])
    training, history = np.array([0, 1, 2, 3]), np.array([2, 3, 1])
    found = label_baselines(
        LabelledEvents(items, labels, 2), training, np.array([4, 5]), history, np.array([0, 2]), np.array([2, 3])
    )  # fmt: skip
    mean = 2 / 3
    offsets = np.array([(2 - 2 * mean), (0 - mean)]) / (np.array([2, 1]) + SHRINKAGE)
    np.testing.assert_allclose(found["mean"], [mean, mean])
    np.testing.assert_allclose(found["item_mean"], mean + offsets[[1, 0]])
    users = [(1 - mean - offsets[0]) / (1 + SHRINKAGE), (0 - mean - offsets[1]) / (1 + SHRINKAGE)]
    np.testing.assert_allclose(found["item_and_user_mean"], np.clip(mean + offsets[[1, 0]] + users, 0, 1))
