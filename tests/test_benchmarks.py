"""The table of results in the README is what the records give; a record is made of runs that differ in seed alone."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner

from tfrec import config

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = (
    "name: small\nseed: {seed}\ndata: {{events: {{path: e.csv, columns: {{position: n}}}}, max_length: {length}}}\n"
)


def test_the_settings_of_every_record_can_be_run_again():
    records = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert records
    for record in records:
        settings = json.loads(record.read_text("utf-8"))["settings"]
        assert config.Pipeline.model_validate({**settings, "seed": 1}).name == settings["name"]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def rows(results, monkeypatch, tmp_path):
    """The command that runs a row, with a `tfrec` that is done at once and notes what it was asked."""
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{results.BEGIN}\n{results.END}\nafter\n")
    module = script("run")
    module.asked, module.status = [], 0

    def tfrec(words, check):
        stage, folder = words[1], Path(words[4])
        module.asked.append((stage, folder.name))
        if stage == "evaluate" and not (folder / "metrics.json").exists():
            run(folder, seed=int(folder.name.removeprefix("seed_")), hit=0.5)
        return SimpleNamespace(returncode=module.status)

    monkeypatch.setattr(module.subprocess, "run", tfrec)
    monkeypatch.setattr(results, "_git", lambda *words: "" if words[0] == "status" else "abc")
    return module


def run(folder: Path, *, seed: int, hit: float, length: int = 50) -> Path:
    """What a finished run leaves, as far as a record reads it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(config.dump(config.parse(PIPELINE.format(seed=seed, length=length))))
    figures = {f"{name}@10": hit for name in ("hr", "ndcg", "mrr", "coverage")} | {"hr@10_half_width": 0.1}
    metrics = {
        "test": figures | {"ndcg@10_half_width": 0.1},
        "validation": figures,
        "slices": {},
        "baselines": {"popularity": dict.fromkeys(figures, 0.25)},
        "timing": {"epoch_seconds": 2.0, "epochs": 3, "best_epoch": 2},
        "peak_memory_mb": 1024.0,
        "environment": {"cores": 2},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    users = [f"u{number}" for number in range(40)]
    rows = [("tfrec", user, hit, hit) for user in users] + [("popularity", user, 0.25, 0.25) for user in users]
    pd.DataFrame(rows, columns=["model", "user_id", "hr@10", "ndcg@10"]).to_parquet(folder / "per_user.parquet")
    few = pd.DataFrame({"user_id": users, "few_events": [number < 4 for number in range(40)]})
    few.to_parquet(folder / "slices_test.parquet")
    return folder


def test_the_readme_shows_what_the_records_say(results):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert results.BEGIN in text
    assert results.with_table(text) == text


def test_a_record_holds_mean_and_spread_over_seeds(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.75)]
    found = json.loads(results.record("small", ["one", "two"], folders).read_text())
    assert found["seeds"] == [1, 2] and found["commits"] == ["one", "two"]
    assert found["test"]["hr@10"] == {"mean": 0.625, "spread": 0.25}
    assert found["differences"]["popularity"]["ndcg@10"]["verdict"] == "better"
    assert "| small | 0.6250 ± 0.0000 |" in results.table()


@pytest.mark.parametrize(
    ("seeds", "ours", "told"),
    [
        (3, 0.5, "0.2811 / 0.1648 (beats)"),
        (2, 0.5, "0.2811 / 0.1648"),
        (3, 0.2, "0.2811 / 0.1648 (falls short of / beats)"),
        (3, 0.17, "0.2811 / 0.1648 (falls short of / matches)"),
    ],
)
def test_a_row_stands_beside_the_best_published_figures(results, monkeypatch, tmp_path, seeds, ours, told):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / f"s{seed}", seed=seed, hit=ours) for seed in range(seeds)]
    for folder in folders:  # Half the users a little below, half above: a half-width of 0.01.
        table = pd.read_parquet(folder / "per_user.parquet")
        up = table["user_id"].str.lstrip("u").astype(int) % 2 * 2 - 1
        for figure in ("hr@10", "ndcg@10"):
            table[figure] += 0.0323 * up
        table.to_parquet(folder / "per_user.parquet")
    results.record("movielens_1m_lstm", ["abc"] * seeds, folders)
    row = results.table(["movielens_1m_lstm"]).splitlines()[-1]
    assert f"| {ours:.4f} ± 0.0100 | {ours:.4f} ± 0.0100 | {told} |" in row
    assert "| 0 min, 2 cores |" in row


