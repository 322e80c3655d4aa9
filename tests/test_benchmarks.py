"""A row of the table of results is run seed by seed, and its record is made of runs that differ in the seed alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import PIPELINE, dataset, run, script, small_rows
from tfrec import config
from tfrec.stages.fit import CHECKPOINTS, OWNER

ROOT = Path(__file__).resolve().parents[1]


def test_the_settings_of_every_record_can_be_run_again():
    records = script("results").records()
    assert records
    for record in records.values():
        settings = record["settings"]
        assert config.Pipeline.model_validate({**settings, "seed": 1}).name == settings["name"]


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def rows(results, monkeypatch, tmp_path):
    """The command that runs a row, with a `tfrec` that is done at once and notes what it was asked."""
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    small_rows(results, monkeypatch, tmp_path)
    monkeypatch.setattr("scorer.SCORER", tmp_path / "none")
    readme = script("readme")
    monkeypatch.setitem(sys.modules, "readme", readme)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    marks = "".join(f"<!-- {mark} -->\n<!-- end of {mark} -->\n" for mark in (readme.MARK, readme.MORE))
    (tmp_path / "README.md").write_text(f"before\n{marks}after\n")
    module = script("run")
    module.asked, module.status, module.mark, module.last = [], 0, "one training", "a"

    def tfrec(words, check):
        stage, folder = words[1], Path(words[4])
        module.asked.append((stage, folder.name))
        if stage == "train" and (not begun(folder).exists() or begun(folder).read_text() != module.mark):
            begun(folder).parent.mkdir(parents=True, exist_ok=True)
            begun(folder).write_text(module.mark)
        if stage == "prepare":
            dataset(folder / "dataset", module.last)
        if stage == "evaluate" and not (folder / "metrics.json").exists():
            run(folder, seed=int(folder.name.removeprefix("seed_")), hit=0.5, last=module.last)
        return SimpleNamespace(returncode=module.status)

    monkeypatch.setattr(module.subprocess, "run", tfrec)
    monkeypatch.setattr(results, "_git", lambda *words: "" if words[0] == "status" else "abc")
    return module


def begun(folder: Path) -> Path:
    """What a training writes when it begins: a mark of all that it follows from."""
    return folder / "checkpoints" / "key"


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


def test_a_record_of_more_seeds_goes_on_demand(rows, tmp_path):
    asked, path = ["movielens_1m", "--out", str(tmp_path / "out")], tmp_path / "results" / "movielens_1m.json"
    four = [word for seed in range(4) for word in ("--seed", str(seed))]
    assert CliRunner().invoke(rows.main, [*asked, *four], catch_exceptions=False).exit_code == 0
    refused, page = CliRunner().invoke(rows.main, asked), (tmp_path / "README.md").read_text()
    assert refused.exit_code == 1 and json.loads(path.read_text())["seeds"] == [0, 1, 2, 3]
    assert "Error: not recorded: movielens_1m.json is of 4 seeds, and these are 3; --record writes" in refused.output
    assert CliRunner().invoke(rows.main, [*asked, "--record"], catch_exceptions=False).exit_code == 0
    assert json.loads(path.read_text())["seeds"] == [1, 2, 3] and (tmp_path / "README.md").read_text() != page


def test_runs_of_other_settings_than_the_row_s_are_not_recorded(rows, tmp_path):
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=20))
    ended = CliRunner().invoke(rows.main, ["movielens_1m", "--out", str(tmp_path / "out")])
    assert ended.exit_code == 1 and not (tmp_path / "results").exists()
    assert (
        "Error: not recorded: the runs are not of pipelines/small.yaml: data.max_length is 50 and not 20;"
        in ended.output
    )


def test_other_data_are_told_before_the_training_and_shown_without_a_record(rows, tmp_path):
    asked = ["movielens_1m", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(rows.main, asked, catch_exceptions=False).output.count("data: those of the record") == 3
    page, rows.last = (tmp_path / "README.md").read_text(), "b"
    shown = CliRunner().invoke(rows.main, ["movielens_1m", "--out", str(tmp_path / "other")])
    assert shown.exit_code == 1 and shown.output.count("data: the data are not those of movielens_1m.json") == 3
    assert "| movielens_1m | ids | 0.5000" in shown.output and "Error: not recorded: the data are not" in shown.output
    assert (tmp_path / "README.md").read_text() == page


def test_a_run_keeps_the_commit_that_its_training_began_with(rows, results, tmp_path):
    folder = tmp_path / "out" / "seed_1"

    def noted_at(commit, changes="", *, status=0, fresh=False):
        results._git = lambda *words: changes if words[0] == "status" else commit
        rows.status = status
        asked = ["movielens_1m", "--seed", "1", "--out", str(tmp_path / "out"), *(["--fresh"] if fresh else [])]
        rows.shown = CliRunner().invoke(rows.main, asked).output
        return folder.with_suffix(".commit").read_text()

    assert noted_at("first", "M file") == "first and changes"
    assert noted_at("second") == "first and changes"  # It goes on, or is done.
    assert "seed_1 was begun by first and changes, and the code is second" in rows.shown
    assert noted_at("second", fresh=True) == "second"
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


def test_every_row_has_a_pipeline_and_every_record_a_row(results):
    named = results.rows()
    assert set(results.records()) <= set(named)
    for name, row in named.items():
        overrides = [f"name={name}", *row.get("set", [])]
        pipeline = config.load(ROOT / "pipelines" / f"{row['pipeline']}.yaml", overrides)
        assert pipeline.name == name and row["reads"].split(", ") == read(pipeline)


@pytest.mark.parametrize("grid", sorted((ROOT / "benchmarks" / "grids").iterdir()), ids=lambda path: path.stem)
def test_every_grid_is_of_a_pipeline(grid):
    base, header = ROOT / "pipelines" / f"{grid.stem.rpartition('_')[0]}.yaml", grid.read_text(encoding="utf-8")
    assert len(config.load_plan(grid, base, re.findall(r"--set (\S+)", header)).variants) > 5


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


def test_a_commit_is_one_of_the_repository(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    for words in (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "a"],
    ):
        results._git(*words)
    assert len(results.commit()) == 40 and results.commit("HEAD") == results.commit()
    for name in ("nosuch", "", "0" * 40):
        with pytest.raises(
            click.ClickException, match=f"^there is no commit '{name}' in .*: give one that git log shows"
        ):
            results.commit(name)


def test_what_the_defaults_make_of_data_alone_is_declared_by_data_alone():
    folder = ROOT / "benchmarks" / "data_alone"
    assert {path.stem for path in folder.iterdir()} == {"amazon_beauty", "movielens_1m", "movielens_100k"}
    experiments = script("experiments")
    measured = {line["pipeline"]: line["settings"] for line in experiments.log() if line["note"] == "data alone"}
    assert set(measured) == {path.stem for path in folder.iterdir()}
    for path in folder.iterdir():
        pipeline, tuned = config.load(path), config.load(ROOT / "pipelines" / path.name)
        assert (pipeline.model, pipeline.training) == (config.Model(), config.Training())
        assert not list(experiments.changes(experiments.kept(pipeline), measured[path.stem])), "measure it again"
        assert pipeline.data.events == tuned.data.events and pipeline.data.items.path == tuned.data.items.path
