"""Which trainings update the items' ids by row: what is set, or what the objective and the catalogue say."""

import keras
import pytest

from tests.retrieval import cycles
from tfrec import build, config
from tfrec.build import optimization
from tfrec.retrieval import SampledSoftmax, TwoTower
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower
from tfrec.training import RowWiseAdamW


@pytest.fixture(scope="module")
def models():
    return {name: cycles.two_tower(name) for name in cycles.OBJECTIVES}


def chosen(model, **changes):
    return type(build.optimizer(config.change(config.Training(schedule="constant"), changes), model=model))


def test_a_small_catalogue_is_updated_whole_unless_told(models):
    assert chosen(models["gbce"]) is keras.optimizers.AdamW
    assert chosen(models["gbce"], row_wise=True) is RowWiseAdamW


@pytest.mark.parametrize("name", cycles.OBJECTIVES)
def test_a_large_one_is_updated_by_row_where_the_objective_samples(models, name, monkeypatch):
    monkeypatch.setattr(optimization, "ROW_WISE_ITEMS", cycles.ITEMS)
    dense = keras.optimizers.AdamW
    assert chosen(models[name]) is (dense if name == "softmax" else RowWiseAdamW)
    assert chosen(models[name], row_wise=False) is dense
    assert chosen(models[name], accumulate=2) is dense
    assert chosen(models[name], adversarial=0.1) is dense


def test_the_settings_are_the_optimizers(models):
    settings = config.Training(schedule="constant", warmup_steps=0, learning_rate=0.5, weight_decay=0.25, clip_norm=2)
    settings = config.change(settings, {"row_wise": True})
    found = build.optimizer(settings, model=models["sampled_softmax"])
    assert (float(found.learning_rate), found.weight_decay, found.global_clipnorm) == (0.5, 0.25, 2)


def test_what_reads_every_row_is_refused(models):
    with pytest.raises(ValueError, match="training.row_wise is true, and the objective is the full softmax"):
        chosen(models["softmax"], row_wise=True)
    tower = ItemTower(8, cycles.ITEMS, ids=False, text_width=4)
    model = TwoTower(tower, BehaviorTower(8, [ConvolutionEncoder(8)]), SampledSoftmax(cycles.ROWS, 6))
    with pytest.raises(ValueError, match="training.row_wise is true, and items have no ids: model.ids is false"):
        chosen(model, row_wise=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "softmax"}, "row_wise is true, and objective.name is softmax"),
        ({"accumulate": 2}, "row_wise is true, and accumulate is 2"),
        ({"adversarial": 0.1}, "row_wise is true, and adversarial is 0.1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config.change(config.Training(), {"row_wise": True, **changes})


def test_the_key_of_a_training_that_leaves_it_open_stays_what_it_was():
    left, told = (
        config.parse("{name: shop, data: {simulated: {}}}", some) for some in ([], ["training.row_wise=false"])
    )
    assert "row_wise" not in config.stage_settings(left, "train")["training"]
    assert config.stage_settings(told, "train")["training"]["row_wise"] is False
