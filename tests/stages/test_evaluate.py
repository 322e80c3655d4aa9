"""What a model is measured against: the candidates of each split."""

import json

import pandas as pd
import pytest

import tfrec
from tests import tiny_shop
from tfrec import config, stages
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare


def test_validation_knows_nothing_of_items_that_the_test_holds_out():
    """Nobody's target there, they would only take places, and settings for new items could not be chosen by it."""
    options = PrepareOptions(
        events=EventColumns("who", "what", "at"), items=ItemColumns("sku", ("name",), {"family": None}),
        hold_out_items=("001",), hold_out_validation_items=("002",), seen="keep",
    )  # fmt: skip
    data = prepare(tiny_shop.events(), tiny_shop.items(), options=options)
    model = tfrec.build.two_tower(data, behavior="lstm", text="none", dim=8, **{"new_items.bonus": 100.0})
    validation = tfrec.evaluate(model, data, "validation", cutoffs=(1,), depth=1)
    assert validation.slices["cold_items"]["hr@1"] == validation.metrics["cold_share@1"] == 1
    assert validation.metrics["coverage@1"] == pytest.approx(1 / data.candidates("validation").sum())
    test = tfrec.evaluate(model, data, cutoffs=(2,), depth=2)
    assert test.metrics["coverage@2"] == pytest.approx(2 / data.candidates("test").sum())
    model.compile("adamw")
    in_training = model.evaluate(data.validation(), verbose=0, return_dict=True)
    measured = tfrec.evaluate(model, data, "validation", cutoffs=(10,), depth=10).metrics
    assert in_training["hr@10"] == pytest.approx(measured["hr@10"], abs=1e-6)


@pytest.mark.slow
def test_noise_in_the_histories_is_measured_beside_them_as_they_are(tmp_path):
    noise = "evaluation.disturbed={delete: 0.9, insert: 0}"
    pipeline = config.load(tiny_shop.write(tmp_path / "shop"), [noise])
    for stage in ("prepare", "train", "evaluate"):
        run = stages.run(pipeline, tmp_path / "run", only=stage)
    document = json.loads((run / "metrics.json").read_text("utf-8"))
    noisy, clean = document["variants"]["histories disturbed"], document["test"]
    assert noisy["users"] == clean["users"] == tiny_shop.USERS and noisy["ndcg@10"] < clean["ndcg@10"]
    table = pd.read_parquet(run / "per_user.parquet")
    rows = table[table.model == "tfrec, histories disturbed"]
    assert rows["hr@5"].mean() == pytest.approx(noisy["hr@5"]) and len(rows) == noisy["users"]