def test_two_runs_are_compared_user_by_user(results, tmp_path):
    better, worse = run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.25)
    assert results.difference(better, worse).splitlines() == [
        "hr@10: 0.5000 - 0.2500 = +0.2500 (+0.2500 to +0.2500), better",
        "ndcg@10: 0.5000 - 0.2500 = +0.2500 (+0.2500 to +0.2500), better",
    ]
    assert results.difference(worse, better).endswith("worse")
    table = pd.read_parquet(worse / "per_user.parquet")
    table.loc[table["user_id"].isin(["u0", "u1", "u2", "u3"]), "hr@10"] = 0.5
    table.to_parquet(worse / "per_user.parquet")
    few = results.difference(better, worse, "few_events").splitlines()
    assert few[0] == "hr@10: 0.5000 - 0.5000 = +0.0000 (+0.0000 to +0.0000), not better"
    with pytest.raises(ValueError, match="has no slice 'few'; it has few_events"):
        results.difference(better, worse, "few")


def test_runs_that_differ_in_more_than_the_seed_make_no_record(results, tmp_path):
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.5, length=20)]
    with pytest.raises(ValueError, match="differ in their seed alone"):
        results.record("small", ["one", "two"], folders)


def test_a_row_is_run_seed_by_seed_and_recorded(rows, results, tmp_path):
    asked = ["movielens_1m", "--seed", "4", "--seed", "2", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(rows.main, asked, catch_exceptions=False).exit_code == 0
    assert rows.asked == [(stage, f"seed_{n}") for n in (4, 2) for stage in ("prepare", "train", "evaluate")]
    found = json.loads((tmp_path / "results" / "movielens_1m.json").read_text())
    assert found["seeds"] == [4, 2] and found["commits"] == ["abc", "abc"]
    assert "| movielens_1m | 0.5000 ± 0.0000 |" in (tmp_path / "README.md").read_text()
    results._git = lambda *words: "M file" if words[0] == "status" else "later"
    assert CliRunner().invoke(rows.main, [*asked, "--seed", "7"], catch_exceptions=False).exit_code == 0
    found = json.loads((tmp_path / "results" / "movielens_1m.json").read_text())
    assert found["commits"] == ["abc", "abc", "later and changes"]


def test_a_row_that_fails_is_not_recorded(rows, tmp_path):
    rows.status = 1
    ended = CliRunner().invoke(rows.main, ["amazon_beauty", "--out", str(tmp_path / "out")])
    assert ended.exit_code == 1 and "amazon_beauty, seed 1: tfrec prepare ended with status 1" in ended.output
    assert not (tmp_path / "results").exists()


def test_every_row_has_a_pipeline_and_every_record_a_row(rows):
    named = rows.results.rows()
    assert {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")} <= set(named)
    for name, row in named.items():
        overrides = [f"name={name}", *row.get("set", [])]
        assert config.load(ROOT / "pipelines" / f"{row['pipeline']}.yaml", overrides).name == name


@pytest.fixture
def experiments(results, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "_git", lambda *words: "0123456789abcdef")
    module = script("experiments")
    monkeypatch.setattr(module, "LOG", tmp_path / "experiments.jsonl")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text(f"before\n{module.BEGIN}\n{module.END}\nafter\n")
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
    trained(tmp_path / "b", 0.5, "model.dim=128", "seed=3", "name=other", "training.objective=gbce")
    record(str(tmp_path / "a"), str(tmp_path / "b"), "--note", "quick")
    trained(tmp_path / "again", 0.375)
    assert record(str(tmp_path / "again")) == [
        "before", experiments.BEGIN, "## small", "", experiments.HEAD, "|" + " --- |" * 9,
        "| `model.dim=128`<br>`training.objective.name=gbce` | 0.2500 | 0.5000 | 3 | 2 | 2 | 8 | 1,234 | quick |",
        "| **as it is** | 0.1875 | 0.3750 | 1 | 2 | 2 | 8 | 1,234 |  |",
        experiments.END, "after",
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
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=50) + "model: {dim: 128}\n")
    assert [line.partition(" | ")[0] for line in record(str(tmp_path / "again"))[6:8]] == [
        "| `training.objective.name=gbce`", "| `model.dim=64`",
    ]  # fmt: skip


def test_the_page_of_experiments_shows_what_the_log_says(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "results", results)
    module = script("experiments")
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.BEGIN in text and module.with_tables(text) == text


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
    assert module.BEGIN in page and module.with_tables(page) == page
    monkeypatch.setattr(module, "RECORDS", tmp_path / "ablations")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text(f"before\n{module.BEGIN}\n{module.END}\nafter\n")
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
        "before", module.BEGIN, "## small", "", "Seeds: 1; 2 cores.", "", module.HEAD, "|" + " --- |" * 8,
        "| **as it is** | 0.2500 |  | 0.5000 |  | 0.2500 | 1,234 | 8 s |",
        f"| `model.text=none` | 0.1250 | {gap} | 0.2500 | {gap} | 0.1250 | 1,234 | 8 s |",
        f"| `model.dropout=0.0` | 0.2000 | {gap} | 0.4000 | {gap} | 0.2000 | 1,234 | 8 s |",
        module.END, "after",
    ]  # fmt: skip
    assert json.loads((module.RECORDS / "small.json").read_text())["commit"] == "0123456789abcdef"
