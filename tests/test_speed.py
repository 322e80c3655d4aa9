"""The benchmark of speed: what it makes of measurements, and that tfrec's side runs on a small shop."""

import importlib.util
import json
import sys

import pytest
from click.testing import CliRunner

from tests import tiny_shop
from tests.benchmark_scripts import ROOT
from tfrec.data import EventColumns, PrepareOptions, prepare


def speed_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / "speed" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def part(seconds, *, memory=100.0, ndcg=(0.1,), target=None):
    return {
        "epoch_seconds": seconds, "peak_memory_mb": memory, "recommend_seconds": 2.0, "users": 10,
        "ndcg": list(ndcg), "target": target,
    }  # fmt: skip


def written(folder, name, told):
    (folder / f"{name}.json").write_text(json.dumps(told))


def test_epochs_to_the_target_count_as_the_middle_one_of_the_rounds():
    script = speed_script("run")
    found = script.figures([part([50.0, 3.0, 5.0]), part([70.0, 4.0, 9.0], memory=120.0)])
    assert found["epoch_seconds"] == {"median": 4.5, "least": 3.0, "most": 9.0, "count": 4}
    assert found["first_epoch_seconds"]["median"] == 60.0 and found["peak_memory_mb"] == 120.0
    quality = part([9.0, 1.0], ndcg=(0.1, 0.3), target=0.2)
    assert script.with_way(found, quality)["seconds_to_target"] == 9.0


def test_a_target_that_was_not_reached_has_no_seconds():
    script, quality = speed_script("run"), part([9.0, 1.0], ndcg=(0.1, 0.15), target=0.2)
    assert script.with_way(script.figures([part([5.0, 3.0])]), quality)["seconds_to_target"] is None


def test_the_way_to_the_target_may_come_later(tmp_path):
    script, work = speed_script("run"), {"users": 1, "items": 2, "events": 3, "max_length": 4, "target": 0.2}
    for library, seconds in (("tfrec", 2.0), ("rectools", 40.0)):
        for turn in (1, 2):
            written(tmp_path, f"{library}_round_{turn}", part([9.0, seconds]))
    found = script.told_of_rounds(work, tmp_path, 2)
    found |= script.told_of_ways(found, tmp_path, 0.2)
    assert (found["epoch_ratio"], found["quality_ratio"]) == (20.0, None)
    line = "| shop | to validation NDCG@10 0.2, s | 0.1000 after 3 epochs | 0.1000 after 3 epochs | - |"
    assert script.table({"data": {"shop": found}}).splitlines()[3] == line
    for library, ndcg in (("tfrec", [0.3]), ("rectools", [0.1, 0.25])):
        written(tmp_path, f"{library}_quality", part([9.0] * len(ndcg), ndcg=ndcg, target=0.2))
    assert script.told_of_ways(found, tmp_path, 0.2)["quality_ratio"] == 40.0


