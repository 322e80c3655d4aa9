"""The benchmark of large logs keeps one record a size, and draws what it holds."""

import json

import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import script

results = script("results")

FOUND = {"kind": "parquet", "memory": 2.0, "processor_seconds": 3.0, "peak_memory_mb": 900.0}


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    module = script("large_logs")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results" / "results.json")
    monkeypatch.setattr(module, "PLOT", tmp_path / "plot.png")
    return module


def test_a_size_that_is_measured_again_takes_the_place_of_before(benchmark):
    for events, seconds in ((2000, 5.0), (1000, 3.0), (2000, 4.0)):
        benchmark.record(FOUND | {"events": events, "processor_seconds": seconds})
    held = json.loads(benchmark.RESULTS.read_text())
    assert [(each["events"], each["processor_seconds"]) for each in held] == [(1000, 3.0), (2000, 4.0)]
    assert {each["commit"] for each in held} == {results.commit()}


def test_the_plot_is_drawn_of_the_records(benchmark):
    for events in (1000, 2000):
        benchmark.record(FOUND | {"events": events})
    assert CliRunner().invoke(benchmark.command, ["plot"]).exit_code == 0
    assert benchmark.PLOT.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_log_is_made_prepared_and_recorded(benchmark, tmp_path):
    result = CliRunner().invoke(
        benchmark.command, ["measure", "20000", "--memory", "0.003", "--scratch", str(tmp_path)]
    )
    (found,) = json.loads(benchmark.RESULTS.read_text())
    assert result.exit_code == 0 and found["events"] == 20_000 and 700 < found["users"] <= 800
    assert found["commit"] == results.commit() and found["environment"]["matmul_gflops"] > 0
    assert 0 < found["processor_seconds"] and found["peak_memory_mb"] >= found["memory_before_mb"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
