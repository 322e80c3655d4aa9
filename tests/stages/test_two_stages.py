"""A pipeline with two stages, from tables to figures; a change repeats what depends on it; mistakes are one line."""

import json
import logging

import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import build, cli, config, evaluation, stages
from tfrec.config import stage_settings
from tfrec.data import Dataset
from tfrec.ranking import load_two_stage
from tfrec.serving import gate, manifest

RANKING = "ranking: {recall: 20, rank: 5, interactions: [mlp], learning: {epochs: 2}}\n"


def write(folder, ranking=RANKING):
    path = tiny_shop.write(folder, name="two", epochs=2)
    text = path.read_text("utf-8").replace("behavior: [attention, lstm]", "behavior: [lstm]")
    path.write_text(text.replace("evaluation:", ranking + "evaluation:"), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def ungated():
    """Versions are published unasked: the tests of serving ask them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "verify", lambda folder: {"asked_in": []})
        patch.setattr(gate, "compare", lambda new, old, limits: {})
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return stages.run(config.load(write(folder)), folder / "run")


def document(run):
    return json.loads((run / "metrics.json").read_text("utf-8"))


@pytest.mark.slow
def test_both_stages_stand_beside_recall_alone(finished):
    told, data = document(finished), Dataset.open(finished / "dataset")
    table = pd.read_parquet(finished / "recommendations_test.parquet")
    items = data.items.assign(candidate=data.candidates("test"))
    found = evaluation.evaluate(table, data.truth("test"), items, history=data.history("test"), cutoffs=[10])
    assert told["test"]["ndcg@10"] == pytest.approx(found.metrics["ndcg@10"])
    both, gap = told["two_stages"], told["two_stages"]["against_recall_alone"]["test"]["ndcg@10"]
    assert next(iter(told["baselines"])) == "recall_alone" and "popularity" in told["baselines"]
    assert gap["two_stages"] == pytest.approx(told["test"]["ndcg@10"])
    assert gap["recall_alone"] == pytest.approx(told["baselines"]["recall_alone"]["ndcg@10"])
    assert gap["difference"] == pytest.approx(gap["two_stages"] - gap["recall_alone"])
    assert gap["low"] <= gap["difference"] <= gap["high"]
    assert max(told["test"]["hr@10"], told["baselines"]["recall_alone"]["hr@10"]) <= both["recall@20"] < 1
    users = told["validation"]["users"]
    assert users == 12 and users + round(0.8 * 59) == 59  # Those whose events the second stage learns choose nothing.
    assert {"rank_seconds", "train_seconds"} <= set(told["timing"])
    report = (finished / "report.md").read_text("utf-8")
    for part in ("## Two stages", "| recall alone | both stages |", "recall_alone", "recalls 20 items, which hold"):
        assert part in report, part
    model = load_two_stage(finished / "ranking" / "model.keras")
    assert (model.recall, model.rank, len(model.candidates)) == (20, 5, 30)
    assert model.evidence.dim == model.item_tower.dim  # Nearness leaves a bonus out.


@pytest.mark.slow
def test_a_run_ends_with_both_stages_published_as_one_model(finished, capsys):
    published = finished.parent / "saved_models" / "two"
    told = manifest.read(published / "1")
    assert told["answer_size"] == 5 and told["score"]["recall"] == 20
    assert cli.main(["recommend", str(published), "--history", "003,004", "--k", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["recommendations"]
    assert len(rows) == 5 and not {"003", "004"} & {row["item_id"] for row in rows}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("export.quantization=int8", "export.quantization is int8, and the second stage reads the scores of float32"),
        ("export.index=ivf", "export.index is ivf, and a ranker judges every candidate"),
    ],
)
def test_exports_that_would_change_the_first_scores_are_refused(override, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        config.load(write(tmp_path / "shop"), [override])


def stamps(run):
    files = {"train": "checkpoints/model.keras", "rank": "ranking/model.keras", "evaluate": "metrics.json"}
    return {stage: (run / name).stat().st_mtime_ns for stage, name in files.items()}


def repeated(run, *overrides, only=None):
    """The stages that a run under changed settings repeats."""
    before = stamps(run)
    stages.run(config.load(run.parent / "two.yaml", overrides), run, only=only)
    return [stage for stage, stamp in stamps(run).items() if stamp != before[stage]]


OTHERWISE = ("ranking.learning.events=training", "ranking.learning.loss=binary", "ranking.negatives.mined=0.5")


@pytest.mark.long
def test_a_change_repeats_what_depends_on_it_and_no_more(finished):
    diversity = "{trade_off: 0.2, category: family, most: 2, curve: [0, 1]}"
    assert repeated(finished) == []
    assert repeated(finished, f"ranking.diversity={diversity}", "evaluation.disturbed={}") == ["evaluate"]
    points = document(finished)["two_stages"]["diversity"]
    told = document(finished)
    assert told["validation_variants"]["histories disturbed"]["users"] == told["validation"]["users"] == 12
    assert [point["trade_off"] for point in points] == [0.0, 0.2, 1.0]
    assert points[0]["diversity@10"] < points[2]["diversity@10"]
    report = (finished / "report.md").read_text("utf-8")
    assert "## What diversity costs" in report and "plots/diversity.png" in report
    assert (finished / "plots" / "diversity.png").stat().st_size > 5000
    assert repeated(finished, *OTHERWISE, only="rank") == ["rank"]


@pytest.mark.slow
def test_a_lost_model_comes_back_from_the_checkpoint_without_training(finished):
    repeated(finished, *OTHERWISE, only="rank")
    path, last = finished / "ranking" / "model.keras", finished / "ranking" / "last.npz"
    before, stamp = load_two_stage(path).get_weights(), last.stat().st_mtime_ns
    path.write_bytes(b"torn")
    assert repeated(finished, *OTHERWISE, only="rank") == ["rank"] and last.stat().st_mtime_ns == stamp
    assert all((one == other).all() for one, other in zip(before, load_two_stage(path).get_weights(), strict=True))


def test_settings_of_the_second_stage_are_no_part_of_other_stages():
    text = "name: x\ndata: {simulated: {}}\n"
    plain, two = config.parse(text), config.parse(text + "ranking: {recall: 50}\n")
    for stage in ("prepare", "train"):
        assert stage_settings(plain, stage) == stage_settings(two, stage)
    assert "ranking" not in stage_settings(plain, "evaluate") and "ranking" not in stage_settings(plain, "export")
    other = config.parse(text + "ranking: {recall: 50, rank: 9, diversity: {}}\n")
    assert stage_settings(two, "rank") == stage_settings(other, "rank")
    for stage in ("evaluate", "export"):
        assert stage_settings(two, stage) != stage_settings(other, stage)
    more = config.parse(text + "ranking: {recall: 60}\n")
    assert stage_settings(two, "rank") != stage_settings(more, "rank")
    learning = stage_settings(two, "rank")["ranking"]["learning"]
    assert not {"warmup_steps", "schedule", "accumulate", "clip_norm"} & set(learning)  # They came later.
    slow = config.parse(text + "ranking: {recall: 50, learning: {warmup_steps: 10, accumulate: 2}}\n")
    learning = stage_settings(slow, "rank")["ranking"]["learning"]
    assert (learning["warmup_steps"], learning["accumulate"], "schedule" in learning) == (10, 2, False)


LABELS = (
    "data.events={path: events.csv, columns: {user_id: who, item_id: what, timestamp: at}, labels: {up: {column: at}}}"
)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["ranking.recall=4"], "recall is 4, less than rank, which is 5: nothing is left to rank"),
        (["ranking.recall=null"], "rank is of a second stage, and needs recall, such as recall: 200"),
        (["ranking.weights=learnt"], "weights is of labels, and with recall the next item is predicted"),
        ([LABELS], "ranking.recall is 20, for a second stage .* data.events.labels names up.*: leave one"),
        (["ranking.diversity={category: colour}"], "category is colour, and data.items.categorical has family"),
        (["evaluation.cutoffs=[50]", "evaluation.depth=50"], "recall is 20, and evaluation.cutoffs has none up"),
        (["ranking.diversity={most: 2}"], "most caps the values of a category, and none is named"),
        (["ranking.diversity={trade_off: 2}"], "ranking.diversity.trade_off is 2"),
        (["data.split=folds_events"], "ranking.recall needs validation events that come after training"),
        (["ranking.interactions=[target_attention, mlp]", "ranking.heads=3"], "model.dim is 8 and ranking.heads 3"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_together_are_named(tmp_path, overrides, told):
    with pytest.raises(ValueError, match=told):
        config.load(write(tmp_path), overrides)


def refusal(capsys, folder, *options):
    assert cli.main(["run", str(folder / "two.yaml"), "--out", str(folder / "run"), *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("tfrec: error: ") and not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.delenv("TFREC_DEBUG", raising=False)
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setattr(logging.getLogger("tfrec"), "level", logging.getLogger("tfrec").level)


def test_a_stage_that_there_is_not_and_a_log_of_one_item_are_one_line(tmp_path, capsys, quiet):
    write(tmp_path, "")
    assert cli.main(["rank", str(tmp_path / "two.yaml"), "--out", str(tmp_path / "run")]) == 1
    assert "ranking.recall is not set" in capsys.readouterr().err.splitlines()[-1]
    write(tmp_path)
    tiny_shop.events().assign(what="007").to_csv(tmp_path / "events.csv", index=False)
    told = refusal(capsys, tmp_path, "--set", "data.seen=keep")
    assert "the catalogue has 1 item: there is nothing to order. Leave `ranking` out" in told
    assert not (tmp_path / "run" / "checkpoints").exists()  # It is said before anything trains.


def test_users_whose_events_train_choose_no_epoch(tmp_path):
    pipeline = config.load(write(tmp_path))
    data = build.dataset(pipeline.data, tmp_path / "dataset")
    held_out = build.positions(data, pipeline.ranking)
    assert (len(held_out.members), len(held_out.held_back)) == (47, 12)
    assert not set(held_out.members) & set(held_out.held_back) and held_out.train is held_out.validation
    assert set(build.positions(data, pipeline.ranking, 1).held_back) != set(held_out.held_back)
    learning = pipeline.ranking.learning.model_copy(update={"events": "training", "per_user": 2})
    trained = build.positions(data, pipeline.ranking.model_copy(update={"learning": learning}))
    assert len(trained.members) == 59 * 2 and len(trained.held_back) == 59
    ids = data.items["item_id"].to_numpy()
    own = trained.train.relevant
    last = [ids[row] for user, row in zip(own.user_ids, own.rows, strict=True) if user == "000"]
    assert last == tiny_shop.events().query("who == '000'")["what"].tolist()[4:6]  # Before validation and test.
