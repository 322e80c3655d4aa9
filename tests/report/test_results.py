"""The container of a run's figures and the file that holds them."""

import json
import math
import os

import numpy as np
import pytest

from tests.report.runs import make_results
from tfrec.report.results import KEYS, TIMING_KEYS, plain, write_metrics, write_text


def strict(text):
    """Parse as other readers do, which know no NaN."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_document_has_every_key_and_the_figures_by_name(tmp_path):
    results = make_results()
    write_metrics(tmp_path / "metrics.json", results.document())
    document = strict((tmp_path / "metrics.json").read_text())
    assert set(KEYS) <= set(document)
    assert set(TIMING_KEYS) <= set(document["timing"])
    assert set(document["baselines"]) == {"popularity", "cooccurrence", "oracle"}
    assert document["test"]["hr@10"] == results.test.metrics["hr@10"]
    assert document["baselines"]["popularity"]["ndcg@10"] == results.baselines["popularity"].metrics["ndcg@10"]
    assert document["slices"]["cold_items"]["users"] == results.test.slices["cold_items"]["users"]
    assert document["variants"]["history alone"]["hr@10"] == results.variants["history alone"].metrics["hr@10"]


def test_what_json_lacks_becomes_null_and_numpy_becomes_plain(tmp_path):
    document = dict.fromkeys(KEYS, None)
    document |= {
        "test": {"nan": math.nan, "inf": np.float32("inf"), "n": np.int64(3), "flag": np.bool_(True)},
        "slices": np.array([1.5, np.nan]),
        "name": "电影 🎬",
        "environment": {"folder": os.path.join("a", "b"), "path": tmp_path},
    }
    write_metrics(tmp_path / "metrics.json", document)
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    read = strict(text)
    assert read["test"] == {"nan": None, "inf": None, "n": 3, "flag": True}
    assert read["slices"] == [1.5, None]
    assert "电影 🎬" in text
    assert read["environment"]["path"] == str(tmp_path)


def test_a_missing_key_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"document must have the keys .*\['timing'\] is missing"):
        write_metrics(tmp_path / "metrics.json", {key: {} for key in KEYS if key != "timing"})
    assert not list(tmp_path.iterdir())


def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="document must hold dicts, lists, text, numbers and None, got set"):
        write_metrics(path, dict.fromkeys(KEYS, {1, 2}))
    assert path.read_text() == "old"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.md"]
    assert path.read_text() == "old"


def test_plain_leaves_plain_values_alone():
    value = {"a": [1, 2.5, "x", None, True]}
    assert plain(value) == value


def test_rows_begin_with_the_model_and_end_with_the_oracle():
    names = list(make_results().evaluations)
    assert names == ["shop", "shop, history alone", "popularity", "cooccurrence", "oracle"]


def test_differences_are_against_the_baselines_and_not_the_oracle():
    results = make_results()
    differences = results.differences(["ndcg@10"])
    assert set(differences) == {"popularity", "cooccurrence"}
    gap = differences["popularity"]["ndcg@10"]
    expected = results.test.metrics["ndcg@10"] - results.baselines["popularity"].metrics["ndcg@10"]
    assert gap.difference == pytest.approx(expected)
    assert gap.low <= gap.difference <= gap.high
