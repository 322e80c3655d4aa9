"""The benchmark of large catalogues runs, and a step that updates by row takes no longer the more items there are."""

import numpy as np
import pytest

from tests.benchmark_scripts import script

FEW, MANY = 10_000, 500_000


@pytest.mark.slow
def test_a_step_by_row_does_not_grow_with_the_catalogue():
    benchmark = script("catalogue")
    options = {"objective": "sampled_softmax", "users": 41, "steps": 7}
    took = {
        (items, row_wise): np.median(benchmark.step(items=items, row_wise=row_wise, **options)["processor_ms"])
        for items, row_wise in ((FEW, True), (MANY, True), (MANY, False))
    }
    assert took[MANY, True] < 1.3 * took[FEW, True]
    assert took[MANY, False] > 1.5 * took[MANY, True]


@pytest.mark.slow
def test_an_evaluation_measures_its_parts():
    seconds = script("catalogue").evaluation(items=2000, users=20)["seconds"]
    assert {"item vectors", "recommendations", "cooccurrence", "figures of popularity"} < set(seconds)
    assert all(value >= 0 for value in seconds.values())
