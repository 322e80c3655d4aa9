"""Cross-validation: every fold tests once, nothing is repeated, and the table is that of the folds' figures."""

import json

import numpy as np
import pytest

from tests.stages.test_ranker import write
from tfrec import cli, config, stages
from tfrec.data import Dataset
from tfrec.report.cross_validation import folds_table, summarized

TWO = "data.split={kind: folds_users, folds: 2, validation: 0.3}"


def test_each_fold_is_a_run_and_mean_and_spread_are_of_them(tmp_path, capsys, monkeypatch):
    done = []

    def here(stage, pipeline, out, overrides, label):
        """Real data sets; in place of training, figures that follow from them."""
        done.append((label, stage))
        settings = config.load(pipeline, overrides)
        if stage == "prepare":
            stages.run(settings, out, only=stage)
        if stage == "evaluate":
            counts = json.loads((out / "dataset" / "manifest.json").read_text("utf-8"))["counts"]
            figures = {"auc": counts["test_users"] / 100, "auc_half_width": 0.5, "users": counts["test_users"]}
            document = {"name": "clicks", "test": figures, "baselines": {"mean": {**figures, "auc": 0.5}}}
            rest = {"timing": {"train_seconds": 7.0}, "peak_memory_mb": 100.0, "environment": {}}
            (out / "metrics.json").write_text(json.dumps({**document, **rest}))

    monkeypatch.setattr("tfrec.stages.cross_validation.perform", here)
    path = write(tmp_path / "shop")
    words = ["cross-validate", str(path), "--out", str(tmp_path / "folds"), "--set", TWO, "--set", "training.epochs=1"]
    assert cli.main(words) == 0
    assert done == [(f"fold {fold}", stage) for fold in range(2) for stage in ("prepare", "train", "evaluate")]
    found = json.loads((tmp_path / "folds" / "cross_validation.json").read_text("utf-8"))
    users = [
        set(Dataset.open(tmp_path / "folds" / f"fold_{fold}" / "dataset").truth("test").user_id) for fold in range(2)
    ]
    assert not users[0] & users[1] and len(users[0] | users[1]) == 60
    values = [len(each) / 100 for each in users]
    assert found["clicks"] == {"auc": {"mean": np.mean(values), "spread": np.std(values, ddof=1), "folds": values}}
    assert found["mean"]["auc"]["folds"] == [0.5, 0.5] and found["mean"]["auc"]["spread"] == 0
    page = (tmp_path / "folds" / "cross_validation.md").read_text("utf-8")
    assert "# clicks: 2 folds" in page and "training, all folds (s)" in page and "auc" in capsys.readouterr().out
    done.clear()
    assert cli.main(words) == 0
    assert ("fold 0", "prepare") not in done


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
