"""Records of pipelines that rank say what the runs gave, and the README's table what the records say."""

import importlib
import json

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import script
from tfrec import config
from tfrec.report.cross_validation import summarized
from tfrec.report.results import plain

SETTINGS = """\
name: clicks
seed: {seed}
data:
  events: {{path: e.csv, columns: {{timestamp: timestamp}}, context: [device], labels: {{like: {{column: liked}}}}}}
  split: {{kind: {split}, folds: 2, fold: {fold}}}
model: {{dim: {dim}}}
"""


def settings(*, seed=1, split="time", fold=0, dim=8):
    text = SETTINGS.format(seed=seed, split=split, fold=fold, dim=dim)
    return text if split != "time" else text.replace("folds: 2, fold: 0", "validation_from: 80%, test_from: 90%")


def run(folder, *, seed=1, split="time", fold=0, dim=8, figures=None, **documents):
    """What a finished run leaves, as far as a record reads it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.dump(config.parse(settings(seed=seed, split=split, fold=fold, dim=dim))))
    figures = figures or {"auc": 0.7 + seed / 100, "auc_half_width": 0.01, "log_loss": 0.5, "log_loss_half_width": 0.02}
    baselines = {"item_and_user_mean": {"auc": 0.65, "log_loss": 0.6}, "recall_alone": {"ndcg@10": 0.1}}
    common = {"timing": {"train_seconds": 9.0}, "peak_memory_mb": 100.0 * seed, "environment": {"cores": 2}}
    told = {"test": figures, "validation": figures, "baselines": baselines, "variants": {}, **common, **documents}
    (folder / "metrics.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def rankers(monkeypatch, tmp_path):
    module = script("rankers")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "records")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    stages = importlib.import_module("tfrec.stages.run")
    monkeypatch.setattr(stages, "pending", lambda pipeline, out, last: [] if out.name != "cut" else ["train"])
    monkeypatch.setattr("declared.PIPELINES", tmp_path)
    for split in ("time", "folds_users"):
        (tmp_path / f"{split}.yaml").write_text(settings(split=split))
    (tmp_path / "README.md").write_text("before\n<!-- rankers -->\nold\n<!-- end of rankers -->\nafter\n")
    monkeypatch.setattr(module, "rows", lambda: ROWS)
    return module


ROWS = {
    "clicks": {
        "pipeline": "time", "predicts": "a click", "runs": "seeds", "figures": ["auc", "log_loss"],
        "beside": "item_and_user_mean",
    },
    "ratings": {
        "pipeline": "folds_users", "predicts": "a rating", "runs": "folds", "figures": ["rmse"], "beside": "mean",
        "published": {"rmse": 0.92, "by": "SVD++"},
    },
    "two": {"pipeline": "time", "predicts": "next", "runs": "stages", "figures": ["ndcg@10"], "beside": "recall_alone"},
}  # fmt: skip


def test_seeds_are_recorded_and_told_with_their_range(rankers, tmp_path):
    runs = [str(run(tmp_path / f"seed_{seed}", seed=seed)) for seed in (1, 2, 3)]
    done = CliRunner().invoke(rankers.main, ["clicks", *runs], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "records" / "clicks.json").read_text())
    assert found["seeds"] == [1, 2, 3] and found["peak_memory_mb"] == 300.0 and found["settings"]["seed"] is None
    assert [each["auc"] for each in found["test"]] == [0.71, 0.72, 0.73]
    page = (tmp_path / "README.md").read_text()
    line = "| clicks | a click | AUC 0.7200 ± 0.0100 (0.7100 to 0.7300), log loss 0.5000 ± 0.0200 (0.5000 to 0.5000)"
    assert f"{line}; 3 seed(s) | item and user mean 0.6500 |" in page and "old" not in page and page.endswith("after\n")


def test_a_cross_validation_stands_beside_what_others_published(rankers, tmp_path):
    for fold in (0, 1):
        run(tmp_path / "folds" / f"fold_{fold}", split="folds_users", fold=fold)
    documents = [
        {"name": "clicks", "test": {"events": 9, "rmse": value}, "baselines": {"mean": {"rmse": 1.1}}}
        for value in (0.896, 0.904)
    ]
    told = plain(summarized(documents))
    (tmp_path / "folds" / "cross_validation.json").write_text(json.dumps(told))
    document = rankers.recorded(ROWS["ratings"], [tmp_path / "folds"])
    assert document["folds"] == told and len(document["timing"]) == 2
    line = "over folds | SVD++ 0.920 (matches), mean 1.1000 |"  # Two folds say little: 0.9 ± 0.05.
    assert line in rankers.table({"ratings": document}) and "RMSE 0.9000 ± 0.00" in rankers.table({"ratings": document})
    for folds, word in (([0.9, 0.9001], "beats"), ([0.95, 0.9501], "falls short of")):
        other = {"clicks": {"rmse": {"mean": sum(folds) / 2, "spread": 0.0001, "folds": folds}}, "mean": told["mean"]}
        assert f"SVD++ 0.920 ({word})" in rankers.table({"ratings": {**document, "folds": other}})


def test_two_stages_are_paired_with_recall_alone_over_users(rankers, tmp_path):
    runs = []
    for seed in (1, 2):
        folder = run(tmp_path / f"seed_{seed}", seed=seed, figures={"ndcg@10": 0.2}, two_stages={"recall@20": 0.5})
        users = [f"u{number}" for number in range(40)]
        rows = [(name, user, gain * (number % 5), gain, gain) for name, gain in (("tfrec", 0.1), ("recall_alone", 0.08))
                for number, user in enumerate(users)]  # fmt: skip
        pd.DataFrame(rows, columns=["model", "user_id", "ndcg@10", "hr@10", "mrr@10"]).to_parquet(
            folder / "per_user.parquet"
        )
        runs.append(folder)
    found = rankers.recorded(ROWS["two"], runs)
    assert found["recall"] == [{"recall@20": 0.5}] * 2
    gap = found["difference"]["ndcg@10"]
    assert (gap["ours"], gap["theirs"]) == (pytest.approx(0.2), pytest.approx(0.16)) and gap["low"] > 0
    assert "NDCG@10 0.2000; 2 seed(s) | recall alone 0.1600 (+0.0400, +0.0" in rankers.table({"two": found})


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (
            {"dim": 16},
            "the runs are not of pipelines/time.yaml: model.dim is 16 and not 8; train them with",
        ),
        (
            {"split": "folds_users"},
            'time.yaml: data.split.folds is 2 and not 5, data.split.kind is "folds_users" and',
        ),
        ({"seed": 1}, "each run must have a seed of its own, and they are 1, 1"),
        ({"folder": "cut"}, "cut is not finished: train is to be done"),
    ],
)
def test_other_settings_and_unfinished_runs_are_refused_in_one_line(others, told, rankers, tmp_path):
    folder = tmp_path / others.get("folder", "other")
    others = {key: value for key, value in {"seed": 2, **others}.items() if key != "folder"}
    runs = [str(run(tmp_path / "one")), str(run(folder, **others))]
    done = CliRunner().invoke(rankers.main, ["clicks", *runs])
    assert done.exit_code == 1 and told in done.output and not (tmp_path / "records").exists()
    assert "give a row, one of clicks, ratings, two" in CliRunner().invoke(rankers.main, ["nothing"]).output


def test_a_record_stands_until_it_is_said_that_fewer_seeds_may_come(rankers, tmp_path):
    runs = [str(run(tmp_path / f"seed_{seed}", seed=seed)) for seed in (1, 2, 3)]
    assert CliRunner().invoke(rankers.main, ["clicks", *runs], catch_exceptions=False).exit_code == 0
    record = tmp_path / "records" / "clicks.json"
    done = CliRunner().invoke(rankers.main, ["clicks", runs[1]])
    assert done.exit_code == 1 and json.loads(record.read_text())["seeds"] == [1, 2, 3]
    assert done.output == "Error: clicks.json is of 3 seeds, and these are 1; --record writes them in its place\n"
    assert CliRunner().invoke(rankers.main, ["clicks", runs[1], "--record"], catch_exceptions=False).exit_code == 0
    assert json.loads(record.read_text())["seeds"] == [2]


def test_the_readme_holds_what_the_records_say():
    rankers = script("rankers")
    page = rankers.README.read_text(encoding="utf-8")
    assert rankers.results.between(page, rankers.MARK, rankers.table(rankers.records())) == page
