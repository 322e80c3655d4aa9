"""The table of results in the README is what the records give; a record is made of runs that differ in seed alone."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import PIPELINE, script
from tfrec import config

ROOT = Path(__file__).resolve().parents[1]


def test_the_settings_of_every_record_can_be_run_again():
    records = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert records
    for record in records:
        settings = json.loads(record.read_text("utf-8"))["settings"]
        assert config.Pipeline.model_validate({**settings, "seed": 1}).name == settings["name"]


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def rows(results, monkeypatch, tmp_path):
    """The command that runs a row, with a `tfrec` that is done at once and notes what it was asked."""
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n<!-- {results.MARK} -->\n<!-- end of {results.MARK} -->\nafter\n")
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
        "timing": {"epoch_seconds": 120.0, "epochs": 3, "best_epoch": 2},
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
    assert f"<!-- {results.MARK} -->" in text
    assert results.between(text, results.MARK, results.table()) == text


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
    for seed, folder in enumerate(folders):  # By the first seed half the users below, half above: of the mean 0.01.
        table = pd.read_parquet(folder / "per_user.parquet")
        up = table["user_id"].str.lstrip("u").astype(int) % 2 * 2 - 1
        for figure in ("hr@10", "ndcg@10"):
            table[figure] += 0.0323 * up * (seeds if seed == 0 else 0)
        table.to_parquet(folder / "per_user.parquet")
    results.record("movielens_1m_lstm", ["abc"] * seeds, folders)
    row = results.table(["movielens_1m_lstm"]).splitlines()[-1]
    assert f"| {ours:.4f} ± 0.0100 | {ours:.4f} ± 0.0100 | {told} |" in row
    assert "| 4 min, 2 core(s) |" in row


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
    row = tmp_path / "row"
    row.mkdir()
    run(row / "seed_1", seed=1, hit=0.5)
    run(row / "seed_2", seed=2, hit=0.75)
    assert results.difference(row, worse, "few_events").splitlines()[1].startswith("ndcg@10: 0.6250 - 0.2500 = +0.3750")
    with pytest.raises(ValueError, match="holds no finished run"):
        results.difference(better, tmp_path)
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


def test_what_a_row_writes_is_no_change_of_the_code(results, monkeypatch, tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tmp_path, check=True)

    written = [tmp_path / "README.md", tmp_path / "benchmarks" / "results" / "row.json"]
    code = tmp_path / "benchmarks" / "run.py"
    written[1].parent.mkdir(parents=True)
    for path in (*written, code):
        path.write_text("before")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    for path in written:
        path.write_text("after")
    assert not results.changed()
    code.write_text("after")
    assert results.changed()


def test_what_the_defaults_make_of_data_alone_is_declared_by_data_alone():
    folder = ROOT / "benchmarks" / "data_alone"
    assert {path.stem for path in folder.iterdir()} == {"amazon_beauty", "movielens_1m", "movielens_100k"}
    for path in folder.iterdir():
        pipeline, tuned = config.load(path), config.load(ROOT / "pipelines" / path.name)
        assert (pipeline.model, pipeline.training) == (config.Model(), config.Training())
        assert pipeline.data.events == tuned.data.events and pipeline.data.items.path == tuned.data.items.path
