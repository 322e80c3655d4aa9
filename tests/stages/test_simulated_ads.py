"""A pipeline of simulated advertisements is held against the true probabilities, whatever its split and filters."""

import json

import numpy as np
import pandas as pd
import pytest

from tfrec import cli, config, stages
from tfrec.data import folders
from tfrec.data.simulated.ads import ad_log
from tfrec.stages import baselines as stage_baselines
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset, open_oracle, prepare_stage

SIZES = {"seed": 2, "users": 60, "ads": 16, "mean_impressions": 20, "days": 9}
DATA = """\
name: ads
data:
  simulated_ads: {seed: 2, users: 60, ads: 16, mean_impressions: 20, days: 9}
  split: {kind: time, validation_from: 60%, test_from: 75%}
  min_user_events: 15
  max_length: 20
"""
PIPELINE = """\
model: {dim: 8, text: none, behavior: [lstm]}
ranking: {context: [slot, device], neutral: [slot], interactions: [mlp]}
training: {epochs: 1, patience: null, tokens_per_batch: 512}
"""


@pytest.mark.slow
def test_the_report_holds_the_model_against_the_truth(tmp_path):
    path = tmp_path / "ads.yaml"
    path.write_text(DATA + PIPELINE, encoding="utf-8")
    run = stages.run(config.load(path), tmp_path / "run")
    document = json.loads((run / "metrics.json").read_text("utf-8"))
    test, found = document["test"], document["baselines"]
    assert list(found)[-1] == "oracle"
    assert found["oracle"]["excess_log_loss"] == found["oracle"]["true_calibration_error"] == 0
    assert found["oracle"]["log_loss"] < min(test["log_loss"], found["mean"]["log_loss"])
    assert 0 < test["excess_log_loss"] < 1 and 0 < test["true_calibration_error"] < 1
    table, truth = pd.read_parquet(run / "predictions_test.parquet"), ad_log(**SIZES).truth
    assert test["events"] == len(table) and table["click"].isin([0, 1]).all()
    assert np.isin(table["true_click"].to_numpy(), truth["click"].to_numpy()).all()
    log_loss = -np.log(np.where(table["click"] == 1, table["true_click"], 1 - table["true_click"])).mean()
    assert found["oracle"]["log_loss"] == pytest.approx(log_loss)
    text = (run / "report.md").read_text("utf-8")
    assert "above that of the oracle, the true probabilities" in text and "| oracle |" in text
    assert "oracle" not in text.partition("### Against the baselines")[2].partition("Paired bootstrap")[0]


def test_next_items_of_the_same_log_have_no_oracle(tmp_path, monkeypatch):
    path = tmp_path / "ads.yaml"
    path.write_text(DATA, encoding="utf-8")
    monkeypatch.setattr(stage_baselines, "_text_vectors", lambda run, data: None)
    assert cli.main(["prepare", str(path), "--out", str(tmp_path / "run")]) == 0
    run = Run(config.load(path), tmp_path / "run")
    assert open_oracle(run) is not None
    assert set(stage_baselines.baselines(run, open_dataset(run))) == {"popularity", "cooccurrence"}
    assert cli.main(["prepare", str(path), "--out", str(tmp_path / "run"), "--set", "data.simulated_ads.ads=3"]) == 1


def test_a_log_that_was_prepared_by_other_rules_of_labels_is_prepared_anew(tmp_path, monkeypatch):
    shop = "name: shop\ndata: {simulated: {users: 50}}\n"
    runs = [Run(config.parse(text), tmp_path / "run") for text in (DATA, shop)]
    before = [prepare_stage.inputs(run) for run in runs]
    monkeypatch.setattr(folders, "LABELLED", 99)
    after = [prepare_stage.inputs(run) for run in runs]
    assert before[0] != after[0] and before[1] == after[1]
