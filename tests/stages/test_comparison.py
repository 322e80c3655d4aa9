"""`compare`: what is trained and what is not repeated, what a failure costs, and whose folder it is."""

import dataclasses
import importlib
import json
import shutil
import types

import pandas as pd
import pytest
import yaml

from tests import tiny_shop
from tests.report.contenders import ENVIRONMENT, GROUPS, USERS
from tfrec import cli, config, stages
from tfrec.stages import comparison
from tfrec.stages.train import _start_seconds

RUN = importlib.import_module("tfrec.stages.run")
GRID = """\
seeds: [1, 2]
reference: ids
variants:
  lstm: {model.behavior: lstm}
  ids: {model.text: none, model.dim: 4}
  wide: {model.dim: 16}
"""
# HR@10 of every user of a variant's model, in the stand-in.
HITS = {"lstm": [1, 1, 1, 1], "ids": [0, 0, 0, 0], "wide": [1, 0, 1, 0]}
STARTS = """\
seeds: [1, 2]
reference: lstm
variants:
  wide: {model.text: {source: minilm, tuning: lora, start: "variant:lstm"}}
  lstm: {model.text: minilm}
"""


def train(run, key):
    run.begin("train")
    run.path("checkpoints").mkdir(exist_ok=True)
    files = [run.path("checkpoints", name) for name in ("model.keras", "config.yaml")]
    files[0].write_text(f"weights of seed {run.pipeline.seed} after {run.pipeline.model.text.start}")
    files[1].write_text(config.dump(run.pipeline))
    figures = {"parameters": 10 * run.pipeline.model.dim, "seconds": 30.0, "epoch_seconds": 3.0, "peak_memory_mb": 500}
    run.finish("train", key, files, start_seconds=_start_seconds(run), **figures)


def evaluate(run, key):
    hits = pd.Series(HITS[run.out.parent.name], pd.Index(USERS, name="user_id"), float)
    per_user = pd.DataFrame({"hr@10": hits, "ndcg@10": hits / 2}).reset_index()
    both = pd.concat([per_user.assign(model="tfrec"), per_user.assign(model="popularity", **{"hr@10": 9.0})])
    both.to_parquet(run.path("per_user.parquet"))
    GROUPS.reset_index().to_parquet(run.path("slices_test.parquet"))
    test = {"hr@10": hits.mean(), "ndcg@10": hits.mean() / 2, "cold_share@10": 0.0}
    metrics = {"test": test, "validation": test, "slices": {"few_events": test}, "environment": ENVIRONMENT}
    run.path("metrics.json").write_text(json.dumps(metrics))
    run.finish(
        "evaluate", key, [run.path(name) for name in ("metrics.json", "per_user.parquet", "slices_test.parquet")]
    )


@pytest.fixture
def log(monkeypatch):
    """What was performed, `variant seed stage`; stages run in this process, and training is stood in for."""
    performed, failing = [], {}

    def perform(stage, pipeline, out, overrides, label):
        settings = config.load(pipeline, overrides)
        performed.append(f"{out.parent.name} {settings.seed} {stage}")
        if performed[-1] in failing:
            return failing[performed[-1]]
        stages.run(settings, out, only=stage)
        return None

    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setattr(comparison, "perform", perform)
    for name, work in (("train", train), ("evaluate", evaluate)):
        monkeypatch.setitem(RUN.STAGES, name, dataclasses.replace(RUN.STAGES[name], perform=work))
    return types.SimpleNamespace(performed=performed, failing=failing)


@pytest.fixture
def go(tmp_path):
    """Compares the variants of a grid's text in the folder `out`."""
    path = tiny_shop.write(tmp_path / "shop")

    def compare(grid=GRID, *overrides, out="out"):
        (tmp_path / "grid.yaml").write_text(grid, encoding="utf-8")
        return stages.compare(config.load_plan(tmp_path / "grid.yaml", path, overrides), tmp_path / out)

    return compare


