"""A run whose training augments texts: what it refuses in one line, and that a resumed one ends as one at once."""

import numpy as np
import pandas as pd
import pytest

from tests import tiny_presets, tiny_shop
from tfrec import config, stages
from tfrec.stages.ledger import Run
from tfrec.stages.train import open_model

AUGMENTED = "training.text_augmentation={drop: 0.4, swap: 0.3}"
CLICKS = ["data.events.labels={buy: {column: kind, at_least: 1}}"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Items and users have texts."""
    folder = tmp_path_factory.mktemp("shop")
    tiny_presets.write(folder / "bert")
    path = tiny_shop.write(folder, epochs=2)
    path.write_text(path.read_text("utf-8").replace("tokens_per_batch: 128", "tokens_per_batch: 512"), "utf-8")
    users = pd.DataFrame({"who": [f"{user:03d}" for user in range(tiny_shop.USERS)]})
    users.assign(bio=[f"thing {user} box 1 thing 2" for user in range(tiny_shop.USERS)]).to_csv(folder / "users.csv")
    return path


def settings(shop, *overrides):
    text = [f"model.text.source={shop.parent / 'bert'}", "model.text.max_tokens=16", "model.behavior=lstm"]
    users = "data.users={path: users.csv, user_id: who, text: bio}"
    return config.load(shop, [*text, users, "data.items.text=[name, family]", *overrides])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["training.text_augmentation.drop=1.0"], "training.text_augmentation.drop is 1.0: must be less than 1"),
        (["training.text_augmentation.variants=0"], "training.text_augmentation.variants is 0: must be greater than"),
        (["training.text_augmentation={drop: 0, swap: 0}"], "drop is 0 and swap is 0, which changes no text"),
        ([AUGMENTED, "model.text.source=none"], "text_augmentation is set, and model.text is none, which reads no"),
        (
            ["training.text_augmentation.variants=2", "model.text.tuning=lora", "model.user_text=false"],
            "variants is 2, for a frozen text model, and model.text.tuning is lora, which augments at each step",
        ),
        (
            [AUGMENTED, *CLICKS, "data.events.context=[kind]", "ranking.interactions=[factors]"],
            r"and of ranking.interactions \(factors\) none reads texts: leave it out",
        ),
    ],
)
def test_what_cannot_be_augmented_is_one_line(shop, overrides, told):
    with pytest.raises(ValueError, match=told) as caught:
        settings(shop, *overrides)
    assert "\n" not in str(caught.value)


def test_the_keys_of_runs_without_it_stay_what_they_were(shop):
    plain, augmented = settings(shop), settings(shop, AUGMENTED)
    assert "text_augmentation" not in config.stage_settings(plain, "train")["training"]
    assert config.stage_settings(augmented, "train") != config.stage_settings(plain, "train")
    for stage in ("prepare", "evaluate", "export"):
        assert config.stage_settings(augmented, stage) == config.stage_settings(plain, stage)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("tuning", ["frozen", "lora"])
def test_a_resumed_training_ends_as_one_that_was_never_stopped(shop, tuning):
    tuned = ["model.text.tuning=lora", "model.user_text=false"] if tuning == "lora" else []

    def trained(out, *overrides):
        pipeline = settings(shop, *tuned, *overrides)
        for stage in ("prepare", "train"):
            stages.run(pipeline, shop.parent / tuning / out, only=stage)
        run = Run(pipeline, shop.parent / tuning / out)
        return open_model(run), [epoch["loss"] for epoch in run.figures("train")["history"]]

    whole, losses = trained("whole", AUGMENTED)
    trained("parts", AUGMENTED, "training.epochs=1")
    parts, again = trained("parts", AUGMENTED)
    assert losses == again
    for left, right in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert whole.item_tower.text_variants is None
