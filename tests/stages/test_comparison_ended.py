"""A comparison in a process of its own, ended in the middle: it goes on where it was."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_shop
from tfrec import cli, config
from tfrec.stages.ledger import Run

ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("TF", "KERAS"))}
    command = [sys.executable, "-m", "tfrec.cli", "compare", str(tmp_path / "shop" / "tiny.yaml")]
    command += ["--grid", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "out")]
    return subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.slow
@pytest.mark.long
def test_a_comparison_that_is_ended_goes_on_where_it_was(tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    tiny_shop.write(tmp_path / "shop", epochs=3)
    (tmp_path / "grid.yaml").write_text(
        "variants: {lstm: {model.behavior: lstm}, wild: {training.learning_rate: 1e30}}"
    )
    process = start(tmp_path)
    for line in process.stderr:
        if "lstm, seed 3: Epoch 2/3" in line:
            process.send_signal(signal.SIGTERM)
            break
    assert process.wait(timeout=60) == 130 and "tfrec: interrupted" in process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    run = Run(config.load(tmp_path / "out" / "variants" / "lstm.yaml"), tmp_path / "out" / "runs" / "lstm" / "seed_3")
    assert run.figures("prepare") and not run.figures("train") and run.path("checkpoints", "last.npz").exists()
    pipeline, grid, out = (str(tmp_path / name) for name in ("shop/tiny.yaml", "grid.yaml", "out"))
    with caplog.at_level(logging.INFO, "tfrec"):
        assert cli.main(["compare", pipeline, "--grid", grid, "--out", out]) == 1  # `wild` diverges.
    said, warned = capsys.readouterr()
    assert "lstm, seed 3: training goes on after epoch 1" in caplog.messages
    assert "lstm, seed 3: prepare ..." not in caplog.messages
    assert warned.splitlines()[-1].startswith("tfrec: error: 1 of the trainings failed; run it again")
    assert "wild, seed 3: the training diverged in epoch 1" in warned.splitlines()[-1]
    assert "– (3 failed)" in said and "trained weights" in said and "comparison.md" in said
    document = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    metrics = json.loads((run.path("metrics.json")).read_text(encoding="utf-8"))
    lstm = document["variants"]["lstm"]
    assert lstm["slices"]["all"]["ndcg@10"] == pytest.approx(metrics["test"]["ndcg@10"])
    assert lstm["slices"]["all"]["hr@10_half_width"] == pytest.approx(metrics["test"]["hr@10_half_width"])
    for part, name in (("cold", "cold_items"), ("tail", "few_events")):
        assert lstm["slices"].get(part, {}).get("hr@10") == metrics["slices"].get(name, {}).get("hr@10")
    assert lstm["peak_memory_mb"] > 100 and lstm["train_seconds"] > 0
