"""Records are of the pipelines that their rows declare: other runs make none, and a pipeline that changes shows."""

import importlib
import json

import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import results_in, run, script
from tfrec import config


@pytest.fixture
def results(monkeypatch, tmp_path):
    """The command that records runs of a row, where all rows are of one small pipeline."""
    return results_in(tmp_path, monkeypatch)


def changed(folder, *overrides):
    """A run of the small pipeline with some settings."""
    run(folder, seed=1, hit=0.5)
    pipeline = config.parse((folder / "config.yaml").read_text(), list(overrides))
    (folder / "config.yaml").write_text(config.dump(pipeline))
    return folder


def told(results, *words):
    """What the command says when it refuses; the record there stays as it is."""
    before = {path: path.read_text() for path in results.RESULTS.glob("*")}
    ended = CliRunner().invoke(results.main, list(map(str, words)))
    assert ended.exit_code == 1 and {path: path.read_text() for path in results.RESULTS.glob("*")} == before
    assert ended.output.startswith("Error: ") and ended.output.count("\n") == 1
    return ended.output


def test_runs_of_no_row_and_of_other_settings_make_no_record(results, monkeypatch, tmp_path):
    other = "model.dim=16", "training.epochs=3", "name=other", "data.root=/elsewhere", "data.memory=1"
    idle = changed(tmp_path / "idle", "name=other", "data.root=/elsewhere", "model.convolution.blocks=9")
    assert CliRunner().invoke(results.main, ["small", str(idle)], catch_exceptions=False).exit_code == 0
    assert "there is no row 'smal'; those of rows.yaml are small, amazon_beauty, " in told(results, "smal", idle)
    assert told(results, "small", changed(tmp_path / "other", *other)) == (
        "Error: the runs are not of pipelines/small.yaml: model.dim is 16 and not 128, training.epochs is 3 and not "
        "null; train them with its settings\n"
    )
    many = [f"training.{name}=7" for name in ("epochs", "warmup_steps", "tokens_per_batch", "clip_norm", "ensemble")]
    assert "and 2 more; train" in told(
        results, "small", changed(tmp_path / "many", "model.dim=16", "data.seen=keep", *many)
    )
    named = {"small": {"pipeline": "small", "set": ["model={dim: 16}"]}}
    monkeypatch.setattr(results, "rows", lambda: named)
    assert "pipelines/small.yaml --set 'model={dim: 16}': model.dim is 128 and not 16;" in told(results, "small", idle)
    results.record("small", [changed(tmp_path / "set", "model.dim=16")])


def test_a_record_stands_until_it_is_said_that_fewer_seeds_may_come(results, tmp_path):
    folders = [run(tmp_path / f"seed_{seed}", seed=seed, hit=0.5) for seed in (1, 2, 3)]
    path = results.record("small", folders)
    assert told(results, "small", *folders[:2]) == (
        "Error: small.json is of 3 seeds, and these are 2; --record writes them in its place\n"
    )
    done = CliRunner().invoke(results.main, ["small", *map(str, folders[:2]), "--record"], catch_exceptions=False)
    assert done.exit_code == 0 and json.loads(path.read_text())["seeds"] == [1, 2]
    results.record("small", folders)
    assert json.loads(path.read_text())["seeds"] == [1, 2, 3]


def test_what_is_no_finished_run_makes_no_record(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "finished", script("declared").finished)
    stages = importlib.import_module("tfrec.stages.run")
    monkeypatch.setattr(stages, "pending", lambda pipeline, out, last: ["train", last])
    assert "finished: train is to be done. Run it" in told(results, "small", run(tmp_path / "a", seed=1, hit=0.5))
    (tmp_path / "none").mkdir()
    assert "no pipeline file" in told(results, "small", tmp_path / "none")


def outdated(records, rows):
    """Record -> what it says otherwise than its row does today: it is to be measured again."""
    told = {}
    for name, record in records.items():
        settings = {**record["settings"], "seed": 1}
        settings["data"]["split"]["fold"] = 0
        told[name] = script("declared").unlike(rows[name], config.Pipeline.model_validate(settings))
    return {name: words for name, words in told.items() if words}


@pytest.mark.parametrize("program", ["results", "rankers"])
def test_every_record_has_the_settings_that_its_row_declares_today(program):
    module = script(program)
    records, rows = module.records(), module.rows()
    assert records and outdated(records, rows) == {}
    name = sorted(records)[0]
    rows[name]["set"] = ["model.dropout=0.77"]
    assert list(outdated(records, rows)) == [name] and "and not 0.77" in outdated(records, rows)[name][0]
