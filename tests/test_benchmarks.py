"""A row of the table of results is run seed by seed, and its record is made of runs that differ in the seed alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import PIPELINE, script
from tfrec import config
from tfrec.stages.fit import CHECKPOINTS, OWNER

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
    module.asked, module.status, module.mark = [], 0, "one training"

    def tfrec(words, check):
        stage, folder = words[1], Path(words[4])
        module.asked.append((stage, folder.name))
        if stage == "train" and (not begun(folder).exists() or begun(folder).read_text() != module.mark):
            begun(folder).parent.mkdir(parents=True, exist_ok=True)
            begun(folder).write_text(module.mark)
        if stage == "evaluate" and not (folder / "metrics.json").exists():
            run(folder, seed=int(folder.name.removeprefix("seed_")), hit=0.5)
        return SimpleNamespace(returncode=module.status)

    monkeypatch.setattr(module.subprocess, "run", tfrec)
    monkeypatch.setattr(results, "_git", lambda *words: "" if words[0] == "status" else "abc")
    return module


def begun(folder: Path) -> Path:
    """What a training writes when it begins: a mark of all that it follows from."""
    return folder / "checkpoints" / "key"


def run(folder: Path, *, seed: int, hit: float, length: int = 50, content: str = "tables") -> Path:
    """What a finished run leaves, as far as a record reads it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(config.dump(config.parse(PIPELINE.format(seed=seed, length=length))))
    figures = {f"{name}@10": hit for name in ("hr", "ndcg", "mrr", "coverage")} | {"hr@10_half_width": 0.1}
    metrics = {
        "test": figures | {"ndcg@10_half_width": 0.1},
        "validation": figures,
        "slices": {},
        "baselines": {"popularity": dict.fromkeys(figures, 0.25)},
        "timing": {"epoch_seconds": 90.0, "epochs": 3, "best_epoch": 2},
        "peak_memory_mb": 1024.0,
        "environment": {"cores": 2, "seed": seed},
    }
    history = [{"epoch_seconds": seconds} for seconds in (60.0 * seed, 120.0, 300.0)]
    stages = {"prepare": {"content_hash": content}, "train": {"history": history, "best_epoch": 2}}
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    users = [f"u{number}" for number in range(40)]
    rows = [("tfrec", user, hit, hit) for user in users] + [("popularity", user, 0.25, 0.25) for user in users]
    pd.DataFrame(rows, columns=["model", "user_id", "hr@10", "ndcg@10"]).to_parquet(folder / "per_user.parquet")
    few = pd.DataFrame({"user_id": users, "few_events": [number < 4 for number in range(40)]})
    few.to_parquet(folder / "slices_test.parquet")
    return folder


def test_a_record_holds_mean_and_spread_over_seeds(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.75)]
    found = json.loads(results.record("small", ["one", "two"], folders).read_text())
    assert found["seeds"] == [1, 2] and found["commits"] == ["one", "two"] and found["content_hash"] == "tables"
    assert found["test"]["hr@10"] == {"mean": 0.625, "spread": 0.25}
    assert found["differences"]["popularity"]["ndcg@10"]["verdict"] == "better"
    assert found["environments"] == [{"cores": 2, "seed": 1}, {"cores": 2, "seed": 2}]
    assert "| small |  | 0.6250 ± 0.0000 (0.2500) |" in results.table()


def test_what_was_trained_is_the_epochs_up_to_the_best_one(results, tmp_path):
    folders = [run(tmp_path / str(seed), seed=seed, hit=0.5) for seed in (1, 2, 9)]
    found = results.summarized(["abc"] * 3, folders)
    assert [timing["seconds_to_best"] for timing in found["timing"]] == [180.0, 240.0, 660.0]
    assert "| 3 | 4 min, 2 core(s) | 1.0 GiB |" in results.table({"small": found})
    found["environments"][1]["cores"] = 1
    assert "| 4 min, 1/2 core(s) |" in results.table({"small": found})
    for timing in found["timing"]:  # As records were before: they lacked both.
        del timing["seconds_to_best"]
        timing["epoch_seconds"] = 150.0
    del found["environments"]
    assert "| 5 min, 4 core(s) |" in results.table({"small": {**found, "environment": {"cores": 4}}})


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
    row = results.table().splitlines()[-1]
    assert f"| ids | {ours:.4f} ± 0.0100 (0.0000) | {ours:.4f} ± 0.0100 (0.0000) | {told} |" in row


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


def test_runs_of_other_data_make_no_record(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / name, seed=seed, hit=0.5, content=name) for seed, name in enumerate(("old", "new"))]
    with pytest.raises(ValueError, match=r"of the same data, .* differs: \['old', 'new'\]"):
        results.record("small", ["one", "two"], folders)
    assert not results.RESULTS.exists()


