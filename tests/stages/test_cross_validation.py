"""Cross-validation: every fold tests once, nothing is repeated, and the table is that of the folds' figures."""

import json

import numpy as np
import pytest

from tests.stages.test_ranker import write
from tfrec import cli, config, stages
from tfrec.report.cross_validation import folds_table, summarized

TWO = "data.split={kind: folds_users, folds: 2, validation: 0.3}"


@pytest.mark.slow
def test_mean_and_spread_are_of_the_folds_and_a_second_time_nothing_is_done(tmp_path, capsys, monkeypatch):
    def here(stage, pipeline, out, overrides, label):
        """A stage in this process: TensorFlow is there already."""
        stages.run(config.load(pipeline, overrides), out, only=stage)

    monkeypatch.setattr("tfrec.stages.cross_validation.perform", here)
    path = write(tmp_path / "shop")
    words = ["cross-validate", str(path), "--out", str(tmp_path / "folds"), "--set", TWO, "--set", "training.epochs=1"]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "folds" / "cross_validation.json").read_text("utf-8"))
    folds = [json.loads((tmp_path / "folds" / f"fold_{fold}" / "metrics.json").read_text("utf-8")) for fold in range(2)]
    for name in ("like_auc", "stars_rmse"):
        values = [fold["test"][name] for fold in folds]
        assert found["clicks"][name] == {"mean": np.mean(values), "spread": np.std(values, ddof=1), "folds": values}
    assert values[0] != values[1] and "item_and_user_mean" in found and "like_users" not in found["clicks"]
    assert sum(fold["test"]["like_users"] for fold in folds) == 60
    assert "like_auc" in told and "# clicks: 2 folds" in (tmp_path / "folds" / "cross_validation.md").read_text("utf-8")
    monkeypatch.setattr("tfrec.stages.cross_validation.perform", lambda *words: pytest.fail("done before"))
    assert cli.main(words) == 0


def test_another_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="data.split.kind is time, and a cross-validation needs folds_events"):
        stages.cross_validate(config.load(write(tmp_path / "shop")), tmp_path / "folds")
    assert not (tmp_path / "folds").exists()


def test_a_fold_that_fails_says_which_and_why(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrec.stages.cross_validation.perform", lambda *words: "the disk is full")
    with pytest.raises(ValueError, match=r"fold 0 of .*folds: the disk is full"):
        stages.cross_validate(config.load(write(tmp_path / "shop"), [TWO]), tmp_path / "folds")


def test_a_figure_that_a_fold_lacks_is_left_out_and_retrieval_has_its_own():
    documents = [
        {"name": "shop", "test": {"hr@10": hr, "auc": auc, "hr@50": 0.5}, "baselines": {"popularity": {"hr@10": 0.1}}}
        for hr, auc in ((0.25, 0.7), (0.75, None))
    ]
    found = summarized(documents)
    assert set(found["shop"]) == {"hr@10", "hr@50"} and found["shop"]["hr@10"]["mean"] == 0.5
    headings, rows = folds_table(found)
    assert headings[-2:] == ["fold 0", "fold 1"]
    assert [row[:3] for row in rows] == [["shop", "hr@10", "0.5000"], ["popularity", "hr@10", "0.1000"]]
