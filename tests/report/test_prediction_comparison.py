"""Rankers side by side: figures of each label, the seeds averaged, and differences that are turned to the better."""

import json

import numpy as np
import pytest

from tests.report.contenders import ENVIRONMENT, contender
from tfrec.evaluation import Predictions, compare_predictions, measured
from tfrec.report import comparison_tables as made
from tfrec.report.cost_plot import write_cost_plot
from tfrec.report.prediction_comparison import PredictionComparison, TrainedRanker
from tfrec.report.results import plain

EVENTS, USERS = 240, 24
RNG = np.random.default_rng(0)
WHOSE = np.repeat([f"u{user:02d}" for user in range(USERS)], EVENTS // USERS)
LIKED = RNG.integers(0, 2, EVENTS).astype("float32")
STARS = RNG.integers(1, 6, EVENTS).astype("float32")


def ranker(noise, seed=0, labels=("like",), users=WHOSE, seconds=60.0):
    """A model whose predictions are the truth, disturbed by so much."""
    rng = np.random.default_rng(seed)
    found = {}
    if "like" in labels:
        shift = noise * rng.random(EVENTS)
        found["like"] = Predictions(users, LIKED, np.abs(LIKED - np.clip(shift, 0.01, 0.99)), True)
    if "stars" in labels:
        found["stars"] = Predictions(users, STARS, STARS + noise * rng.normal(size=EVENTS), False)
    prefix = "like_" if len(found) > 1 else ""
    figures = {f"{prefix}log_loss": 0.5 + noise, f"{prefix}log_loss_half_width": 0.02, f"{prefix}auc": None}
    figures |= {"stars_rmse": noise, "stars_rmse_half_width": 0.1} if len(found) > 1 else {}
    metrics = {"labels": list(found), "validation": figures, "test": figures, "environment": ENVIRONMENT}
    return TrainedRanker(found, metrics, 1000, seconds, seconds / 10, 900.0)


def variant(name, *models, **options):
    return contender(name, ranking="mlp", trained=dict(enumerate(models, 1)), **options)


@pytest.fixture(scope="module")
def comparison():
    plain_one, better = variant("plain", ranker(0.9)), variant("better", ranker(0.5, 1), ranker(0.4, 2, seconds=80))
    return PredictionComparison("clicks", "plain", [plain_one, better, contender("lost", failed={1: "no memory"})])


def test_figures_are_those_of_the_predictions_the_seeds_averaged(comparison):
    of_seeds = [ranker(0.5, 1).predictions["like"], ranker(0.4, 2).predictions["like"]]
    found = comparison.figures["better"]["all"]
    for name in ("auc", "user_auc", "log_loss", "calibration_error"):
        assert found[name] == pytest.approx(np.mean([one.figures()[name] for one in of_seeds]))
    expected = measured(of_seeds, resamples=1000)
    assert found["log_loss_half_width"] == expected["log_loss_half_width"] > 0
    assert expected["log_loss_half_width"] < max(
        measured(one, resamples=1000)["log_loss_half_width"] for one in of_seeds
    )
    assert (found["users"], found["events"]) == (USERS, EVENTS)
    validated = comparison.figures["better"]["all validation"]
    assert (validated["log_loss"], validated["log_loss_half_width"]) == (pytest.approx(0.95), pytest.approx(0.02))
    assert "auc" not in validated


def test_differences_are_paired_and_turned_to_the_better(comparison):
    gap = comparison.differences["better"]["all"]["log_loss"]
    ours = [model.predictions["like"] for model in comparison.contenders[1].models]
    expected = compare_predictions(ours, ranker(0.9).predictions["like"])["log_loss"]
    assert (gap.low, gap.high, gap.verdict) == (expected.low, expected.high, "better")
    row = next(row for row in made.difference_table(comparison)[1] if row[2] == "log loss")
    assert float(row[3]) < float(row[4]) and row[5].startswith("+")  # The losses as they are, their difference turned.
    assert list(comparison.differences) == ["better"]


def test_tables_and_files_have_the_layout_of_every_comparison(comparison, tmp_path):
    headings, rows = made.quality_table(comparison)
    assert headings == [
        "variant", "seeds", "log loss on validation", "AUC", "AUC by user", "log loss", "calibration error",
    ]  # fmt: skip
    assert rows[0][2] == "1.4000 ± 0.0200" and rows[2] == ["lost", "– (1 failed)", *["–"] * 5]
    write_cost_plot(tmp_path / "p.png", comparison)
    made.write_comparison(tmp_path, comparison, "p.png")
    page = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "| better | minilm (pretrained) | frozen | attention | mlp | 1, 2 |" in page
    assert "Test users: all 24." in page and "![log loss by training seconds](p.png)" in page
    document = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    better = document["variants"]["better"]
    assert better["slices"]["all"]["auc"] == pytest.approx(comparison.figures["better"]["all"]["auc"])
    assert (better["train_seconds"], better["validation"]["log_loss"]) == (70, pytest.approx(0.95))
    gap = document["differences"]["better"]["all"]["log_loss"]
    assert 0 < gap["ours"] < gap["theirs"] and gap["difference"] == pytest.approx(gap["theirs"] - gap["ours"])


def test_of_several_labels_each_is_a_part_and_a_variant_may_have_one_of_them():
    both, one = variant("both", ranker(0.5, labels=("like", "stars"))), variant("one", ranker(0.6))
    comparison = PredictionComparison("clicks", "both", [both, one])
    assert comparison.parts == ["like", "stars"]
    headings, rows = made.quality_table(comparison)
    assert headings[2:5] == ["log loss like on validation", "AUC like", "AUC by user like"]
    assert headings[-3:] == ["RMSE stars on validation", "RMSE stars", "MAE stars"] and rows[1][-3:] == ["–"] * 3
    assert set(comparison.differences["one"]) == {"like"}
    assert set(comparison.differences["one"]["like"]) == {"auc", "user_auc", "log_loss", "calibration_error"}
    assert plain(comparison.document())["labels"] == ["like", "stars"]


def test_predictions_of_other_events_are_not_compared():
    others = variant("others", ranker(0.5, users=WHOSE[::-1]))
    comparison = PredictionComparison("clicks", "plain", [variant("plain", ranker(0.9)), others])
    assert comparison.differences == {}