def everything(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_variant_is_a_run_and_the_data_is_prepared_once(log, go, tmp_path):
    found = go()
    assert log.performed[:5] == ["lstm 1 prepare", "lstm 1 train", "lstm 1 evaluate", "ids 1 train", "ids 1 evaluate"]
    assert [done for done in log.performed if done.endswith("prepare")] == ["lstm 1 prepare"]
    assert len(log.performed) == 1 + 3 * 2 * 2
    run = tmp_path / "out" / "runs" / "wide" / "seed_2"
    assert config.load(run / "config.yaml").seed == 2 and config.load(run / "config.yaml").model.dim == 16
    first = tmp_path / "out" / "runs" / "lstm" / "seed_1"
    assert (run / "dataset" / "manifest.json").samefile(first / "dataset" / "manifest.json")
    assert found.reference == "ids" and not found.failures


def test_the_comparison_holds_what_the_runs_measured(log, go, tmp_path):
    found = go()
    out = tmp_path / "out"
    document = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert document["variants"]["lstm"]["slices"]["all"]["hr@10"] == 1
    wide = document["variants"]["wide"]
    assert (wide["slices"]["tail"]["hr@10"], wide["slices"]["cold"]["hr@10"]) == (0.5, 1)
    assert (wide["parameters"], wide["train_seconds"], wide["peak_memory_mb"]) == (160, 30, 500)
    assert (wide["text"], wide["tuning"], wide["encoder"]) == ("none", "–", "attention + lstm")
    assert document["differences"]["lstm"]["all"]["hr@10"]["verdict"] == "better"
    assert document["differences"]["lstm"]["all"]["hr@10"]["seeds"] == 2
    assert "| lstm | none | – | lstm | 1, 2 | 1.0000 ± 0.0000 |" in (out / "comparison.md").read_text(encoding="utf-8")
    assert (out / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    sessions = {path.name for path in (out / "tensorboard").iterdir() if path.is_dir()}
    assert sessions == {f"{name}-seed_{seed}" for name in HITS for seed in (1, 2)}
    assert found.names == ["hr@10", "ndcg@10"]


def test_again_nothing_is_repeated(log, go, tmp_path):
    go()
    before = everything(tmp_path / "out" / "runs")
    log.performed.clear()
    go()
    assert log.performed == [] and everything(tmp_path / "out" / "runs") == before


def test_what_is_added_is_trained_and_what_is_dropped_stays(log, go, tmp_path):
    go()
    log.performed.clear()
    found = go("seeds: [1, 3]\nvariants:\n  ids: {model.text: none, model.dim: 4}\n  wide: {model.dim: 16}\n")
    assert log.performed == ["ids 3 train", "ids 3 evaluate", "wide 3 train", "wide 3 evaluate"]
    assert [each.name for each in found.contenders] == ["ids", "wide"]
    assert (tmp_path / "out" / "runs" / "lstm" / "seed_2" / "metrics.json").exists()


def test_a_changed_table_repeats_everything(log, go, tmp_path):
    go()
    log.performed.clear()
    with open(tmp_path / "shop" / "events.csv", "a", encoding="utf-8") as file:
        file.write("new,001,1700000000,buy\n")
    go()
    assert len(log.performed) == 3 * 2 * 3


def test_variants_of_other_data_have_their_own(log, go):
    go("variants: {a: {model.dim: 4}, lstm: {data.max_length: 5}, wide: {model.dim: 2}}".replace("a:", "ids:", 1))
    assert [done for done in log.performed if done.endswith("prepare")] == ["ids 3 prepare", "lstm 3 prepare"]


def test_a_variant_that_fails_costs_the_others_nothing(log, go, tmp_path, caplog):
    log.failing["ids 1 train"] = "no memory"
    found = go()
    assert "ids 1 evaluate" not in log.performed and "ids 2 evaluate" in log.performed
    assert found.failures == [("ids", 1, "no memory")]
    assert "ids, seed 1 failed: no memory" in caplog.messages
    page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| ids | 1 | no memory |" in page and "| 2 (1 failed) |" in page
    assert not (tmp_path / "out" / "tensorboard" / "ids-seed_1").exists()
    log.failing.clear()
    log.performed.clear()
    assert not go().failures
    assert log.performed == ["ids 1 train", "ids 1 evaluate"]


def test_a_variant_starts_from_another_at_the_same_seed(log, go, tmp_path):
    found = go(STARTS)
    assert [each.name for each in found.contenders] == ["lstm", "wide"]  # In the order in which they were trained.
    assert log.performed.index("lstm 2 train") < log.performed.index("wide 2 train")
    for seed in (1, 2):
        start = tmp_path / "out" / "runs" / "lstm" / f"seed_{seed}"
        model = tmp_path / "out" / "runs" / "wide" / f"seed_{seed}" / "checkpoints" / "model.keras"
        assert model.read_text() == f"weights of seed {seed} after {start}"
    costs = {each.name: each.costs()["train_seconds"] for each in found.contenders}
    assert costs == {"lstm": 30, "wide": 60}  # Its own and those of what it started from.
    log.performed.clear()
    go(STARTS)
    assert not log.performed


def test_a_start_that_failed_costs_what_starts_from_it(log, go):
    log.failing["lstm 1 train"] = "no memory"
    found = go(STARTS)
    assert ("wide", 1, "the variant that it starts from, lstm, was not trained") in found.failures
    assert "wide 1 train" not in log.performed and "wide 2 train" in log.performed


def test_where_nothing_could_be_trained_there_is_nothing_to_compare(log, go, tmp_path):
    log.failing.update({f"{name} {seed} train": "no memory" for name in HITS for seed in (1, 2)})
    with pytest.raises(ValueError, match="none of the 6 trainings succeeded; the first, lstm, seed 1: no memory"):
        go()
    assert not list((tmp_path / "out").glob("comparison.[!y]*"))


def test_a_table_that_is_not_there_is_told_before_anything_is_written(log, go, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.csv"):
        go("variants: {ids: {model.dim: 4}, wide: {data.events.path: gone.csv}}")
    assert log.performed == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"thesis.txt": "years"}, "holds files that are no comparison of tfrec. Name an empty folder"),
        ({"comparison.yaml": "- a list"}, "holds files that are no comparison of tfrec"),
        ({"comparison.yaml": "name: ["}, "holds files that are no comparison of tfrec"),
        ({"config.yaml": "name: tiny"}, "holds a run of one pipeline. Name an empty folder"),
        ({"comparison.yaml": "{pipeline: other, variants: {ids: {}}}"},
         "is a comparison of the pipeline 'other', and this one is of 'tiny'"),
        ({"comparison.yaml": "{pipeline: tiny, variants: {big: {model.dim: 64}}}"},
         "is another comparison of 'tiny', of 'big'"),
    ],
)  # fmt: skip
def test_the_folder_of_something_else_is_left_alone(log, go, tmp_path, files, told):
    (tmp_path / "out").mkdir()
    for name, text in files.items():
        (tmp_path / "out" / name).write_text(text)
    before = everything(tmp_path / "out")
    with pytest.raises(ValueError, match=told):
        go()
    assert log.performed == [] and everything(tmp_path / "out") == before


