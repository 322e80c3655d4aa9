"""Several seeds of a pipeline are one model: trained one after the other, measured beside each, exported as one."""

import json

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tests.stages.test_ranker import write
from tfrec import cli, config, stages
from tfrec.ranking import RankerEnsemble
from tfrec.retrieval import members
from tfrec.stages import evaluate, fit
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.train import open_model, open_ranker

TWO = ["training.ensemble=2", "training.epochs=1"]


def ledger(run):
    return json.loads((run / "stages.json").read_text("utf-8"))["train"]


@pytest.mark.long
def test_an_interrupted_ensemble_goes_on_with_the_member_it_was_at_and_is_exported_as_one(tmp_path, monkeypatch):
    pipeline, out = config.load(tiny_shop.write(tmp_path / "shop"), TWO), tmp_path / "run"
    train, seeds = fit.train, []

    def interrupted(model, *args, seed, **kwargs):
        seeds.append(seed)
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return train(model, *args, seed=seed, **kwargs)

    monkeypatch.setattr(fit, "train", interrupted)
    stages.run(pipeline, out, only="prepare")
    with pytest.raises(KeyboardInterrupt):
        stages.run(pipeline, out, only="train")
    first = {path: path.stat().st_mtime_ns for path in (out / "checkpoints" / "member_1").iterdir()}
    assert first and not (out / "checkpoints" / "model.keras").exists()
    for stage in ("train", "evaluate", "export"):
        stages.run(pipeline, out, only=stage)
    assert seeds == [3, 4, 3, 4]
    assert {path: path.stat().st_mtime_ns for path in first} == first

    told = ledger(out)["members"]
    assert [each["seed"] for each in told] == [3, 4] and all(each["epochs"] == 1 for each in told)
    document = json.loads((out / "metrics.json").read_text("utf-8"))
    assert {"seed 3 alone", "seed 4 alone"} <= set(document["variants"])
    pair = members(open_model(Run(pipeline, out)))
    for member, each in zip(pair, told, strict=True):  # Each is what its training ended with.
        figures = evaluate(member, open_dataset(Run(pipeline, out)), "validation", cutoffs=(10,), depth=10).metrics
        assert figures["ndcg@10"] == pytest.approx(each["val_ndcg@10"], abs=1e-4)
    assert (out / "export" / "1" / "saved_model.pb").exists()  # Checked against the model, or it had no name.
    with pytest.raises(ValueError, match="is an ensemble of 2, whose catalogue cannot be changed"):
        stages.run(pipeline, out, only="export", items=tmp_path / "shop" / "items.csv")


@pytest.mark.slow
@pytest.mark.long
def test_of_two_stages_the_first_is_the_ensemble_and_its_members_stand_beside_it(tmp_path):
    ranking = "ranking={recall: 10, rank: 5, interactions: [mlp], vectors: true, learning: {epochs: 1}}"
    overrides = [*TWO, ranking, "model.behavior=lstm", "evaluation.cutoffs=[5]"]
    pipeline, out = config.load(tiny_shop.write(tmp_path / "shop"), overrides), tmp_path / "run"
    for stage in ("prepare", "train", "rank", "evaluate", "export"):
        stages.run(pipeline, out, only=stage)
    document, data = json.loads((out / "metrics.json").read_text("utf-8")), open_dataset(Run(pipeline, out))
    assert [name for name in document["variants"] if "seed" in name] == [
        "recall alone, seed 3", "recall alone, seed 4"]  # fmt: skip
    for seed, member in zip((3, 4), members(open_model(Run(pipeline, out))), strict=True):
        found = evaluate(member, data, cutoffs=(5,), depth=10).metrics["ndcg@5"]
        assert document["variants"][f"recall alone, seed {seed}"]["ndcg@5"] == pytest.approx(found)
    assert "| tiny, recall alone, seed 4 |" in (out / "report.md").read_text("utf-8")
    assert (out / "export" / "1" / "saved_model.pb").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    stages.run(pipeline, out, only="export")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
@pytest.mark.long
def test_rankers_predict_what_the_mean_of_their_logits_says(tmp_path):
    pipeline = config.load(write(tmp_path / "shop"), TWO)
    for stage in ("prepare", "train", "evaluate"):
        run = stages.run(pipeline, tmp_path / "run", only=stage)
    document = json.loads((run / "metrics.json").read_text("utf-8"))
    assert set(document["variants"]) - {"history alone", "as served"} == {"seed 3 alone", "seed 4 alone"}
    alone = [document["variants"][f"seed {seed} alone"] for seed in (3, 4)]
    figures = [each["like_auc"] for each in (document["test"], *alone)]
    assert len(set(figures)) == 3 and "| seed 4 alone |" in (run / "report.md").read_text("utf-8")
    model = open_ranker(Run(pipeline, run))
    assert isinstance(model, RankerEnsemble)
    features = {"history": np.array([[1, 2, 0], [3, 0, 0]], "int32"), "candidates": np.array([[4, 5], [6, 0]], "int32")}
    logits = [member(features)["stars"].numpy() for member in model.members]
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
    np.testing.assert_allclose(model(features)["stars"], np.mean(logits, axis=0), rtol=1e-5)
    head = model.heads[1]
    np.testing.assert_allclose(
        model.predictions(features)["stars"], head.value(np.mean(logits, axis=0, dtype="float32")), rtol=1e-5
    )
    assert pd.read_parquet(run / "predictions_test.parquet").predicted_stars.between(1, 5).all()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.ensemble=0", "training.ensemble is 0: must be greater than or equal to 1"),
        ("model.text={source: minilm, tuning: lora}", "training.ensemble is above 1"),
    ],
)
def test_what_is_no_ensemble_is_one_line(override, words, tmp_path, capsys):
    path = tiny_shop.write(tmp_path / "shop")
    options = [part for each in (TWO[0], override) for part in ("--set", each)]
    assert cli.main(["train", str(path), "--out", str(tmp_path / "run"), *options]) == 1
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
