"""The benchmark of speed: what it makes of measurements, and that tfrec's side runs on a small shop."""

import importlib.util
import json
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pandas as pd
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


def test_epochs_to_the_target_count_as_a_first_one_and_the_middle_one_of_the_others():
    script = speed_script("run")
    found = script.figures([part([50.0, 3.0, 5.0]), part([70.0, 4.0, 9.0], memory=120.0)])
    assert found["epoch_seconds"] == {"median": 4.5, "least": 3.0, "most": 9.0, "count": 4}
    assert found["first_epoch_seconds"]["median"] == 60.0 and found["peak_memory_mb"] == 120.0
    assert script.with_way(found, [0.1, 0.3], 0.2)["seconds_to_target"] == 64.5


def test_a_target_that_was_not_reached_has_no_seconds():
    script = speed_script("run")
    assert script.with_way(script.figures([part([5.0, 3.0])]), [0.1, 0.15], 0.2)["seconds_to_target"] is None


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
    assert script.told_of_ways(found, tmp_path, 0.2)["quality_ratio"] == (9.0 + 40.0) / 9.0


def test_a_way_that_was_stopped_takes_at_least_an_epoch_more(tmp_path):
    script, target = speed_script("run"), 0.2
    rounds = {"tfrec": script.figures([part([9.0, 2.0], ndcg=[0.25])]), "rectools": script.figures([part([9.0, 40.0])])}
    written(tmp_path, "tfrec_quality", part([9.0], ndcg=[0.1, 0.3], target=target))
    by_rounds = script.told_of_ways(rounds, tmp_path, target)
    assert by_rounds["quality_ratio"] is None and by_rounds["quality_ratio_at_least"] == (9.0 + 3 * 40.0) / 11.0
    written(tmp_path, "rectools_quality.partial", {"ndcg": [0.1] * 6, "target": target})
    stopped = script.told_of_ways(rounds, tmp_path, target)
    assert stopped["quality_ratio"] is None and stopped["quality_ratio_at_least"] == (9.0 + 6 * 40.0) / 11.0
    ratios = {"epoch_ratio": 20.0, "memory_ratio": 1.0, "recommend_ratio": 1.0}
    line = script.table({"data": {"shop": {**stopped, **ratios}}}).splitlines()[3]
    assert line == "| shop | to validation NDCG@10 0.2, s | 11 (2 epochs) | 0.1000 in 6 epochs | at least 22.6 |"
    written(tmp_path, "rectools_quality", part([9.0], ndcg=[0.1] * 9 + [0.3], target=target))
    whole = script.told_of_ways(rounds, tmp_path, target)
    assert whole["quality_ratio"] == whole["quality_ratio_at_least"] == (9.0 + 9 * 40.0) / 11.0
    elsewhere = tmp_path / "elsewhere"  # Where nothing is measured, what the record has of the ways stays.
    assert script.told_of_ways(whole, elsewhere, target) == whole


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
    assert record["data"]["amazon_beauty"]["quality_ratio"] == 17.0
    assert (record["commit"], record["environment"]) == ("of the rounds", {"cores": 3})
    assert (
        "| amazon_beauty | to validation NDCG@10 0.04, s | 5 (1 epochs) | 85 (3 epochs) | 17.0 |"
        in (tmp_path / "page.md").read_text()
    )


@pytest.mark.parametrize("added", ["--ways-only", "--recbole-only"])
def test_what_is_added_asks_for_rounds_of_the_same_work(added, tmp_path, monkeypatch):
    script = speed_script("run")
    recorded(script, tmp_path, monkeypatch, shared={**script.SHARED, "dim": 32})
    monkeypatch.setattr(script, "recbole_of", lambda interpreter, *, needed: {"recbole": interpreter})
    ended = CliRunner().invoke(script.main, [added, "--others", sys.executable, "--out", str(tmp_path)])
    assert ended.exit_code == 1 and "no rounds of amazon_beauty with these settings" in ended.output