def test_a_name_that_means_something_else_now_is_refused(log, go, tmp_path):
    go()
    with pytest.raises(ValueError, match=r"variant 'wide' has the changes \{'model.dim': 16\}, and this one has .*32"):
        go(GRID.replace("16", "32"))
    shutil.rmtree(tmp_path / "out" / "runs" / "wide")
    assert go(GRID.replace("16", "32")).figures["wide"]


def test_a_file_is_no_folder(log, go, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file, and a comparison needs a folder"):
        go(out="file")
    with pytest.raises(PermissionError, match="cannot be written: Not a directory. Name another folder"):
        go(out="file/below")


def test_one_comparison_at_a_time_works_in_a_folder(log, go, tmp_path):
    with comparison.locked(tmp_path / "out"), pytest.raises(ValueError, match="another tfrec is at work in it"):
        go()
    assert go().figures


def test_the_folder_says_what_is_compared(log, go, tmp_path):
    go()
    record = yaml.safe_load((tmp_path / "out" / "comparison.yaml").read_text(encoding="utf-8"))
    assert (record["pipeline"], record["seeds"], record["reference"]) == ("tiny", [1, 2], "ids")
    assert record["variants"]["ids"] == {"model.text": "none", "model.dim": 4}
    assert config.load(tmp_path / "out" / "variants" / "lstm.yaml").model.behavior == ("lstm",)


def test_the_command_prints_the_tables_and_says_what_failed(log, go, tmp_path, capsys):
    go()
    arguments = ["compare", str(tmp_path / "shop" / "tiny.yaml"), "--grid", str(tmp_path / "grid.yaml")]
    arguments += ["--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "0.5000 ± 0.4900" in said and "HR@10 tail" in said  # Two of four users, whatever the seed.
    assert "peak memory (MiB)" in said and "against ids, paired bootstrap over users" in said
    assert f"report: {tmp_path / 'out' / 'comparison.md'}" in said
    log.failing["wide 4 train"] = "no memory"
    (tmp_path / "grid.yaml").write_text(GRID.replace("[1, 2]", "[1, 4]"), encoding="utf-8")
    assert cli.main(arguments) == 1
    said, warned = capsys.readouterr()
    assert "1 (4 failed)" in said
    told = "1 of the trainings failed; run it again to try them again. The first, wide, seed 4: no memory"
    assert warned.splitlines()[-1] == f"tfrec: error: {told}"
