"""The benchmark of large catalogues runs, and a step that updates by row takes no longer the more items there are."""

import json

import numpy as np
import pytest

from tests.benchmark_scripts import script

results = script("results")
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


def test_a_record_says_which_code_and_machine_each_part_is_of(tmp_path):
    benchmark, output = script("catalogue"), tmp_path / "record.json"
    before = {"evaluation": [1], "softmax": [2], "environment": {"cores": 1}}
    benchmark.write(output, before, ["softmax"])
    found = json.loads(output.read_text())
    assert {name: found[name] for name in before} == before and list(found["of"]) == ["softmax"]
    told = found["of"]["softmax"]
    assert told["commit"] == results.commit() and told["environment"]["matmul_gflops"] > 0
    benchmark.write(output, {**found, "of": {"softmax": "kept"}}, ["steps", "evaluation"])
    found = json.loads(output.read_text())
    assert found["of"]["softmax"] == "kept" and found["of"]["steps"] == found["of"]["evaluation"]
    assert "environment" not in found


def test_the_page_is_that_of_its_record():
    benchmark = script("catalogue")
    found = json.loads((results.RESULTS / "large_catalogues.json").read_text(encoding="utf-8"))
    page = (results.ROOT / "docs" / "large_catalogues.md").read_text(encoding="utf-8")
    for part, (heading, *rows) in benchmark.tables(found).items():
        assert rows and results.between(page, f"large catalogues, {part}", results.markdown(heading, rows)) == page