def test_a_way_that_is_stopped_by_hand_is_in_the_record(tmp_path, monkeypatch):
    script, command = speed_script("run"), ["--ways-only", "--data", "amazon_beauty", "--others", sys.executable]
    recorded(script, tmp_path, monkeypatch, shared=script.SHARED)
    written(tmp_path, "tfrec_quality", part([9.0], ndcg=[0.05], target=0.04))
    written(tmp_path, "rectools_quality.partial", {"ndcg": [0.01, 0.02], "target": 0.04})
    monkeypatch.setattr(script, "reached", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    (tmp_path / "amazon_beauty").symlink_to(tmp_path)
    ended = CliRunner().invoke(script.main, [*command, "--out", str(tmp_path)])
    assert ended.exit_code == 0 and "amazon_beauty: stopped before the target" in ended.output
    record = json.loads((tmp_path / "speed.json").read_text())["data"]["amazon_beauty"]
    assert (record["quality_ratio"], record["quality_ratio_at_least"]) == (None, 17.0)


def test_the_page_shows_the_record():
    script = speed_script("run")
    ours, theirs = script.figures([part([5.0, 2.0])]), script.figures([part([5.0, 40.0])])
    told = {"tfrec": script.with_way(ours, [0.3], 0.2)}
    told["rectools"] = script.with_way(theirs, [0.1], 0.2)
    ratios = {"epoch_ratio": 20.0, "quality_ratio": None, "memory_ratio": 1.0, "recommend_ratio": 1.0}
    lines = script.table({"data": {"shop": {"target": 0.2, **told, **ratios}}}).splitlines()
    assert lines[2] == "| shop | an epoch, s | 2.0 (2.0 to 2.0) | 40.0 (40.0 to 40.0) | 20.0 |"
    assert lines[3] == "| shop | to validation NDCG@10 0.2, s | 5 (1 epochs) | 0.1000 in 1 epochs | - |"


def some_steps_of(seconds, *, memory=100.0):
    return {**part([seconds], memory=memory), "extrapolated_from_steps": 30, "steps": 633}


def test_rounds_of_recbole_alone_are_added_to_the_record(tmp_path, monkeypatch):
    script, command = speed_script("run"), ["--recbole-only", "--data", "amazon_beauty", "--others", sys.executable]
    recorded(script, tmp_path, monkeypatch, shared=script.SHARED)
    before = json.loads((tmp_path / "speed.json").read_text())
    asked = []
    monkeypatch.setattr(script, "timed", lambda work, folder, rounds, interpreters: asked.append([*interpreters]))
    monkeypatch.setattr(script, "reached", lambda *_: pytest.fail("ways were measured again"))
    monkeypatch.setattr(script, "recbole_of", lambda interpreter, *, needed: {"recbole": interpreter})
    for turn, seconds in ((1, 60.0), (2, 80.0)):
        written(tmp_path, f"recbole_round_{turn}", part([500.0, seconds], memory=250.0))
    (tmp_path / "amazon_beauty").symlink_to(tmp_path)
    ended = CliRunner().invoke(script.main, [*command, "--rounds", "2", "--out", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    record = json.loads((tmp_path / "speed.json").read_text())
    found, kept = record["data"]["amazon_beauty"], before["data"]["amazon_beauty"]
    assert asked == [["recbole"]] and (found["epoch_ratio_recbole"], found["memory_ratio_recbole"]) == (35.0, 2.5)
    assert {name: found[name] for name in kept} == kept
    assert {**record, "data": None} == {**before, "data": None}
    line = (
        "| amazon_beauty | an epoch, s | 2.0 (2.0 to 2.0) | 40.0 (40.0 to 40.0) | 20.0 | 70.0 (60.0 to 80.0) | 35.0 |"
    )
    assert line in (tmp_path / "page.md").read_text()


def test_an_epoch_told_from_some_steps_is_called_that():
    script = speed_script("run")
    found = script.figures([some_steps_of(900.0), some_steps_of(700.0)])
    assert found["epoch_seconds"] == {"median": 800.0, "least": 700.0, "most": 900.0, "count": 2}
    assert (found["first_epoch_seconds"], found["ndcg_after_a_round"]) == (None, None)
    assert (found["extrapolated_from_steps"], found["steps"]) == (30, 633)
    ours, theirs = script.figures([part([5.0, 2.0])]), script.figures([part([5.0, 40.0])])
    shop = {"target": 0.2, "tfrec": ours, "rectools": theirs, **script.ratios(ours, theirs)}
    shop |= {"recbole": found, "epoch_ratio_recbole": 400.0}
    lines = script.table({"data": {"shop": shop, "other": {**shop, "recbole": None}}}).splitlines()
    assert lines[0] == "| data | | tfrec | RecTools | times | RecBole | times |"
    assert lines[2].endswith("| 20.0 | 800.0 (700.0 to 900.0), from 30 steps | 400.0 |")
    assert lines[3].endswith("| - | - | - |") and lines[4].endswith("| 100 | - |")
    assert lines[7].endswith("| - | - |") and len({line.count("|") for line in lines}) == 1


def test_only_recbole_is_told_of_steps(tmp_path, monkeypatch):
    script, told = speed_script("run"), {}
    monkeypatch.setattr(script, "measure", lambda library, _, work, path: told.update({path.name: work}))
    script.timed({"dim": 8}, tmp_path / "movielens_1m", 1, dict.fromkeys(["tfrec", "rectools", "recbole"], "python"))
    assert told["tfrec_round_1"] == told["rectools_round_1"] == {"dim": 8, "epochs": script.EPOCHS, "target": None}
    assert told["recbole_round_1"] == {**told["tfrec_round_1"], "steps": 30}
    script.timed({"dim": 8}, tmp_path / "amazon_beauty", 1, {"recbole": "python"})
    assert told["recbole_round_1"]["steps"] is None


def test_without_recbole_the_benchmark_runs_and_says_so(tmp_path, monkeypatch):
    script, asked = speed_script("run"), []
    recorded(script, tmp_path, monkeypatch, shared=script.SHARED)
    found = json.loads((tmp_path / "speed.json").read_text())["data"]["amazon_beauty"]
    monkeypatch.setattr(script, "timed", lambda work, folder, rounds, interpreters: asked.append([*interpreters]))
    monkeypatch.setattr(script, "told_of_rounds", lambda *_: found)
    monkeypatch.setattr(script, "describe", dict)
    monkeypatch.setattr(script.results, "commit", str)
    command = ["--data", "amazon_beauty", "--others", sys.executable, "--out", str(tmp_path)]
    ended = CliRunner().invoke(script.main, [*command, "--rounds-only"])
    lacking = f"{sys.executable} has no RecBole (benchmarks/speed/requirements-recbole.txt)"
    assert (ended.exit_code, ended.output) == (0, f"{lacking}: the benchmark runs without it.\n")
    assert asked == [["tfrec", "rectools"]]
    ended = CliRunner().invoke(script.main, [*command, "--recbole-only"])
    assert ended.exit_code == 1 and f"Error: {lacking}: install it there" in ended.output and len(asked) == 1


def test_recbole_is_found_where_it_is_installed(tmp_path, monkeypatch):
    (tmp_path / "recbole.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert speed_script("run").recbole_of(sys.executable, needed=True) == {"recbole": sys.executable}


@pytest.fixture
def with_recbole(monkeypatch):
    """RecBole's side of the work; RecBole and PyTorch, which are not installed here, are stubs."""
    parts = ("config", "data", "data.interaction", "data.utils", "model.sequential_recommender", "trainer", "utils")
    for name in ("torch", "recbole", "recbole.model", *(f"recbole.{each}" for each in parts)):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    return speed_script("with_recbole")


def test_recbole_takes_as_many_targets_a_step_as_the_others(with_recbole):
    work = {"users": 3, "sequences": 2, "max_length": 50}
    given = pd.DataFrame({"user_id": ["a"] * 11 + ["b"] * 6 + ["c"] * 3})  # 17 targets.
    assert with_recbole.batch_size(given, work) == 9
    many = pd.DataFrame({"user_id": ["a"] * 10_000})
    assert with_recbole.batch_size(many, work) == 2048
    assert with_recbole.batch_size(many, {**work, "max_length": 200}) == 512


def test_some_steps_of_recbole_are_timed_after_the_first_ones(with_recbole, monkeypatch):
    clock, taken = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(with_recbole, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class Loader:
        def __len__(self):
            return 100

        def __iter__(self):
            for batch in range(100):
                clock.now += 1.0  # To make it.
                yield batch

    def epoch(batches, _):
        for batch in batches:
            taken.append(batch)
            clock.now += 50.0 if batch < with_recbole.WARM_UP else 2.0

    trainer = SimpleNamespace(_train_epoch=epoch)
    found = with_recbole.some_steps(trainer, Loader(), 30)
    assert found == {"epoch_seconds": [300.0], "extrapolated_from_steps": 30} and len(taken) == 35
    with pytest.raises(ValueError, match="an epoch has 100 steps"):
        with_recbole.some_steps(trainer, Loader(), 96)


def test_page_and_readme_say_what_the_record_does():
    script = speed_script("run")
    record, page = json.loads(script.RECORD.read_text(encoding="utf-8")), script.PAGE.read_text(encoding="utf-8")
    assert script.results.between(page, "speed", script.table(record)) == page
    found = [record["data"][name] for name in ("amazon_beauty", "movielens_1m")]
    beauty, movielens = (each["epoch_ratio"] for each in found)
    readme = (script.results.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"1/{beauty:.0f} of the time of RecTools' SASRec on Beauty and 1/{movielens:.0f} on MovieLens-1M" in readme
    ways = [f"{'at least ' * (not each['quality_ratio'])}{each['quality_ratio_at_least']:.1f}" for each in found]
    assert f"it is {' and '.join(ways)} times as fast" in readme


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
