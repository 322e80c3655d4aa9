"""Experiments are trained runs on the data of a pipeline, and their page shows what the log says."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import PIPELINE, dataset, experiments_in, script
from tfrec import config

RECORD = ["record", "small", "--commit", "abc"]


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def experiments(results, monkeypatch, tmp_path):
    return experiments_in(tmp_path, results, monkeypatch)


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
        assert CliRunner().invoke(experiments.main, [*RECORD, *words], catch_exceptions=False).exit_code == 0
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
        ended = CliRunner().invoke(experiments.main, ["record", "--commit", "abc", *words])
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


def test_what_nothing_reads_makes_no_other_experiment(experiments, monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "PIPELINES", tmp_path)
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=50))
    convolution = ('model.behavior=["convolution"]', "model.convolution.blocks=9")
    ids = ("model.text=none", "model.item_features=false")
    folders = [
        trained(tmp_path / "plain", 0.25),
        trained(tmp_path / "idle", 0.5, "model.convolution.blocks=9", "model.lstm.layers=3"),
        trained(tmp_path / "read", 0.375, *convolution),
        trained(tmp_path / "hidden", 0.125, "model.id_dropout=0.5", *ids),
    ]
    assert CliRunner().invoke(experiments.main, [*RECORD, *map(str, folders)]).exit_code == 0
    assert [line.split(" | ")[0] for line in experiments.PAGE.read_text().splitlines()[6:-2]] == [
        "| **as it is**",
        "| `model.behavior=[\"convolution\"]`<br>`model.convolution.blocks=9`",
        "| `model.item_features=false`<br>`model.text.source=none`",
    ]  # fmt: skip


@pytest.fixture
def small(experiments, monkeypatch, tmp_path):
    """Records experiments of the pipeline `small`; what is noted then, or what the refusal says."""
    monkeypatch.setattr(experiments, "PIPELINES", tmp_path)
    monkeypatch.setattr(experiments.results, "RESULTS", tmp_path)
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=50))

    def record(*words):
        before = experiments.LOG.read_text() if experiments.LOG.exists() else ""
        ended = CliRunner().invoke(experiments.main, ["record", "small", *map(str, words)])
        if ended.exit_code == 0:
            return json.loads(experiments.LOG.read_text().splitlines()[-1])
        assert ended.exit_code == 1 and ended.output.startswith("Error: ") and ended.output.count("\n") == 1
        assert (experiments.LOG.read_text() if experiments.LOG.exists() else "") == before
        return ended.output

    return record


def test_a_run_of_other_data_is_no_experiment(small, tmp_path):
    def told(name, *overrides, last="a", without=()):
        folder = trained(tmp_path / name, 0.25, *overrides)
        dataset(folder / "dataset", last)
        items = pd.read_parquet(folder / "dataset" / "items.parquet")
        items.drop(columns=list(without)).to_parquet(folder / "dataset" / "items.parquet")
        return small(folder, "--commit", "abc")

    dataset(tmp_path / "known" / "dataset")
    known = script("inputs").data_digest(tmp_path / "known", config.load(tmp_path / "small.yaml"))
    (tmp_path / "small.json").write_text(json.dumps({"data_digest": known}))
    assert told("same")["val_ndcg@10"] == 0.125
    assert told("elsewhere", "data.events.path=other.csv", "data.min_user_events=2", "model.text=none")["seed"] == 1
    other = "is no experiment of small: the data are not those of small.json, which published figures stand beside: "
    assert other in told("event", last="b") and other in told("text", "model.text=none", without=["text"])
    assert 'seen is no experiment of small: data.seen is "keep" and not "remove"\n' in told("seen", "data.seen=keep")


def test_where_there_is_no_digest_the_settings_of_the_data_are_compared(small, tmp_path):
    allowed = ["data.max_length=9", "data.windows=newest", "data.shards=2", "data.root=/elsewhere", "model.dim=8"]
    assert small(trained(tmp_path / "model", 0.25, *allowed), "--commit", "abc")["val_ndcg@10"] == 0.125
    for number, change in enumerate(("data.events.path=other.csv", "data.min_item_events=5", "data.seen=keep")):
        told = small(trained(tmp_path / f"{number}", 0.25, change), "--commit", "abc")
        name, _, value = change.partition("=")
        assert f"{number} is no experiment of small: {name} is " in told and value in told and "and not" in told


def test_the_commit_is_that_noted_beside_the_run(small, tmp_path):
    folder = trained(tmp_path / "rate_0.5", 0.25)
    assert small(folder) == f"Error: {folder}.commit does not say which code {folder} was made with: --commit says it\n"
    (tmp_path / "rate_0.5.commit").write_text("unknown")
    assert "rate_0.5.commit does not say" in small(folder)
    (tmp_path / "rate_0.5.commit").write_text("fedcba9876543210")
    assert small(folder)["commit"] == "fedcba9876"
    (tmp_path / "rate_0.5.commit").write_text("fedcba9876543210 and changes")
    assert small(folder)["commit"] == "fedcba9876 and changes"
    assert small(folder, "--commit", "abc")["commit"] == "0123456789"


def test_what_makes_no_experiment_is_told_in_one_line(small, experiments, monkeypatch, tmp_path):
    folder = trained(tmp_path / "a", 0.25)
    ranked = json.loads((folder / "stages.json").read_text().replace("ndcg@10", "auc"))
    (folder / "stages.json").write_text(json.dumps(ranked))
    assert "a has no validation NDCG@10: the experiments are those of retrieval models" in small(
        folder, "--commit", "abc"
    )
    (trained(tmp_path / "b", 0.25) / "config.yaml").unlink()
    assert "no pipeline file" in small(tmp_path / "b", "--commit", "abc")
    monkeypatch.setattr(experiments.results, "_git", script("results")._git)
    assert "there is no commit 'nosuch' in " in small(trained(tmp_path / "c", 0.25), "--commit", "nosuch")
