"""The baselines of a run: which there are, and what is said when one of them is better than the model."""

import logging

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import build, cli, config
from tfrec.evaluation import Evaluation
from tfrec.report import Results
from tfrec.stages.baselines import baselines, warn_of_better
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A prepared run whose model reads no text."""
    monkeypatch.delenv("TFREC_DATA", raising=False)
    path = tiny_shop.write(tmp_path / "shop")
    assert cli.main(["prepare", str(path), "--out", str(tmp_path / "run")]) == 0
    return Run(config.load(path), tmp_path / "run")


def test_texts_have_their_baseline_though_the_model_reads_none(run, monkeypatch):
    sources = []

    def vectors(texts, settings):
        sources.append(settings.source)
        return np.eye(len(texts), dtype="float32")

    monkeypatch.setattr(build, "text_vectors", vectors)
    found = baselines(run, open_dataset(run))
    assert sources == ["minilm"]
    assert list(found) == ["popularity", "cooccurrence", "text_neighbours"]
    users = set(open_dataset(run).truth("test")["user_id"])
    assert {name: set(table["user_id"]) for name, table in found.items()} == dict.fromkeys(found, users)


def test_of_many_items_it_is_left_out_and_said_unless_the_model_reads_them(run, monkeypatch, caplog):
    data = open_dataset(run)
    sources = []

    def vectors(texts, settings):
        sources.append(settings.source)
        return np.eye(len(texts), dtype="float32")

    monkeypatch.setattr(build, "text_vectors", vectors)
    monkeypatch.setattr(build.text, "MOST_ITEMS", len(data.items))
    assert "text_neighbours" in baselines(run, data) and sources == ["minilm"]
    monkeypatch.setattr(build.text, "MOST_ITEMS", len(data.items) - 1)
    with caplog.at_level(logging.INFO, logger="tfrec"):
        assert list(baselines(run, data)) == ["popularity", "cooccurrence"]
    (line,) = [record.message for record in caplog.records if "text neighbours" in record.message]
    assert f"the model reads no text, and {len(data.items)} items are too many" in line and sources == ["minilm"]
    monkeypatch.setattr("tfrec.stages.baselines.text_settings", lambda run, data: config.Text(source="some_preset"))
    assert "text_neighbours" in baselines(run, data) and sources == ["minilm", "some_preset"]


def test_without_the_weights_it_is_left_out_and_said(run, monkeypatch, caplog):
    def absent(texts, settings):
        raise ValueError("the MiniLM weights are not installed")

    monkeypatch.setattr(build, "text_vectors", absent)
    with caplog.at_level(logging.WARNING, logger="tfrec"):
        assert list(baselines(run, open_dataset(run))) == ["popularity", "cooccurrence"]
    assert "no baseline of text neighbours: the MiniLM weights are not installed" in caplog.text


def results(ours, theirs):
    def row(value):
        return Evaluation({"hr@10": value, "ndcg@10": value}, {}, pd.DataFrame())

    return Results("mine", {}, row(ours), {"popularity": row(theirs), "oracle": row(0.9)})


def test_a_better_baseline_is_named(caplog):
    with caplog.at_level(logging.WARNING, logger="tfrec"):
        warn_of_better(results(0.2, 0.3))
    assert "ndcg@10 of 0.2000 is below that of the baseline popularity, 0.3000" in caplog.text


def test_a_good_model_is_not_warned_of_and_the_oracle_is_no_baseline(caplog):
    with caplog.at_level(logging.WARNING, logger="tfrec"):
        warn_of_better(results(0.3, 0.2))
    assert caplog.text == ""
