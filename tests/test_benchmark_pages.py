"""The pages of experiments and of ablations show what their records say."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import PIPELINE, script
from tfrec import config

EMPTY = "before\n<!-- {0} -->\n<!-- end of {0} -->\nafter\n"


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def experiments(results, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "_git", lambda *words: "0123456789abcdef")
    module = script("experiments")
    monkeypatch.setattr(module, "LOG", tmp_path / "experiments.jsonl")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text(EMPTY.format(module.MARK))
    return module


def trained(folder: Path, best: float, *overrides: str) -> Path:
    """What a training leaves, as far as the log of experiments reads it."""
    folder.mkdir()
    pipeline = config.parse(PIPELINE.format(seed=1, length=50), list(overrides))
    (folder / "config.yaml").write_text(config.dump(pipeline))
    epochs = [{"val_hr@10": best / 2, "val_ndcg@10": best / 4}, {"val_hr@10": best, "val_ndcg@10": best / 2}]
    figures = {"history": epochs, "best_epoch": 2, "epochs": 2, "parameters": 1234, "epoch_seconds": 7.6}
    (folder / "stages.json").write_text(json.dumps({"train": figures}))
    return folder


def test_an_experiment_is_what_differs_and_what_validation_said(experiments, monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "PIPELINES", tmp_path)
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=50))

    def record(*words):
        assert CliRunner().invoke(experiments.main, ["record", "small", *words], catch_exceptions=False).exit_code == 0
        return experiments.PAGE.read_text().splitlines()

    trained(tmp_path / "a", 0.25)
    trained(tmp_path / "b", 0.5, "model.dim=32", "seed=3", "name=other", "training.objective=gbce")
    record(str(tmp_path / "a"), str(tmp_path / "b"), "--note", "quick")
    trained(tmp_path / "again", 0.375, "training.objective.unseen=true")  # What the data say anyhow.
    assert record(str(tmp_path / "again")) == [
        "before", "<!-- experiments -->", "## small", "", experiments.HEAD, "|" + " --- |" * 9,
        "| `model.dim=32`<br>`training.objective.name=gbce` | 0.2500 | 0.5000 | 3 | 2 | 2 | 8 | 1,234 | quick |",
        "| **as it is** | 0.1875 | 0.3750 | 1 | 2 | 2 | 8 | 1,234 |  |",
        "<!-- end of experiments -->", "after",
    ]  # fmt: skip
    known = experiments.LOG.read_text()
    for words, told in (
        (["none", str(tmp_path / "again")], "there is no pipeline 'none'"),
        (["small", str(tmp_path)], "holds no finished training"),
    ):
        ended = CliRunner().invoke(experiments.main, ["record", *words])
        assert ended.exit_code == 1 and told in ended.output and experiments.LOG.read_text() == known
    lines = [json.loads(line) for line in known.splitlines()]
    for line in lines:  # As noted before there was a setting.
        del line["settings"]["model.attention.kind"]
    experiments.LOG.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=50) + "model: {dim: 32}\n")
    assert [line.partition(" | ")[0] for line in record(str(tmp_path / "again"))[6:8]] == [
        "| `training.objective.name=gbce`", "| `model.dim=128`",
    ]  # fmt: skip


def test_the_page_of_experiments_shows_what_the_log_says(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "results", results)
    module = script("experiments")
    text = module.PAGE.read_text(encoding="utf-8")
    assert f"<!-- {module.MARK} -->" in text and results.between(text, module.MARK, module.as_markdown()) == text


def compared(folder: Path, **failures: str) -> Path:
    """What a finished comparison leaves, as far as a record of ablations reads it."""

    def variant(hit: float, **changes: object) -> dict:
        figures = {"hr@10": hit, "ndcg@10": hit / 2, "coverage@10": 0.5}
        costs = {"parameters": 1234.0, "epoch_seconds": 7.6, "peak_memory_mb": 9.0}
        splits = {"validation": figures, "test": figures, "environment": {"cores": 2}}
        return {"changes": changes, "seeds": [1], **costs, **splits}

    gap = {"difference": -0.125, "low": -0.15, "high": -0.1, "verdict": "worse"}
    document = {
        "reference": "whole",
        "variants": {
            "whole": variant(0.5),
            "b": variant(0.4, **{"model.dropout": 0.0}),
            "a": variant(0.25, **{"model.text": "none"}),
        },
        "differences": {name: {"all": {"hr@10": gap, "ndcg@10": gap}, "cold": {}} for name in ("a", "b")},
        "failures": [{"variant": name, "reason": reason} for name, reason in failures.items()],
    }
    folder.mkdir()
    (folder / "comparison.json").write_text(json.dumps(document))
    return folder


def test_an_ablation_is_what_a_piece_less_costs(results, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "_git", lambda *words: "0123456789abcdef")
    module = script("ablations")
    page = module.PAGE.read_text(encoding="utf-8")
    assert f"<!-- {module.MARK} -->" in page and results.between(page, module.MARK, module.as_markdown()) == page
    monkeypatch.setattr(module, "RECORDS", tmp_path / "ablations")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text(EMPTY.format(module.MARK))
    for folder, told in (
        (tmp_path, "holds no finished comparison"),
        (compared(tmp_path / "failed", b="out of memory"), "out of memory"),
    ):
        ended = CliRunner().invoke(module.main, ["record", "small", str(folder)])
        assert ended.exit_code == 1 and told in ended.output and not module.RECORDS.exists()
    asked = ["record", "small", str(compared(tmp_path / "done"))]
    assert CliRunner().invoke(module.main, asked, catch_exceptions=False).exit_code == 0
    gap = "-0.1250 (-0.1500 to -0.1000), worse"
    assert module.PAGE.read_text().splitlines() == [
        "before", "<!-- ablations -->", "## small", "", "Seeds: 1; 2 core(s).", "", module.HEAD, "|" + " --- |" * 8,
        "| **as it is** | 0.2500 |  | 0.5000 |  | 0.2500 | 1,234 | 8 s |",
        f"| `model.text=none` | 0.1250 | {gap} | 0.2500 | {gap} | 0.1250 | 1,234 | 8 s |",
        f"| `model.dropout=0.0` | 0.2000 | {gap} | 0.4000 | {gap} | 0.2000 | 1,234 | 8 s |",
        "<!-- end of ablations -->", "after",
    ]  # fmt: skip
    assert json.loads((module.RECORDS / "small.json").read_text())["commit"] == "0123456789abcdef"
