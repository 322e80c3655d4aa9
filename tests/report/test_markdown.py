"""`report.md`: what it says and where its links lead."""

import dataclasses
import re

import pandas as pd

from tests.report.runs import make_results
from tfrec.evaluation import Evaluation
from tfrec.report import write_plots, write_report

SETTINGS = {"data": {"root": "data", "options": {}}, "model": {"text": {"source": "none"}}, "seed": 0}


def test_the_report_says_what_was_reached_against_what_and_how_to_run_it_again(tmp_path):
    results = make_results()
    text = write_report(tmp_path / "report.md", results, settings=SETTINGS, command="tfrec run pipelines/shop.yaml")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text
    metrics = results.test.metrics
    assert f"**HR@10 {metrics['hr@10']:.4f} ± {metrics['hr@10_half_width']:.4f}" in text
    chosen_by = results.validation
    assert f"Validation: HR@10 {chosen_by.metrics['hr@10']:.4f}, NDCG@10 {chosen_by.metrics['ndcg@10']:.4f}." in text
    slices = text.split("## Slices of the validation split")[1].split("##")[0]
    for part, label in (("cold_items", "cold items"), ("warm_items", "warm items")):
        figures = chosen_by.slices[part]
        assert f"| {label} | {figures['users']:.0f} | {figures['hr@10']:.4f} ± " in slices
    share = metrics["ndcg@10"] / results.baselines["oracle"].metrics["ndcg@10"]
    assert f"{share:.0%} of the NDCG@10 of the oracle" in text
    assert re.search(r"\| popularity \| ndcg@10 \|.*\| better \|", text)
    assert re.search(r"\| cooccurrence \| ndcg@10 \|.*\| not better \|", text)
    assert "one trained model stands behind these figures" in text
    for row in ("| shop, history alone |", "| oracle |", "| cold items | ", "| an epoch, median (s) | 15.0 |"):
        assert row in text
    assert "| peak memory (MiB) | 1,024.5 |" in text
    assert "| matmul, float32 (GFLOP/s) | 90.1 |" in text
    assert "| model.text.source | `none` |" in text and "| data.options | `{}` |" in text
    assert "```sh\ntfrec run pipelines/shop.yaml\n```" in text


def test_pictures_are_linked_relative_to_the_report(tmp_path):
    results = make_results()
    plots = write_plots(tmp_path / "run 1" / "plots", results)
    text = write_report(tmp_path / "run 1" / "report.md", results, plots=plots)
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert links == ["plots/cutoffs.png", "plots/slices.png"]
    assert all((tmp_path / "run 1" / link).exists() for link in links)


def test_a_bare_run_leaves_sections_out(tmp_path):
    bare = dataclasses.replace(
        make_results(),
        validation=Evaluation({}, {}, pd.DataFrame()),
        baselines={}, variants={}, timing={}, environment={}, peak_memory_mb=float("nan"),
    )  # fmt: skip
    text = write_report(tmp_path / "report.md", bare)
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections == ["Results on the test split", "Slices", "What it took"]
    assert "| peak memory (MiB) | not measured |" in text
    assert "oracle" not in text and "nan" not in text


def test_only_the_oracle_is_no_comparison(tmp_path):
    results = make_results()
    alone = dataclasses.replace(results, baselines={"oracle": results.baselines["oracle"]})
    text = write_report(tmp_path / "report.md", alone)
    assert "of the oracle" in text and "## Against the baselines" not in text
