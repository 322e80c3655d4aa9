"""`compare` of rankers: of labels by their predictions, and of two stages, whose retrieval model is trained once."""

import dataclasses
import importlib
import json
import types

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tests.report.contenders import ENVIRONMENT, GROUPS, USERS
from tests.stages import test_ranker
from tfrec import config, stages
from tfrec.stages import comparison

RUN = importlib.import_module("tfrec.stages.run")
RANKERS = """\
seeds: [1, 2]
variants:
  plain: {}
  good: {ranking.interactions: [cross], training.epochs: 9}
"""
STAGES = """\
seeds: [1, 2]
variants:
  alone: {ranking: null}
  mlp: {}
  cross: {ranking: {interactions: [cross]}}
"""


def train(run, key):
    run.begin("train")
    run.path("checkpoints").mkdir(exist_ok=True)
    files = [run.path("checkpoints", name) for name in ("model.keras", "config.yaml")]
    for file in files:
        file.write_text(config.dump(run.pipeline))
    run.finish("train", key, files, parameters=10, seconds=30.0, epoch_seconds=3.0, peak_memory_mb=500)


def rank(run, key):
    run.begin("rank")
    run.path("ranking").mkdir(exist_ok=True)
    run.path("ranking", "model.keras").write_text("a ranker")
    run.finish("rank", key, [run.path("ranking", "model.keras")], parameters=5, seconds=7.0, peak_memory_mb=600)


def evaluate(run, key):
    """Of labels: the predictions of `good` are near the truth; of next items: `cross` hits for all users."""
    metrics = {"environment": ENVIRONMENT, "slices": {}}
    if run.pipeline.predicts_labels:
        rng, good = np.random.default_rng(run.pipeline.seed), run.out.parent.name == "good"
        labels = np.tile([0.0, 1.0, 1.0, 0.0], 10)
        values = np.clip(np.abs(labels - rng.random(40) * (0.3 if good else 0.99)), 0.01, 0.99)
        table = pd.DataFrame({"user_id": np.repeat(list("abcde"), 8), "item_id": "i", "like": labels})
        table.assign(predicted_like=values).to_parquet(run.path("predictions_test.parquet"))
        figures = {"log_loss": 0.4, "log_loss_half_width": 0.1, "auc": 0.8, "auc_half_width": 0.1}
        metrics |= {"labels": ["like"], "thresholds": {"like": 0.5}, "validation": figures, "test": figures}
        files = ["predictions_test.parquet"]
    else:
        hits = pd.Series(float(run.out.parent.name == "cross"), pd.Index(USERS, name="user_id"))
        per_user = pd.DataFrame({"hr@10": hits, "ndcg@10": hits / 2}).reset_index().assign(model="tfrec")
        per_user.to_parquet(run.path("per_user.parquet"))
        GROUPS.reset_index().to_parquet(run.path("slices_test.parquet"))
        test = {"hr@10": hits.mean(), "ndcg@10": hits.mean() / 2, "cold_share@10": 0.0}
        metrics |= {"test": test, "validation": test}
        files = ["per_user.parquet", "slices_test.parquet"]
    run.path("metrics.json").write_text(json.dumps(metrics))
    run.finish("evaluate", key, [run.path(name) for name in (*files, "metrics.json")])


@pytest.fixture
def log(monkeypatch):
    """What was performed, `variant seed stage`; stages run in this process, and what trains is stood in for."""
    performed = []

    def perform(stage, pipeline, out, overrides, label):
        settings = config.load(pipeline, overrides)
        performed.append(f"{out.parent.name} {settings.seed} {stage}")
        stages.run(settings, out, only=stage)

    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setattr(comparison, "perform", perform)
    for name, work in (("train", train), ("rank", rank), ("evaluate", evaluate)):
        monkeypatch.setitem(RUN.STAGES, name, dataclasses.replace(RUN.STAGES[name], perform=work))
    return types.SimpleNamespace(performed=performed)


def go(folder, path, grid):
    (folder / "grid.yaml").write_text(grid, encoding="utf-8")
    found = stages.compare(config.load_plan(folder / "grid.yaml", path), folder / "out")
    return found, json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))


def test_rankers_of_labels_are_compared_by_their_predictions(log, tmp_path):
    found, document = go(tmp_path, test_ranker.write(tmp_path / "shop"), RANKERS)
    assert log.performed[:4] == ["plain 1 prepare", "plain 1 train", "plain 1 evaluate", "good 1 train"]
    assert document["labels"] == ["like"] and document["variants"]["good"]["ranking"] == "cross"
    gap = document["differences"]["good"]["all"]["log_loss"]
    assert gap["ours"] < gap["theirs"] and (gap["verdict"], gap["seeds"]) == ("better", 2)
    assert document["variants"]["good"]["validation"]["log_loss"] == 0.4
    assert (tmp_path / "out" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert "log loss on validation" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    sessions = {path.name for path in (tmp_path / "out" / "tensorboard").iterdir() if path.is_dir()}
    assert sessions == {f"{name}-seed_{seed}" for name in ("plain", "good") for seed in (1, 2)}
    log.performed.clear()
    assert go(tmp_path, tmp_path / "shop" / "p.yaml", RANKERS)[1] == document and log.performed == []
    assert found.title.startswith("predictions")


def test_two_stages_are_compared_by_their_lists_and_share_the_retrieval_model(log, tmp_path):
    path = tiny_shop.write(tmp_path / "shop")
    ranking = "ranking: {recall: 20, rank: 5, interactions: [mlp]}\n"
    path.write_text(path.read_text("utf-8").replace("evaluation:", ranking + "evaluation:"), encoding="utf-8")
    found, document = go(tmp_path, path, STAGES)
    assert [one for one in log.performed if one.endswith(" train")] == ["alone 1 train", "alone 2 train"]
    assert [one for one in log.performed if one.endswith(" rank")] == [
        "mlp 1 rank", "cross 1 rank", "mlp 2 rank", "cross 2 rank",
    ]  # fmt: skip
    assert document["differences"]["cross"]["all"]["hr@10"]["verdict"] == "better"
    assert document["differences"]["mlp"]["all"]["hr@10"]["verdict"] == "not better"
    costs = {name: (one["parameters"], one["train_seconds"]) for name, one in document["variants"].items()}
    assert costs == {"alone": (10, 30), "mlp": (15, 37), "cross": (15, 37)}
    assert [each.ranking for each in found.contenders] == ["", "mlp", "cross"]
    model = tmp_path / "out" / "runs" / "cross" / "seed_2" / "checkpoints" / "model.keras"
    assert model.samefile(tmp_path / "out" / "runs" / "alone" / "seed_2" / "checkpoints" / "model.keras")


def test_what_has_no_figure_in_common_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    path = test_ranker.write(tmp_path / "shop")
    (tmp_path / "grid.yaml").write_text("variants: {clicks: {}, next: {ranking: null}}", encoding="utf-8")
    with pytest.raises(ValueError, match="'clicks' predicts labels and variant 'next' the next item, which share"):
        config.load_plan(tmp_path / "grid.yaml", path)
