"""Two rates in one optimizer: each variable moves by its own, and decays by its own or not at all."""

import keras
import numpy as np
import pytest

from tests import tiny_presets
from tests.retrieval import cycles
from tfrec import build, config
from tfrec.retrieval import Texts, TextTunedTwoTower, TwoTower
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower, text_models
from tfrec.towers.text_tuning import Tuning, tune
from tfrec.training import TwoRateAdamW


def moved(gradient=1.0, **options):
    fast, slow = (keras.Variable([2.0]) for _ in range(2))
    optimizer = TwoRateAdamW(0.1, weight_decay=0.0, **options).slow([slow])
    optimizer.build([fast, slow])
    optimizer.apply([keras.ops.array([gradient])] * 2, [fast, slow])
    return 2 - float(fast[0]), 2 - float(slow[0])


def test_a_slow_variable_moves_by_its_factor():
    fast, slow = moved(slow_factor=0.01)
    assert fast == pytest.approx(0.1, rel=1e-4)  # Adam's first step is the rate itself.
    assert slow == pytest.approx(0.001, rel=1e-3)


def test_a_slow_variable_decays_by_its_own_rate():
    fast, slow = moved(gradient=0.0, slow_factor=0.5, slow_decay=0.1)
    assert fast == 0
    assert slow == pytest.approx(2 * 0.1 * 0.5 * 0.1, rel=1e-4)


@pytest.mark.parametrize("first", ["slow", "excluded"])
def test_slow_variables_and_those_without_decay_do_not_displace_each_other(first):
    plain, slow, excluded = variables = [keras.Variable([2.0]) for _ in range(3)]
    optimizer = TwoRateAdamW(0.5, weight_decay=0.2, slow_factor=0.1, slow_decay=0.4)
    steps = [lambda: optimizer.slow([slow]), lambda: optimizer.exclude_from_weight_decay(var_list=[excluded])]
    for step in steps if first == "slow" else steps[::-1]:
        step()
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(1)] * 3, variables)
    found = [float(variable[0]) for variable in (plain, slow, excluded)]
    assert found == pytest.approx([2 * (1 - 0.5 * 0.2), 2 * (1 - 0.5 * 0.1 * 0.4), 2.0])


def text_tuned(folder):
    text = tune(text_models.load(tiny_presets.write(folder), max_tokens=16), Tuning("lora", 2))
    items, behavior = ItemTower(8, cycles.ITEMS, text_width=text.width), BehaviorTower(8, [ConvolutionEncoder(8)])
    model = TwoTower(items, behavior, cycles.OBJECTIVES["softmax"](), temperature="learnt")
    return TextTunedTwoTower(model, text, Texts.of(["thing"] * cycles.ITEMS, text))


@pytest.mark.parametrize("kind", ["fixed text", "tuned text"])
def test_a_learnt_temperature_does_not_decay(kind, tmp_path):
    model = (
        cycles.two_tower(temperature="learnt", similarity="cosine") if kind == "fixed text" else text_tuned(tmp_path)
    )
    settings = config.Training(weight_decay=0.5, learning_rate=0.1, schedule="constant", warmup_steps=0)
    text = config.Text(source="minilm", tuning="full", learning_rate=0.05, weight_decay=0.2)
    optimizer, log = build.optimizer(settings, model=model, text=text), model.temperature.log
    log.assign(1.0)
    weights = model.trainable_weights
    before = [weight.numpy() for weight in weights]
    optimizer.build(weights)
    optimizer.apply([keras.ops.zeros_like(weight) for weight in weights], weights)
    slow = {id(weight) for weight in model.backbone.trainable_variables} if kind == "tuned text" else set()
    for weight, value in zip(weights, before, strict=True):
        decay = 0 if weight is log else 0.05 * 0.2 if id(weight) in slow else 0.1 * 0.5
        np.testing.assert_allclose(weight.numpy(), value * (1 - decay), rtol=1e-6)
    assert sum(weight is log for weight in weights) == 1


def test_it_is_adamw_where_nothing_is_slow():
    ours, theirs = keras.Variable(np.ones(3)), keras.Variable(np.ones(3))
    for optimizer, variable in ((TwoRateAdamW(0.1), ours), (keras.optimizers.AdamW(0.1), theirs)):
        optimizer.build([variable])
        for step in range(3):
            optimizer.apply([keras.ops.array([step - 1.0, 2.0, 0.5])], [variable])
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_rates_without_meaning_are_refused():
    with pytest.raises(ValueError, match="`slow_factor` must be positive and `slow_decay` 0 or more; received 0"):
        TwoRateAdamW(0.1, slow_factor=0)
