"""An independent scorer looks at the figures of a record."""

import json
import sys

import pandas as pd
import pytest

from tests.benchmark_scripts import run, script, small_rows


@pytest.fixture
def scorer(monkeypatch, tmp_path):
    module = script("scorer")
    monkeypatch.setattr(module, "SCORER", tmp_path / "none")
    return module


@pytest.fixture
def results(scorer, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scorer", scorer)
    module = script("results")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    small_rows(module, monkeypatch, tmp_path)
    return module


SCORER = """\
import json, sys
if "refuse" in sys.argv[2]:
    print("2 items of a user twice")
    sys.exit(1)
told = {"all": {"hr@10": 0.5, "ndcg@10": 0.5 + 2e-7, "mrr@10": 0.5}}
if "--cold" in sys.argv:
    told["cold"] = dict.fromkeys(told["all"], float(len(open(sys.argv[-1]).read().split()[1:])))
print(json.dumps(told))
"""


def test_an_independent_scorer_has_the_last_word(results, scorer, tmp_path):
    scorer.SCORER.write_text(SCORER)
    found = json.loads(results.record("small", [run(tmp_path / "a", seed=1, hit=0.5)]).read_text())
    assert found["scorer"]["largest_difference"] == pytest.approx(2e-7) and len(found["scorer"]["sha256"]) == 64
    with pytest.raises(ValueError, match="none and the runs differ by 0.25, and may by 1e-06"):
        results.record("small", [run(tmp_path / "b", seed=1, hit=0.25)])
    with pytest.raises(ValueError, match="none refuses .*refuse: 2 items of a user twice"):
        results.record("small", [run(tmp_path / "refuse", seed=1, hit=0.5)])


def test_the_scorer_is_told_which_items_are_cold(scorer, tmp_path):
    scorer.SCORER.write_text(SCORER)
    folder = run(tmp_path / "a", seed=1, hit=0.5)
    items = pd.read_parquet(folder / "dataset" / "items.parquet")
    items.assign(held_out=[1, 0]).to_parquet(folder / "dataset" / "items.parquet")
    metrics = json.loads((folder / "metrics.json").read_text())
    for cold, refused in ((1.0, False), (0.5, True)):
        metrics["slices"]["cold_items"] = dict.fromkeys(metrics["test"], cold)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        if refused:
            with pytest.raises(ValueError, match="differ by 0.5, and may by 1e-06"):
                scorer.scored([folder])
        else:
            assert scorer.scored([folder])["largest_difference"] == pytest.approx(2e-7)


def test_that_no_scorer_looked_is_said(scorer, tmp_path, capsys):
    assert scorer.scored([run(tmp_path / "a", seed=1, hit=0.5)]) is None
    assert "no independent scorer looked at the figures" in capsys.readouterr().err