def recorded(script, tmp_path, monkeypatch, *, shared):
    """A script whose record has rounds of Beauty, whose page is a scratch one, and which measures nothing."""
    rounds = {"tfrec": script.figures([part([5.0, 2.0])]), "rectools": script.figures([part([5.0, 40.0])])}
    ratios = {"epoch_ratio": 20.0, "memory_ratio": 1.0, "recommend_ratio": 1.0, "target": 0.04}
    told = {"commit": "of the rounds", "environment": {"cores": 3}, "shared": shared, "rates": script.RATES}
    written(tmp_path, "speed", {**told, "data": {"amazon_beauty": {**rounds, **ratios}}})
    (tmp_path / "page.md").write_text("<!-- speed -->\n<!-- end of speed -->\n")
    monkeypatch.setattr(script, "RECORD", tmp_path / "speed.json")
    monkeypatch.setattr(script, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(script, "prepared", lambda name, folder: {"target": 0.04})
    monkeypatch.setattr(script, "timed", lambda *_: pytest.fail("rounds were measured again"))
    monkeypatch.setattr(script, "reached", lambda *_: None)


def test_ways_alone_are_added_to_the_rounds_of_the_record(tmp_path, monkeypatch):
    script, command = speed_script("run"), ["--ways-only", "--data", "amazon_beauty", "--others", sys.executable]
    recorded(script, tmp_path, monkeypatch, shared=script.SHARED)
    for library, ndcg in (("tfrec", [0.05]), ("rectools", [0.01, 0.02, 0.05])):
        written(tmp_path, f"{library}_quality", part([9.0] * len(ndcg), ndcg=ndcg, target=0.04))
    (tmp_path / "amazon_beauty").symlink_to(tmp_path)
    ended = CliRunner().invoke(script.main, [*command, "--out", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    record = json.loads((tmp_path / "speed.json").read_text())
    assert record["data"]["amazon_beauty"]["quality_ratio"] == 60.0
    assert (record["commit"], record["environment"]) == ("of the rounds", {"cores": 3})
    assert (
        "| amazon_beauty | to validation NDCG@10 0.04, s | 2 (1 epochs) | 120 (3 epochs) | 60.0 |"
        in (tmp_path / "page.md").read_text()
    )


def test_ways_alone_ask_for_rounds_of_the_same_work(tmp_path, monkeypatch):
    script = speed_script("run")
    recorded(script, tmp_path, monkeypatch, shared={**script.SHARED, "dim": 32})
    ended = CliRunner().invoke(script.main, ["--ways-only", "--others", sys.executable, "--out", str(tmp_path)])
    assert ended.exit_code == 1 and "no rounds of amazon_beauty with these settings" in ended.output


def test_the_page_shows_the_record():
    script = speed_script("run")
    ours, theirs = script.figures([part([5.0, 2.0])]), script.figures([part([5.0, 40.0])])
    told = {"tfrec": script.with_way(ours, part([4.0], ndcg=(0.3,), target=0.2))}
    told["rectools"] = script.with_way(theirs, part([50.0], ndcg=(0.1,), target=0.2))
    ratios = {"epoch_ratio": 20.0, "quality_ratio": None, "memory_ratio": 1.0, "recommend_ratio": 1.0}
    lines = script.table({"data": {"shop": {"target": 0.2, **told, **ratios}}}).splitlines()
    assert lines[2] == "| shop | an epoch, s | 2.0 (2.0 to 2.0) | 40.0 (40.0 to 40.0) | 20.0 |"
    assert lines[3] == "| shop | to validation NDCG@10 0.2, s | 2 (1 epochs) | 0.1000 in 1 epochs | - |"


def test_page_and_readme_say_what_the_record_does():
    script = speed_script("run")
    record, page = json.loads(script.RECORD.read_text(encoding="utf-8")), script.PAGE.read_text(encoding="utf-8")
    assert script.results.between(page, "speed", script.table(record)) == page
    beauty, movielens = (record["data"][name]["epoch_ratio"] for name in ("amazon_beauty", "movielens_1m"))
    told = f"1/{beauty:.0f} of the time of RecTools' SASRec on Beauty and 1/{movielens:.0f} on MovieLens-1M"
    assert told in (script.results.ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_a_step_is_that_of_its_record():
    script = speed_script("step")
    page = script.PAGE.read_text(encoding="utf-8")
    told = script.markdown(json.loads(script.RECORD.read_text(encoding="utf-8"))["data"])
    assert told in page and script.results.between(page, "profile", told) == page


@pytest.mark.slow
def test_tfrecs_side_of_the_work_runs(tmp_path):
    options = PrepareOptions(events=EventColumns("who", "what", "at"), max_length=6)
    data = prepare(tiny_shop.events(), options=options, folder=tmp_path / "dataset")
    (tmp_path / "shop.yaml").write_text("name: shop\ndata: {events: {path: e.csv, columns: {timestamp: at}}}\n")
    work = {
        "pipeline": str(tmp_path / "shop.yaml"), "changes": ["model.dim=8", "model.text=none"], "seed": 1,
        "dataset": str(data.folder), "users": data.manifest["counts"]["train_users"], "sequences": 16, "epochs": 2,
        "target": 2.0,
    }  # fmt: skip
    (tmp_path / "work.json").write_text(json.dumps(work))
    speed_script("with_tfrec").main(str(tmp_path / "work.json"), str(tmp_path / "result.json"))
    told = json.loads((tmp_path / "result.json").read_text())
    assert len(told["epoch_seconds"]) == len(told["ndcg"]) == 2 and all(0 <= each <= 1 for each in told["ndcg"])
    assert told["steps"] <= -(-work["users"] // 16) and told["recommend_seconds"] > 0
