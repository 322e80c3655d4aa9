"""The README and the page of ablations show what their records say."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tests import tiny_shop
from tests.benchmark_scripts import EMPTY, PIPELINE, experiments_in, script
from tfrec import config

RECORD = ["record", "small", "--commit", "abc"]


@pytest.fixture
def results():
    return script("results")


@pytest.fixture
def experiments(results, monkeypatch, tmp_path):
    return experiments_in(tmp_path, results, monkeypatch)


def test_the_readme_shows_what_the_records_say(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "results", results)
    readme = script("readme")
    text = readme.README.read_text(encoding="utf-8")
    for mark, new in ((readme.MARK, readme.table()), (readme.MORE, readme.more())):
        assert f"<!-- {mark} -->" in text and results.between(text, mark, new) == text


@pytest.mark.parametrize(
    ("name", "mark"),
    [("restart", "kills"), ("divided", "divided"), ("whole_run", "whole run"), ("speed/precision", "precision")],
)
def test_a_page_shows_what_its_record_says(results, monkeypatch, name, mark):
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.delitem(sys.modules, "run", raising=False)  # There are two, and each program means its own.
    benchmark = script(name)
    monkeypatch.delitem(sys.modules, "run", raising=False)
    text, found = (path.read_text(encoding="utf-8") for path in (benchmark.PAGE, benchmark.RECORD))
    assert f"<!-- {mark} -->" in text
    assert results.between(text, mark, benchmark.table(json.loads(found))) == text


def test_the_page_of_kills_names_the_commands_of_its_record(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "results", results)
    restart = script("restart")
    text = restart.PAGE.read_text(encoding="utf-8")
    for told in json.loads(restart.RECORD.read_text(encoding="utf-8")):
        stage, *changes = told["command"]
        words = f"python benchmarks/restart.py --record --kills {sum(told['kills'].values())} --seed {told['seed']}"
        words += "" if stage == "run" else f" --stage {stage}"
        words += "".join(f" --set {change!r}" if " " in change else f" --set {change}" for change in changes)
        assert f"    {words}\n".replace("'", '"') in text


def compared(folder: Path, *overrides: str, seeds: int = 1, reference: str = "whole", **failures: str) -> Path:
    """What a finished comparison leaves, as far as a record of ablations reads it."""

    def variant(hit: float, **changes: object) -> dict:
        figures = {"hr@10": hit, "ndcg@10": hit / 2, "coverage@10": 0.5}
        costs = {"parameters": 1234.0, "peak_memory_mb": 9.0}
        splits = {"validation": figures, "test": figures, "environment": {"cores": 2}}
        return {"changes": changes, "seeds": list(range(1, seeds + 1)), **costs, **splits}

    gap = {"difference": -0.125, "low": -0.15, "high": -0.1, "verdict": "worse"}
    variants = {
        "whole": variant(0.5),
        "b": variant(0.4, **{"model.dropout": 0.0}),
        "a": variant(0.25, **{"model.text": "none"}),
        "c": variant(0.125, **{"model.behavior": ["convolution"], "model.convolution.blocks": 3}),
    }
    document = {
        "reference": reference,
        "variants": variants,
        "differences": {
            name: {"all": {"hr@10": gap, "ndcg@10": gap}, "cold": {}} for name in variants if name != reference
        },
        "failures": [{"variant": name, "reason": reason} for name, reason in failures.items()],
    }
    (folder / "variants").mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(document))
    for name, entry in variants.items():
        own = [f"{key}={json.dumps(value)}" for key, value in entry["changes"].items()]
        pipeline = config.parse(PIPELINE.format(seed=7, length=50), [*overrides, *own])
        (folder / "variants" / f"{name}.yaml").write_text(config.dump(pipeline))
        for seed in entry["seeds"]:
            ran = folder / "runs" / name / f"seed_{seed}"
            ran.mkdir(parents=True)
            history = [{"epoch_seconds": seconds} for seconds in (40.0, 7.6 + (name == "c") + seed / 10)]
            (ran / "stages.json").write_text(json.dumps({"train": {"history": history}}))
    return folder


@pytest.fixture
def ablations(results, experiments, monkeypatch, tmp_path):
    """The command that records a comparison of the pipeline `small`, with a page of its own."""
    monkeypatch.setitem(sys.modules, "experiments", experiments)
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setattr(experiments, "PIPELINES", tmp_path)
    (tmp_path / "small.yaml").write_text(PIPELINE.format(seed=1, length=50))
    module = script("ablations")
    monkeypatch.setattr(module, "RECORDS", tmp_path / "ablations")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text(EMPTY.format(module.MARK))
    return module


def recorded(ablations, folder: Path) -> list[str]:
    """The lines of the page after a comparison was recorded, those between the marks."""
    asked = [*RECORD, str(folder)]
    assert CliRunner().invoke(ablations.main, asked, catch_exceptions=False).exit_code == 0
    lines = ablations.PAGE.read_text().splitlines()
    assert lines[:2] + lines[-2:] == ["before", "<!-- ablations -->", "<!-- end of ablations -->", "after"]
    return lines[2:-2]


def test_the_page_of_ablations_shows_what_the_records_say(results, experiments, monkeypatch):
    monkeypatch.setitem(sys.modules, "experiments", experiments)
    module = script("ablations")
    page = module.PAGE.read_text(encoding="utf-8")
    assert f"<!-- {module.MARK} -->" in page and results.between(page, module.MARK, module.as_markdown()) == page


def test_an_ablation_is_what_a_piece_less_costs(ablations, tmp_path):
    for folder, told in (
        (tmp_path, "holds no finished comparison"),
        (compared(tmp_path / "failed", b="out of memory"), "out of memory"),
    ):
        ended = CliRunner().invoke(ablations.main, [*RECORD, str(folder)])
        assert ended.exit_code == 1 and told in ended.output and not ablations.RECORDS.exists()
    gap = "-0.1250 (-0.1500 to -0.1000)"
    assert recorded(ablations, compared(tmp_path / "done")) == [
        "## small", "", "Base: the pipeline as it is. Seeds: 1; 2 core(s).", "",
        "    tfrec compare pipelines/small.yaml --grid benchmarks/grids/small_ablations.yaml \\",
        "        --out runs/small_ablations", "",
        ablations.HEAD, "|" + " --- |" * 8,
        "| **base** | 0.2500 | 0.2500 |  | 0.5000 |  | 1,234 |  |",
        '| `model.behavior=["convolution"]`<br>`model.convolution.blocks=3` '
        f"| 0.0625 | 0.0625 | {gap} | 0.1250 | {gap} | 1,234 |  |",
        f"| `model.text=none` | 0.1250 | 0.1250 | {gap} | 0.2500 | {gap} | 1,234 |  |",
        f"| `model.dropout=0.0` | 0.2000 | 0.2000 | {gap} | 0.4000 | {gap} | 1,234 |  |",
    ]  # fmt: skip
    found = json.loads((ablations.RECORDS / "small.json").read_text())
    assert found["commit"] == "0123456789abcdef" and "commit" not in found["variants"]["a"]
    asked = [*RECORD, "--other", "a=fixed", str(tmp_path / "done")]
    assert CliRunner().invoke(ablations.main, asked, catch_exceptions=False).exit_code == 0
    assert "commit" in json.loads((ablations.RECORDS / "small.json").read_text())["variants"]["a"]
    ended = CliRunner().invoke(ablations.main, [*RECORD, "--other", "d=fixed", str(tmp_path / "done")])
    assert ended.exit_code == 1 and "--other names the variant 'd'; there are whole, b, a, c" in ended.output


def test_what_a_variant_takes_is_measured_apart_and_kept(ablations, monkeypatch, tmp_path):
    recorded(ablations, compared(tmp_path / "done"))
    variants = [SimpleNamespace(name=name) for name in ("whole", "a", "not recorded")]
    monkeypatch.setattr(ablations, "load_plan", lambda *_: SimpleNamespace(variants=variants, reference="whole"))
    monkeypatch.setattr(
        ablations, "_timed", lambda variants, _: {each.name: 1 + variants.index(each) / 2 for each in variants}
    )
    assert CliRunner().invoke(ablations.main, ["time", "small"], catch_exceptions=False).exit_code == 0
    page = ablations.PAGE.read_text()
    assert "| 0.5000 |  | 1,234 | 1.00 |" in page and page.count("| 1,234 | 1.50 |") == 1
    assert "| 1,234 | 1.50 |" in "\n".join(recorded(ablations, compared(tmp_path / "again")))


def test_what_there_is_no_record_or_grid_of_is_not_timed(ablations, tmp_path):
    recorded(ablations, compared(tmp_path / "done"))
    ended = CliRunner().invoke(ablations.main, ["time", "nosuch"])
    assert ended.exit_code == 1 and ended.output.count("\n") == 1
    assert (
        "Error: there are no ablations of 'nosuch' in " in ended.output and "there are those of small\n" in ended.output
    )
    ended = CliRunner().invoke(ablations.main, ["time", "small"])
    assert ended.exit_code == 1 and "Error: no grid file" in ended.output and ended.output.count("\n") == 1


def test_the_commit_of_a_comparison_is_one_of_the_repository(ablations, monkeypatch, tmp_path):
    folder = compared(tmp_path / "done")
    monkeypatch.setattr(ablations.results, "_git", script("results")._git)
    for words in (["--commit", "nosuch"], ["--commit", "HEAD", "--other", "a=nosuch"]):
        ended = CliRunner().invoke(ablations.main, ["record", "small", str(folder), *words])
        assert ended.exit_code == 1 and not ablations.RECORDS.exists()
        assert ended.output.startswith("Error: there is no commit 'nosuch' in ") and ended.output.count("\n") == 1


@pytest.mark.long
def test_times_are_those_of_the_reference(ablations, tmp_path):
    tiny_shop.events().to_csv(tmp_path / "events.csv", index=False)
    tiny_shop.items().to_csv(tmp_path / "items.csv", index=False)
    text = tiny_shop.PIPELINE.format(name="shop", folder=tmp_path, split="leave_last", epochs=1)
    (tmp_path / "shop.yaml").write_text(text)
    (tmp_path / "grid.yaml").write_text("variants: {whole: {}, deep: {model.lstm.layers: 12}}\n")
    plan = ablations.load_plan(tmp_path / "grid.yaml", tmp_path / "shop.yaml")
    found = ablations._timed(plan.variants, plan.reference)
    assert found["whole"] == 1 and found["deep"] > 1.2


def test_the_word_for_a_difference_takes_three_seeds(ablations, tmp_path):
    two, three = (recorded(ablations, compared(tmp_path / str(seeds), seeds=seeds)) for seeds in (2, 3))
    assert two[-1].count("to -0.1000) |") == 2 and "Seeds: 1, 2; " in two[2]
    assert three[-1].count("to -0.1000), worse |") == 2
    fewer = json.loads((tmp_path / "3" / "comparison.json").read_text())
    fewer["variants"]["b"]["seeds"], fewer["variants"]["whole"]["seeds"] = [1, 2], [1, 2, 3]
    (tmp_path / "3" / "comparison.json").write_text(json.dumps(fewer))
    assert [line.count(", worse") for line in recorded(ablations, tmp_path / "3")[-3:]] == [2, 2, 0]
    fewer["variants"]["b"]["seeds"], fewer["variants"]["whole"]["seeds"] = [1, 2, 3], [1]
    (tmp_path / "3" / "comparison.json").write_text(json.dumps(fewer))
    assert [line.count(", worse") for line in recorded(ablations, tmp_path / "3")[-3:]] == [0, 0, 0]


def test_a_comparison_is_of_the_pipeline_with_what_was_set(ablations, monkeypatch, tmp_path):
    def base(name, *overrides, **more):
        page = recorded(ablations, compared(tmp_path / name, *overrides, **more))
        return json.loads((ablations.RECORDS / "small.json").read_text())["base"], page

    told = ["data.seen=keep", 'model.behavior=["attention", "lstm"]', "model.dim=64", "training.patience=2"]
    found, page = base("all", *reversed(told), "data.root=/elsewhere")
    assert found == told
    assert page[2].startswith("Base: the pipeline with `data.seen=keep`, `model.behavior=[") and "2`. Seeds" in page[2]
    assert page[5] == (
        '        --out runs/small_ablations --set data.seen=keep --set \'model.behavior=["attention", "lstm"]\' '
        "--set model.dim=64 --set training.patience=2"
    )
    monkeypatch.setenv("TFREC_DATA", "/other")
    told = ["model.dim=64", "model.dropout=0.5"]  # Of which the base, b, has another dropout.
    assert base("changed", *told, reference="b")[0] == told
    (tmp_path / "changed" / "variants" / "c.yaml").unlink()
    ended = CliRunner().invoke(ablations.main, [*RECORD, str(tmp_path / "changed")])
    assert ended.exit_code == 1 and "cannot be told: no pipeline file" in ended.output


def test_the_objective_of_tfrs_lets_what_was_had_compete(ablations, experiments, tmp_path):
    pipeline = config.parse(PIPELINE.format(seed=1, length=50), ["training.objective=retrieval"])
    assert experiments.kept(pipeline)[experiments.UNSEEN] is False
    folder = compared(tmp_path / "out")
    found = json.loads((folder / "comparison.json").read_text())
    found["variants"]["a"]["changes"] = {"training.objective.name": "retrieval"}
    (folder / "comparison.json").write_text(json.dumps(found))
    (folder / "variants" / "a.yaml").write_text(config.dump(pipeline))
    row = next(line for line in recorded(ablations, folder) if "retrieval" in line)
    assert row.startswith("| `training.objective.name=retrieval`<br>`training.objective.unseen=false` |")


def test_what_no_variant_reads_was_not_set(ablations, tmp_path):
    compared(tmp_path / "out", "model.lstm.layers=3", "model.convolution.blocks=9", "model.convolution.kernel=5")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert ablations.overrides("small", tmp_path / "out", found) == ["model.convolution.kernel=5"]
