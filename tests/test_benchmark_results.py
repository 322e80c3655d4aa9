"""Records of runs and the tables that are made of them."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.benchmark_scripts import PIPELINE, dataset, results_in, run, script
from tfrec import config


@pytest.fixture
def results(monkeypatch, tmp_path):
    return results_in(tmp_path, monkeypatch)


@pytest.fixture
def compare():
    return script("compare")


@pytest.fixture
def readme(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "results", results)
    return script("readme")


def test_a_record_holds_mean_and_spread_over_seeds(results, readme, tmp_path):
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.75)]
    (tmp_path / "a.commit").write_text("one")
    found = json.loads(results.record("small", folders).read_text())
    assert found["seeds"] == [1, 2] and found["commits"] == ["one", "unknown"] and found["scorer"] is None
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
def test_a_row_stands_beside_the_best_published_figures(results, readme, tmp_path, seeds, ours, told):
    folders = [run(tmp_path / f"s{seed}", seed=seed, hit=ours) for seed in range(seeds)]
    for seed, folder in enumerate(folders):  # By the first seed half the users below, half above: of the mean 0.01.
        table = pd.read_parquet(folder / "per_user.parquet")
        up = table["user_id"].str.lstrip("u").astype(int) % 2 * 2 - 1
        for figure in ("hr@10", "ndcg@10"):
            table[figure] += 0.0323 * up * (seeds if seed == 0 else 0)
        table.to_parquet(folder / "per_user.parquet")
    results.record("movielens_1m_lstm", folders)
    row = readme.table().splitlines()[-1]
    published = "0.2811 / 0.1648, GRU4Rec, the best recurrent model, ids"
    assert f"| ids | {ours:.4f} ± 0.0100 (0.0000) | {ours:.4f} ± 0.0100 (0.0000) | {published}{told} |" in row


def test_two_runs_are_compared_user_by_user(compare, tmp_path):
    better, worse = run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.25)
    assert compare.difference(better, worse).splitlines() == [
        "hr@10: 0.5000 - 0.2500 = +0.2500 (+0.2500 to +0.2500)",
        "ndcg@10: 0.5000 - 0.2500 = +0.2500 (+0.2500 to +0.2500)",
    ]
    table = pd.read_parquet(worse / "per_user.parquet")
    table.loc[table["user_id"].isin(["u0", "u1", "u2", "u3"]), "hr@10"] = 0.5
    table.to_parquet(worse / "per_user.parquet")
    few = compare.difference(better, worse, "few_events").splitlines()
    assert few[0] == "hr@10: 0.5000 - 0.5000 = +0.0000 (+0.0000 to +0.0000)"
    row = tmp_path / "row"
    row.mkdir()
    run(row / "seed_1", seed=1, hit=0.5)
    run(row / "seed_2", seed=2, hit=0.75)
    assert compare.difference(row, worse, "few_events").splitlines()[1].startswith("ndcg@10: 0.6250 - 0.2500 = +0.3750")
    run(row / "seed_3", seed=3, hit=0.5)
    told = compare.difference(row, Path("popularity")).splitlines()
    assert told[0].startswith("hr@10: 0.5833 - 0.2500 = +0.3333") and told[0].endswith(", better")
    assert "), " not in compare.difference(row, worse)  # The word takes three seeds on either side.
    assert compare.difference(row, row).splitlines()[0].endswith("(+0.0000 to +0.0000), not better")
    with pytest.raises(ValueError, match="holds no finished run"):
        compare.difference(better, tmp_path / "row" / "seed_1" / "none")
    with pytest.raises(ValueError, match="has no slice 'few'; it has few_events"):
        compare.difference(better, worse, "few")


def test_runs_that_differ_in_more_than_the_seed_make_no_record(results, tmp_path):
    folders = [run(tmp_path / "a", seed=1, hit=0.5), run(tmp_path / "b", seed=2, hit=0.5, length=20)]
    with pytest.raises(ValueError, match=r"differ in their seed alone, and differ in data.max_length$"):
        results.summarized(["one", "two"], folders)
    with pytest.raises(ValueError, match=r"each run must have a seed of its own, and they are 2, 2$"):
        results.summarized(["one", "two"], [run(tmp_path / name, seed=2, hit=0.5) for name in "bc"])


def test_what_nothing_reads_may_differ(results, tmp_path):
    folders = [run(tmp_path / name, seed=seed, hit=0.5) for seed, name in enumerate("ab")]
    idle = config.parse((folders[1] / "config.yaml").read_text(), ["model.convolution.blocks=9"])
    (folders[1] / "config.yaml").write_text(config.dump(idle))
    assert results.summarized(["one", "two"], folders)["seeds"] == [0, 1]


def test_runs_of_other_data_make_no_record(results, tmp_path):
    folders = [run(tmp_path / last, seed=seed, hit=0.5, last=last) for seed, last in enumerate("ab")]
    with pytest.raises(ValueError, match="of the same data, and what the models see of them differs"):
        results.record("small", folders)
    assert not results.RESULTS.exists()


def test_a_record_stands_until_it_is_said_that_other_data_may_come(results, tmp_path):
    ours, theirs = (results.summarized(["abc"], [run(tmp_path / x, seed=1, hit=0.5, last=x)]) for x in "ab")
    results.write("small", ours)
    with pytest.raises(ValueError, match="not those of small.json, .* --other-data records these"):
        results.write("small", theirs)
    written = tmp_path / "results" / "small.json"
    assert json.loads(written.read_text())["data_digest"] == ours["data_digest"]
    results.write("small", theirs, other_data=True)
    assert json.loads(written.read_text())["data_digest"] == theirs["data_digest"]


def test_a_digest_is_of_what_the_model_sees_alone(tmp_path):
    inputs = script("inputs")
    ids, titles = (
        config.parse(PIPELINE.format(seed=1, length=50), [f"model.text={text}"]) for text in ("none", "auto")
    )
    folder = tmp_path / "dataset"

    def digests(change=None, table="items.parquet"):
        dataset(folder)
        if change is not None:
            change(pd.read_parquet(folder / table)).to_parquet(folder / table)
        return inputs.data_digest(tmp_path, ids), inputs.data_digest(tmp_path, titles)

    plain = digests()
    assert plain[0] != plain[1]
    assert digests(lambda items: items[::-1]) == digests(lambda items: items.assign(genres="z")) == plain
    other = digests(lambda items: items.assign(text="?"))
    assert other[0] == plain[0] and other[1] != plain[1]
    assert all(one != two for one, two in zip(digests(lambda items: items.assign(held_out=2)), plain, strict=True))
    events = pd.read_csv(folder / "events_scored.csv.gz", dtype=str)
    dataset(folder)
    events.iloc[[1, 2, 0]].assign(rating=3).to_csv(folder / "events_scored.csv.gz", index=False)
    assert inputs.data_digest(tmp_path, ids) == plain[0]
    events.iloc[[0, 2, 1]].assign(item_id=["b", "b", "a"]).to_csv(folder / "events_scored.csv.gz", index=False)
    assert inputs.data_digest(tmp_path, ids) != plain[0]
    events.assign(timestamp=[1, 1, 2]).to_csv(folder / "events_scored.csv.gz", index=False)
    assert inputs.data_digest(tmp_path, ids) != plain[0]


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


def test_a_new_row_is_compared_anew_wherever_it_stands_beside_another(results, monkeypatch, tmp_path, capsys):
    named = {"row": {"pipeline": "small", "beside": "plain"}, "plain": {"pipeline": "small"}}
    monkeypatch.setattr(results, "rows", lambda: named)

    def recorded(name, hit):
        (tmp_path / name).mkdir(exist_ok=True)
        results.record(name, [run(tmp_path / name / f"seed_{seed}", seed=seed, hit=hit) for seed in (1, 2, 3)])
        return json.loads((tmp_path / "results" / "row.json").read_text()).get("beside")

    assert recorded("row", 0.5) is None and "row is not compared with plain" in capsys.readouterr().err
    assert recorded("plain", 0.25)["plain"]["hr@10"]["difference"] == 0.25
    assert recorded("plain", 0.375)["plain"]["hr@10"]["difference"] == 0.125
    assert recorded("row", 0.75)["plain"]["hr@10"]["difference"] == 0.375
    for seed in (1, 2, 3):
        (tmp_path / "row" / f"seed_{seed}").rename(tmp_path / f"away_{seed}")
    capsys.readouterr()
    assert recorded("plain", 0.5) is None  # What was said before is of another record.
    assert "row is not compared with plain: runs of both must lie in one folder" in capsys.readouterr().err


def test_what_rows_say_of_one_another_is_the_difference_of_their_means():
    known = script("results").records()
    gaps = [
        (one["test"][figure]["mean"] - known[other]["test"][figure]["mean"], gap["difference"])
        for one in known.values()
        for other, gaps in one.get("beside", {}).items()
        for figure, gap in gaps.items()
    ]
    assert gaps, "no record is compared with another row's"
    for ours, told in gaps:
        assert told == pytest.approx(ours, abs=1e-9)