def test_a_row_is_run_seed_by_seed_and_recorded(rows, tmp_path):
    asked = ["movielens_1m", "--seed", "4", "--seed", "2", "--seed", "7", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(rows.main, asked, catch_exceptions=False).exit_code == 0
    assert rows.asked == [(stage, f"seed_{n}") for n in (4, 2, 7) for stage in ("prepare", "train", "evaluate")]
    found = json.loads((tmp_path / "results" / "movielens_1m.json").read_text())
    assert found["seeds"] == [4, 2, 7] and found["commits"] == ["abc", "abc", "abc"]
    assert "| movielens_1m | ids | 0.5000 ± 0.0000 (0.0000) |" in (tmp_path / "README.md").read_text()


def test_fewer_than_three_seeds_are_shown_and_recorded_on_demand(rows, tmp_path):
    asked = ["movielens_1m", "--seed", "1", "--seed", "2", "--seed", "2", "--out", str(tmp_path / "out")]
    page = (tmp_path / "README.md").read_text()
    shown = CliRunner().invoke(rows.main, asked, catch_exceptions=False)
    assert shown.exit_code == 0 and "| movielens_1m | ids | 0.5000 ± 0.0000 (0.0000) |" in shown.output
    assert "not recorded" in shown.output
    assert not (tmp_path / "results").exists() and (tmp_path / "README.md").read_text() == page
    assert CliRunner().invoke(rows.main, [*asked, "--record"], catch_exceptions=False).exit_code == 0
    assert json.loads((tmp_path / "results" / "movielens_1m.json").read_text())["seeds"] == [1, 2]
    assert "| movielens_1m |" in (tmp_path / "README.md").read_text()


def test_a_run_keeps_the_commit_that_its_training_began_with(rows, results, tmp_path):
    folder = tmp_path / "out" / "seed_1"

    def noted_at(commit, changes="", *, status=0):
        results._git = lambda *words: changes if words[0] == "status" else commit
        rows.status = status
        CliRunner().invoke(rows.main, ["movielens_1m", "--seed", "1", "--out", str(tmp_path / "out")])
        return folder.with_suffix(".commit").read_text()

    assert noted_at("first", "M file") == "first and changes"
    assert noted_at("second") == "first and changes"  # It goes on, or is done.
    rows.mark = "a training with other settings"
    assert noted_at("third") == "third"
    begun(folder).unlink()
    assert noted_at("fourth", status=1) == "third"  # It failed before the training.
    assert noted_at("fifth") == "fifth"
    folder.with_suffix(".commit").unlink()
    assert noted_at("sixth") == "unknown"


def test_a_training_that_is_cut_off_has_noted_its_commit(rows, results, monkeypatch, tmp_path):
    note, noted, tfrec = tmp_path / "seed_1.commit", [], rows.subprocess.run

    def cut_off(words, check):
        done = tfrec(words, check)
        if words[1] == "train":
            noted.append(note.read_text())  # All that is there of a command that is killed.
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(rows.subprocess, "run", cut_off)
    asked = ["movielens_1m", "--seed", "1", "--out", str(tmp_path)]
    assert CliRunner().invoke(rows.main, asked).exit_code == 1
    assert [note.read_text()] == noted == ["abc"]
    results._git = lambda *words: "" if words[0] == "status" else "later"
    rows.mark = "a training with other settings"
    assert CliRunner().invoke(rows.main, asked).exit_code == 1
    assert note.read_text() == "later"


def test_the_same_training_from_nothing_again_is_begun_anew(rows, tmp_path):
    begun(tmp_path).parent.mkdir()
    begun(tmp_path).write_text("one training")
    before = rows._begun(tmp_path)
    assert rows._begun(tmp_path) == before
    os.utime(begun(tmp_path), (1, 1))  # As with fewer epochs than the last time: the settings count as the same.
    assert rows._begun(tmp_path) not in (None, before)
    assert (CHECKPOINTS, OWNER) == rows.BEGUN.parts


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
        pipeline = config.load(ROOT / "pipelines" / f"{row['pipeline']}.yaml", overrides)
        assert pipeline.name == name and row["reads"].split(", ") == read(pipeline)


def read(pipeline: config.Pipeline) -> list[str]:
    """What the model of a pipeline reads, in the words of the table."""
    data, model = pipeline.data, pipeline.model
    told = {
        "ids": model.ids,
        "titles": model.text.source != "none",
        "genres": model.item_features and "genres" in data.items.categorical,
        "times": data.events.columns.timestamp is not None,
    }
    return [word for word, does in told.items() if does]


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
