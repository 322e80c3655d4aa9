"""Records of runs and the tables that are made of them."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.benchmark_scripts import run, script


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def readme(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "results", results)
    return script("readme")


def test_a_record_holds_mean_and_spread_over_seeds(results, readme, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.75)]
    found = json.loads(results.record("small", ["one", "two"], folders).read_text())
    assert found["seeds"] == [1, 2] and found["commits"] == ["one", "two"] and found["content_hash"] == "tables"
    assert found["test"]["hr@10"] == {"mean": 0.625, "spread": 0.25}
    assert found["differences"]["popularity"]["ndcg@10"]["verdict"] == "better"
    assert found["environments"] == [{"cores": 2, "seed": 1}, {"cores": 2, "seed": 2}]
    assert "| small |  | 0.6250 ± 0.0000 (0.2500) |" in readme.table()


def test_what_was_trained_is_the_epochs_up_to_the_best_one(results, readme, tmp_path):
    folders = [run(tmp_path / str(seed), seed=seed, hit=0.5) for seed in (1, 2, 9)]
    found = results.summarized(["abc"] * 3, folders)
    assert [timing["seconds_to_best"] for timing in found["timing"]] == [180.0, 240.0, 660.0]
    assert "| 3 | 4 min, 2 core(s) | 1.0 GiB |" in readme.table({"small": found})
    found["environments"][1]["cores"] = 1
    assert "| 4 min, 1/2 core(s) |" in readme.table({"small": found})
    for timing in found["timing"]:  # As records were before: they lacked both.
        del timing["seconds_to_best"]
        timing["epoch_seconds"] = 150.0
    del found["environments"]
    assert "| 5 min, 4 core(s) |" in readme.table({"small": {**found, "environment": {"cores": 4}}})


@pytest.mark.parametrize(
    ("seeds", "ours", "told"),
    [
        (3, 0.5, " (beats)"),
        (2, 0.5, ""),
        (3, 0.2, " (falls short of / beats)"),
        (3, 0.17, " (falls short of / matches)"),
    ],
)
def test_a_row_stands_beside_the_best_published_figures(results, readme, monkeypatch, tmp_path, seeds, ours, told):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / f"s{seed}", seed=seed, hit=ours) for seed in range(seeds)]
    for seed, folder in enumerate(folders):  # By the first seed half the users below, half above: of the mean 0.01.
        table = pd.read_parquet(folder / "per_user.parquet")
        up = table["user_id"].str.lstrip("u").astype(int) % 2 * 2 - 1
        for figure in ("hr@10", "ndcg@10"):
            table[figure] += 0.0323 * up * (seeds if seed == 0 else 0)
        table.to_parquet(folder / "per_user.parquet")
    results.record("movielens_1m_lstm", ["abc"] * seeds, folders)
    row = readme.table().splitlines()[-1]
    published = "0.2811 / 0.1648, GRU4Rec, the best recurrent model, ids"
    assert f"| ids | {ours:.4f} ± 0.0100 (0.0000) | {ours:.4f} ± 0.0100 (0.0000) | {published}{told} |" in row


def test_two_runs_are_compared_user_by_user(results, tmp_path):
    better, worse = run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.25)
    assert results.difference(better, worse).splitlines() == [
        "hr@10: 0.5000 - 0.2500 = +0.2500 (+0.2500 to +0.2500)",
        "ndcg@10: 0.5000 - 0.2500 = +0.2500 (+0.2500 to +0.2500)",
    ]
    table = pd.read_parquet(worse / "per_user.parquet")
    table.loc[table["user_id"].isin(["u0", "u1", "u2", "u3"]), "hr@10"] = 0.5
    table.to_parquet(worse / "per_user.parquet")
    few = results.difference(better, worse, "few_events").splitlines()
    assert few[0] == "hr@10: 0.5000 - 0.5000 = +0.0000 (+0.0000 to +0.0000)"
    row = tmp_path / "row"
    row.mkdir()
    run(row / "seed_1", seed=1, hit=0.5)
    run(row / "seed_2", seed=2, hit=0.75)
    assert results.difference(row, worse, "few_events").splitlines()[1].startswith("ndcg@10: 0.6250 - 0.2500 = +0.3750")
    run(row / "seed_3", seed=3, hit=0.5)
    told = results.difference(row, Path("popularity")).splitlines()
    assert told[0].startswith("hr@10: 0.5833 - 0.2500 = +0.3333") and told[0].endswith(", better")
    assert "), " not in results.difference(row, worse)  # The word takes three seeds on either side.
    assert results.difference(row, row).splitlines()[0].endswith("(+0.0000 to +0.0000), not better")
    with pytest.raises(ValueError, match="holds no finished run"):
        results.difference(better, tmp_path / "row" / "seed_1" / "none")
    with pytest.raises(ValueError, match="has no slice 'few'; it has few_events"):
        results.difference(better, worse, "few")


def test_runs_that_differ_in_more_than_the_seed_make_no_record(results, tmp_path):
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.5, length=20)]
    with pytest.raises(ValueError, match="differ in their seed alone"):
        results.record("small", ["one", "two"], folders)


def test_runs_of_other_data_make_no_record(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    folders = [run(tmp_path / name, seed=seed, hit=0.5, content=name) for seed, name in enumerate(("old", "new"))]
    with pytest.raises(ValueError, match=r"of the same data, .* differs: \['old', 'new'\]"):
        results.record("small", ["one", "two"], folders)
    assert not results.RESULTS.exists()


def test_a_record_stands_until_it_is_said_that_other_data_may_come(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    ours, theirs = (
        results.summarized(["abc"], [run(tmp_path / name, seed=1, hit=0.5, content=name)]) for name in ("one", "two")
    )
    results.write("small", ours)
    with pytest.raises(ValueError, match="not those of .*small.json: their hash is two, of the record one"):
        results.write("small", theirs)
    assert json.loads((tmp_path / "results" / "small.json").read_text())["content_hash"] == "one"
    results.write("small", theirs, other_data=True)
    assert json.loads((tmp_path / "results" / "small.json").read_text())["content_hash"] == "two"


def test_slices_and_the_row_beside_are_told_in_lines(results, readme, monkeypatch, tmp_path):
    named = {
        "row": {"slices": {"few_events": {"hr@10": 0.25, "by": "chance"}}},
        "plain": {"slices": {"few_events": None}},
    }
    monkeypatch.setattr(results, "rows", lambda: named)
    folders = [run(tmp_path / f"{seed}", seed=seed, hit=0.5) for seed in (1, 2, 3)]
    others = [run(tmp_path / f"other_{seed}", seed=seed, hit=0.375) for seed in (1, 2, 3)]
    found = results.summarized(["abc"] * 3, folders)
    gap = {"difference": 0.125, "low": 0.125, "high": 0.125, "verdict": "better"}
    assert results.beside(folders, others) == {"hr@10": gap, "ndcg@10": gap}
    told = {"row": {**found, "beside": {"plain": results.beside(folders, others)}}, "plain": found}
    told_gap, lines = "+0.1250 (+0.1250 to +0.1250): better", readme.more(told).splitlines()
    assert lines == [
        "- `row`, users in `few_events`: HR@10 0.5000 ± 0.0000; 0.2500 by chance (beats).",
        f"- `row` less `plain`: HR@10 {told_gap}; NDCG@10 {told_gap}.",
        "- `plain`, users in `few_events`: HR@10 0.5000 ± 0.0000.",
    ]
