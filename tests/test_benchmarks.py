"""The table of results in the README is what the records give; a record is made of runs that differ in seed alone."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

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


@pytest.fixture
def results(monkeypatch):
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_commit", lambda revision: revision)
    return module


def run(folder: Path, *, seed: int, hit: float, length: int = 50) -> Path:
    """What a finished run leaves, as far as a record reads it."""
    folder.mkdir()
    (folder / "config.yaml").write_text(config.dump(config.parse(PIPELINE.format(seed=seed, length=length))))
    figures = {f"{name}@10": hit for name in ("hr", "ndcg", "mrr", "coverage")} | {"hr@10_half_width": 0.1}
    metrics = {
        "test": figures | {"ndcg@10_half_width": 0.1},
        "validation": figures,
        "slices": {},
        "baselines": {"popularity": dict.fromkeys(figures, 0.25)},
        "timing": {"epoch_seconds": 2.0, "epochs": 3},
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
    found = json.loads(results.record("small", "HEAD", folders).read_text())
    assert found["seeds"] == [1, 2]
    assert found["test"]["hr@10"] == {"mean": 0.625, "spread": 0.25}
    assert found["differences"]["popularity"]["ndcg@10"]["verdict"] == "better"
    assert "| small | 0.6250 ± 0.1000 |" in results.table()


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
        results.record("small", "HEAD", folders)
