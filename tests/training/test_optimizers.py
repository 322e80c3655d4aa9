"""Two rates in one optimizer: each variable moves by its own, and decays by its own."""

import keras
import numpy as np
import pytest

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
