"""A search draws settings, goes on where it was, ends hopeless trials early, and leaves the best as a pipeline."""

import json
import sys

import numpy as np
import pytest

from tests import tiny_shop
from tfrec import cli, config, stages
from tfrec.stages import trials as stage_search

SPACE = """\
trials: 8
space:
  model.dim: [8, 16, 24]
  training.learning_rate: {low: 0.001, high: 0.1, log: true}
"""
EPOCHS = 4


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A function that searches, its trainings replaced by a formula: wider is better, and so is a rate near 0.01."""
    pytest.importorskip("optuna")
    pipeline = tiny_shop.write(tmp_path / "shop")
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    trained = []

    def perform(stage, file, folder, overrides, label, watch=None):
        if stage != "train":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(file.read_text())
            return None
        settings = config.load(file)
        rate, dim = settings.training.learning_rate, settings.model.dim
        trained.append((folder.name, dim, rate))
        if len(trained) in searched.interrupted:
            raise KeyboardInterrupt
        if len(trained) in searched.failing:
            return "the training diverged in epoch 1"
        best = dim / 100 - abs(np.log10(rate) + 2) / 10
        history = [{"val_ndcg@10": best * (1 + epoch) / EPOCHS} for epoch in range(EPOCHS)]
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for epoch in range(EPOCHS):
            state = json.dumps({"history": history[: epoch + 1]})
            np.savez(folder / "checkpoints" / "last.npz", state=np.array(state))
            if watch():
                return stage_search.STOPPED
        figures = {"history": history, "seconds": 12.0, "parameters": 1000 * dim}
        (folder / "stages.json").write_text(json.dumps({"train": figures}))
        return None

    def searched(*overrides, trials=None, space="space.yaml"):
        plan = config.load_search(tmp_path / space, pipeline, list(overrides))
        return stages.search(plan, tmp_path / "out", trials)

    searched.interrupted, searched.failing = set(), set()
    searched.trained, searched.out = trained, tmp_path / "out"
    monkeypatch.setattr(stage_search, "perform", perform)
    return searched


def test_the_best_trial_is_left_as_a_pipeline(searched):
    found = searched()
    assert len(searched.trained) == 8 == len(found.rows) and found.figure == "val_ndcg@10"
    best = config.load(searched.out / "best.yaml")
    assert (best.model.dim, best.training.learning_rate) == (
        found.best["model.dim"],
        found.best["training.learning_rate"],
    )
    value = best.model.dim / 100 - abs(np.log10(best.training.learning_rate) + 2) / 10
    assert found.value == pytest.approx(value)
    whole = [row for row in found.rows if row[-3] == "whole"]
    values = [dim / 100 - abs(np.log10(rate) + 2) / 10 for _, dim, rate in searched.trained]
    assert value == pytest.approx(max(values)) and float(whole[0][3]) == pytest.approx(value, abs=1e-4)
    page = (searched.out / "search.md").read_text("utf-8")
    assert "The test split was not" in page and page.count("| whole |") == len(whole)
    assert (searched.out / "best.yaml").read_text("utf-8").startswith("# Best of 8 trials, trial ")


def test_a_search_goes_on_where_it_was(searched):
    searched.interrupted = {3}
    with pytest.raises(KeyboardInterrupt):
        searched()
    searched.interrupted = set()
    searched(trials=5)
    names = [name for name, *_ in searched.trained]
    assert names == ["trial_0", "trial_1", "trial_2", "trial_2", "trial_3", "trial_4"]
    assert searched.trained[2] == searched.trained[3]
    found = searched(trials=5)
    assert len(searched.trained) == 6 and len(found.rows) == 5
    searched(trials=6)
    assert len(searched.trained) == 7
    assert len({each[1:] for each in searched.trained}) == 6  # The one that was interrupted was trained twice.


def test_a_trial_that_was_cut_off_before_it_had_all_settings_gets_the_others(searched, monkeypatch):
    suggest, calls = stage_search._suggest, []

    def killed(trial, key, values):
        calls.append(key)
        if len(calls) == 4:
            raise KeyboardInterrupt
        suggest(trial, key, values)

    monkeypatch.setattr(stage_search, "_suggest", killed)
    with pytest.raises(KeyboardInterrupt):
        searched()
    assert [row[-3] for row in searched(trials=2).rows] == ["whole", "whole"]


def test_hopeless_trials_are_ended_early_and_only_where_it_is_asked(searched, tmp_path):
    rows = searched(trials=25).rows
    states = [row[-3] for row in rows]
    assert "ended early" in states and states[0] == "whole"
    assert all(1 < int(row[-4]) < EPOCHS for row in rows if row[-3] == "ended early")
    searched.out = tmp_path / "other"
    (tmp_path / "whole.yaml").write_text("prune: false\n" + SPACE, encoding="utf-8")
    plan = config.load_search(tmp_path / "whole.yaml", tmp_path / "shop" / "tiny.yaml", [])
    assert {row[-3] for row in stages.search(plan, searched.out, 12).rows} == {"whole"}


def test_a_trial_that_fails_is_told_and_the_others_go_on(searched):
    searched.failing = {1, 2}
    rows = searched(trials=3).rows
    assert [row[-3] for row in rows] == ["whole", "failed", "failed"]
    searched.failing = set(range(99))


def test_where_nothing_was_trained_it_is_one_line(searched):
    searched.failing = set(range(99))
    with pytest.raises(ValueError, match="none of the 2 trials of .* the first: the training diverged in epoch 1"):
        searched(trials=2)


def test_another_search_or_something_else_in_the_folder_is_refused(searched, tmp_path):
    searched(trials=1)
    with pytest.raises(ValueError, match="is a search with another pipeline"):
        searched("model.behavior=lstm")
    (tmp_path / "other.yaml").write_text("space: {model.dim: [8, 16]}", encoding="utf-8")
    with pytest.raises(ValueError, match="is a search with another space"):
        searched(space="other.yaml")
    (searched.out / "search.json").unlink()
    with pytest.raises(ValueError, match="holds no search of tfrec"):
        searched()


def test_without_optuna_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    path = tiny_shop.write(tmp_path / "shop")
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    assert cli.main(["search", str(path), "--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out")]) == 1
    assert "pip install 'tfrec[search]'" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_an_ensemble_is_judged_by_the_mean_of_its_members():
    history = [{"val_ndcg@10": 0.1}, {"val_ndcg@10": 0.4}, {"val_ndcg@10": 0.3}]
    assert stage_search._reached({"history": history}, "val_ndcg@10", lower=False) == 0.4
    assert stage_search._reached({"history": history}, "val_ndcg@10", lower=True) == 0.1
    members = [{"val_ndcg@10": 0.2}, {"val_ndcg@10": 0.4}]
    assert stage_search._reached({"history": history, "members": members}, "val_ndcg@10", lower=False) == pytest.approx(
        0.3
    )


@pytest.mark.slow
def test_a_second_stage_is_searched_over_one_retrieval_model(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    ranking = "ranking: {recall: 20, rank: 5, interactions: [mlp], learning: {epochs: 2}}\n"
    path = tiny_shop.write(tmp_path / "shop", name="two", epochs=1)
    path.write_text(path.read_text("utf-8").replace("evaluation:", ranking + "evaluation:"), encoding="utf-8")
    space = "trials: 3\nspace: {ranking.learning.learning_rate: [0.0001, 0.05], ranking.negatives.count: [5, 10]}\n"
    (tmp_path / "space.yaml").write_text(space)
    done = []

    def perform(stage, file, folder, overrides, label, watch=None):
        done.append((folder.name, stage, watch is not None))
        stages.run(config.load(file), folder, only=stage)

    monkeypatch.setattr(stage_search, "perform", perform)
    found = stages.search(config.load_search(tmp_path / "space.yaml", path, []), tmp_path / "out")
    first = [("trial_0", "prepare", False), ("trial_0", "train", False), ("trial_0", "rank", True)]
    assert done == [*first, ("trial_1", "rank", True), ("trial_2", "rank", True)]
    ledgers = [json.loads((tmp_path / "out" / "trials" / f"trial_{n}" / "stages.json").read_text()) for n in range(3)]
    figures = [max(epoch["val_ndcg@10"] for epoch in ledger["rank"]["history"]) for ledger in ledgers]
    assert found.value == pytest.approx(max(figures)) and len(found.rows) == 3
    best = config.load(tmp_path / "out" / "best.yaml")
    assert best.ranking.learning.learning_rate == found.best["ranking.learning.learning_rate"]
    chosen = config.load_search(tmp_path / "space.yaml", path, ["ranking.recall=15"])
    with pytest.raises(ValueError, match="is a search with another pipeline"):
        stages.search(chosen, tmp_path / "out")
