"""The benchmark of large logs keeps one record a size, and draws what it holds."""

import json

import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import script

results = script("results")

FOUND = {
    "kind": "parquet", "memory": 2.0, "seconds": 3.5, "processor_seconds": 3.0, "peak_memory_mb": 900.0, "users": 40,
    "items": 30, "dataset_bytes": 5_000_000,
}  # fmt: skip
PAGE = "before\n<!-- large logs -->\n<!-- end of large logs -->\n"


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    module = script("large_logs")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results" / "results.json")
    monkeypatch.setattr(module, "PLOT", tmp_path / "plot.png")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text(PAGE, encoding="utf-8")
    return module


def test_a_size_that_is_measured_again_takes_the_place_of_before(benchmark):
    for events, seconds in ((2000, 5.0), (1000, 3.0), (2000, 4.0)):
        benchmark.record(FOUND | {"events": events, "processor_seconds": seconds})
    held = json.loads(benchmark.RESULTS.read_text())
    assert [(each["events"], each["processor_seconds"]) for each in held] == [(1000, 3.0), (2000, 4.0)]
    assert {each["commit"] for each in held} == {results.commit()}


def test_the_plot_is_drawn_of_the_records_and_the_page_has_them(benchmark):
    for events in (1_000_000, 2_000_000):
        benchmark.record(FOUND | {"events": events})
    assert CliRunner().invoke(benchmark.command, ["plot"]).exit_code == 0
    assert benchmark.PLOT.read_bytes().startswith(b"\x89PNG")
    rows = benchmark.PAGE.read_text(encoding="utf-8").splitlines()[4:6]
    assert rows[1] == "| 2 M | .parquet | 40 | 30 | 3.5 | 3.0 | 1.5 | 0.88 GiB | 5 MB |" != rows[0]


def test_the_page_of_the_project_is_that_of_its_record():
    module = script("large_logs")
    found = sorted(json.loads(module.RESULTS.read_text()), key=lambda each: each["events"])
    page = module.PAGE.read_text(encoding="utf-8")
    assert results.between(page, "large logs", module.table(found)) == page


@pytest.mark.slow
def test_a_log_is_made_prepared_and_recorded(benchmark, tmp_path):
    result = CliRunner().invoke(
        benchmark.command, ["measure", "20000", "--memory", "0.003", "--scratch", str(tmp_path)]
    )
    (found,) = json.loads(benchmark.RESULTS.read_text())
    assert result.exit_code == 0 and found["events"] == 20_000 and 700 < found["users"] <= 800
    assert found["commit"] == results.commit() and found["environment"]["matmul_gflops"] > 0
    assert 0 < found["processor_seconds"] and found["peak_memory_mb"] >= found["memory_before_mb"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"results", "page.md"}
