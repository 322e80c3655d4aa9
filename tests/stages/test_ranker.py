"""A pipeline with the section `ranking`, from tables to figures; what it cannot do is one line."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import build, cli, config, stages
from tfrec.data import EventColumns, Label, PrepareOptions, prepare
from tfrec.evaluation import Predictions
from tfrec.serving import manifest
from tfrec.stages import fit
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.train import open_ranker

RANKING = """\
name: clicks
seed: 3
data:
  root: {folder}
  events:
    path: events.csv
    columns: {{user_id: who, item_id: what, timestamp: at, event_type: kind}}
    context: [slot, stars]
    labels: {{like: {{column: stars, at_least: 4}}, stars: {{column: stars, range: [1, 5]}}}}
  items: {{path: items.csv, item_id: sku, text: [name], categorical: [family]}}
  split: {{kind: time, validation_from: "60%", test_from: "80%"}}
  max_length: 6
  shards: 2
model: {{dim: 8, text: none, behavior: [lstm]}}
ranking: {{context: [slot], neutral: [slot]}}
training: {{epochs: 3, patience: null, tokens_per_batch: 128, schedule: constant, warmup_steps: 4, learning_rate: 0.02}}
export: {{base_path: {folder}/saved_models}}
"""


def write(folder, **columns):
    """Tables and pipeline; returns the pipeline's file."""
    folder.mkdir(parents=True, exist_ok=True)
    events = tiny_shop.events()
    rng = np.random.default_rng(2)
    users, items = events.who.astype(int), events.what.astype(int)
    stars = 1 + ((users % 2 == items % 2) * 3 + rng.integers(0, 2, len(events)))
    events = events.assign(stars=stars, slot=rng.choice(["top", "side"], len(events))).assign(**columns)
    events.to_csv(folder / "events.csv", index=False)
    tiny_shop.items().to_csv(folder / "items.csv", index=False)
    (folder / "p.yaml").write_text(RANKING.format(folder=folder), encoding="utf-8")
    return folder / "p.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranker")
    return stages.run(config.load(write(folder)), folder / "run")


@pytest.mark.slow
def test_a_run_leaves_figures_that_its_predictions_give(finished):
    document = json.loads((finished / "metrics.json").read_text("utf-8"))
    table = pd.read_parquet(finished / "predictions_test.parquet")
    like = Predictions(
        table.user_id.to_numpy(), table.like.to_numpy(), table.predicted_like.to_numpy(), True,
        document["thresholds"]["like"],
    ).figures()  # fmt: skip
    stars = Predictions(
        table.user_id.to_numpy(), table.stars.to_numpy(), table.predicted_stars.to_numpy(), False
    ).figures()
    assert set(document) >= {"validation", "test", "baselines", "slices", "timing", "peak_memory_mb", "environment"}
    for name, value in {
        **{f"like_{n}": v for n, v in like.items()},
        **{f"stars_{n}": v for n, v in stars.items()},
    }.items():
        assert document["test"][name] == pytest.approx(value), name
    assert set(document["baselines"]) == {"mean", "item_mean", "item_and_user_mean"}
    assert document["baselines"]["mean"]["like_auc"] == 0.5
    slices = {name: part["like_events"] for name, part in document["slices"].items()}
    assert document["test"]["like_events"] == len(table) == slices["new_users"] + slices["known_users"]
    assert "new_items" not in slices or slices["new_items"] + slices["known_items"] == len(table)
    bare = document["variants"]["history alone"]
    assert bare["like_events"] == len(table) and bare["like_log_loss"] != document["test"]["like_log_loss"]
    served = document["variants"]["as served"]
    losses = {row["like_log_loss"] for row in (served, bare, document["test"])}
    assert served["like_events"] == len(table) and len(losses) == 3
    assert table.predicted_stars.between(1, 5).all() and (table.like == (table.stars >= 4)).all()
    log = pd.read_csv(finished.parent / "events.csv", dtype=str)
    cut = np.sort(log["at"].astype(int))[int(np.ceil(0.8 * len(log)))]
    assert abs(len(table) - (log["at"].astype(int) >= cut).sum()) <= 1


@pytest.mark.slow
def test_the_report_shows_tables_pictures_and_the_command(finished):
    text = (finished / "report.md").read_text("utf-8")
    for part in ("## like: results on the test split", "## stars: results", "AUC (0-1)", "RMSE (points)", "new users",
                 "![like: how often", "plots/reliability_like.png", "tfrec run"):  # fmt: skip
        assert part in text, part
    assert (finished / "plots" / "reliability_like.png").stat().st_size > 5000
    assert (finished / "plots" / "training.png").stat().st_size > 5000


@pytest.mark.slow
def test_the_command_prints_each_label_and_a_second_run_does_nothing(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert cli.main(["run", str(finished.parent / "p.yaml"), "--out", str(finished)]) == 0
    told = capsys.readouterr().out
    assert "test split, like" in told and "test split, stars" in told and "item_and_user_mean" in told
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_run_ends_with_a_published_version_that_predicts_what_was_measured(finished, capsys):
    published = finished.parent / "saved_models" / "clicks"
    told = manifest.read(published / "1")
    assert [(each["label"], each["is"]) for each in told["labels"]] == [("like", "probability"), ("stars", "rating")]
    assert told["gate"]["real"] > 0 and told["validation"]["like_log_loss"] > 0
    assert set(told["inputs"].values()) == {"event_type", "timestamp", "slot", "stars"}
    words = ["recommend", str(published), "--history", "001,002", "--candidates", "003,004,nothing", "--json"]
    assert cli.main(words) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert {row["item_id"]: row["title"] for row in rows} == {"003": "跑步鞋", "004": "🎁 box", "nothing": ""}
    run = Run(config.load(finished.parent / "p.yaml"), finished)
    ids = open_dataset(run).items.item_id.tolist()
    asked = {"history": ["001", "002"], "candidates": ["003", "004", ""]}
    found = open_ranker(run).predictions({name: np.array([[*map(ids.index, one)]]) for name, one in asked.items()})
    for row, label in ((row, label) for row in rows for label in ("like", "stars")):
        place = ["003", "004", "nothing"].index(row["item_id"])
        assert row[f"predicted_{label}"] == pytest.approx(float(found[label][0, place]), abs=1e-5)


@pytest.mark.slow
def test_a_training_that_goes_on_ends_where_an_undisturbed_one_does(finished, tmp_path):
    for epochs in (1, 3):
        pipeline = config.load(finished.parent / "p.yaml", [f"training.epochs={epochs}"])
        for stage in ("prepare", "train"):
            stages.run(pipeline, tmp_path / "run", only=stage)
    ours, theirs = (
        json.loads((run / "stages.json").read_text("utf-8"))["train"]["history"] for run in (finished, tmp_path / "run")
    )
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert {name: value for name, value in one.items() if "second" not in name} == pytest.approx(
            {name: value for name, value in other.items() if "second" not in name}, rel=1e-5
        )


@pytest.mark.slow
def test_a_split_by_events_trains_and_measures(tmp_path):
    pipeline = config.load(write(tmp_path / "shop"), ["data.split=folds_events", "training.epochs=1"])
    for stage in ("prepare", "train", "evaluate"):
        run = stages.run(pipeline, tmp_path / "run", only=stage)
    document = json.loads((run / "metrics.json").read_text("utf-8"))
    assert document["test"]["like_events"] > 20 and 0 < document["test"]["stars_rmse"] < 4


@pytest.mark.long
def test_collaborative_filtering_alone_trains_is_measured_and_goes_on(tmp_path):
    overrides = ["data.split=folds_events", "ranking.interactions=[factors,neighbourhood]", "ranking.context=[]",
                 "ranking.neutral=[]", "ranking.factors={rank: 2, samples: 4, burn_in: 4}"]  # fmt: skip
    for epochs in (1, 2):
        pipeline = config.load(write(tmp_path / "shop"), [*overrides, f"training.epochs={epochs}"])
        run = stages.run(pipeline, tmp_path / "run")
    document = json.loads((run / "metrics.json").read_text("utf-8"))
    assert document["test"]["stars_rmse"] < document["baselines"]["mean"]["stars_rmse"]
    assert json.loads((run / "stages.json").read_text("utf-8"))["train"]["epochs"] == 2


def refused(folder, capsys, *overrides, **columns):
    """The one line that a mistake ends in."""
    logging.getLogger("tfrec").setLevel(logging.WARNING)
    path = write(folder, **columns)
    words = [part for each in overrides for part in ("--set", each)]
    assert cli.main(["run", str(path), "--out", str(folder / "run"), *words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("tfrec: error: ") and not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"stars": 5}, "label 'like' is 1 for all"),
        ({"stars": 2}, "label 'like' is 0 for all"),
        ({"stars": 6}, "values lie outside the range 1 to 5 of the label 'stars', first in row 1"),
        ({"stars": "good"}, "values are not numbers, first in row 1 (the header not counted): 'good'"),
        ({"stars": None}, "no event with a label for validation of 60 users and 473 events, 0 of them with a label"),
        (
            {"stars": lambda log: log.stars.where(log["at"].astype(int).rank(pct=True) > 0.7)},
            "is known of no event in training",
        ),
    ],
)
def test_a_log_that_teaches_nothing_is_refused(columns, words, tmp_path, capsys):
    assert words in refused(tmp_path / "shop", capsys, **columns)


def of_two_labels(stars=(), liked=None):
    """A log of two labels by time, in ten parts: `stars` is unknown in some of them, `like` the same in another."""
    turns = np.repeat(np.arange(10), 20)
    log = pd.DataFrame({"user_id": np.arange(200) % 17, "item_id": np.arange(200) % 7, "timestamp": np.arange(200)})
    log["stars"] = np.where(np.isin(turns, stars), np.nan, 1 + np.arange(200) % 5)
    log["liked"] = np.where(turns == liked, 0, np.arange(200) % 2)
    labels = {"like": Label("liked"), "stars": Label("stars", range=(1, 5))}
    columns = EventColumns(timestamp="timestamp", labels=labels)
    return prepare(log, options=PrepareOptions(events=columns, split="time", validation_from=160, test_from=180))


@pytest.mark.parametrize(
    ("log", "ranking", "words"),
    [
        ({"stars": [8]}, {}, "The label 'stars' is known of no event of validation, and cannot be measured there"),
        ({"stars": [9]}, {}, "The label 'stars' is known of no event of test, and .* leave the label out of ranking"),
        ({"stars": [9]}, {"labels": ["stars"]}, "The label 'stars' is known of no event of test"),
        ({"liked": 8}, {"monitor": "auc"}, "ranking.monitor is auc, and the label 'like' is 0 for all 20 events of"),
    ],
)
def test_a_label_that_cannot_be_measured_is_named(log, ranking, words):
    with pytest.raises(ValueError, match=words):
        build.check_labels(of_two_labels(**log), config.Ranking(**ranking))


def test_labels_that_can_be_measured_pass():
    build.check_labels(of_two_labels(stars=[8, 9]), config.Ranking(labels=["like"], monitor="auc"))
    build.check_labels(of_two_labels(liked=9), config.Ranking(monitor="auc"))
    build.check_labels(of_two_labels(liked=8), config.Ranking())


def test_a_label_that_the_test_lacks_is_refused_before_anything_trains(tmp_path, capsys):
    early = {"liked": lambda log: (log.stars > 3).astype(int),
             "stars": lambda log: log.stars.where(log["at"].astype(int).rank(pct=True) < 0.75)}  # fmt: skip
    labels = "data.events.labels={like: {column: liked}, stars: {column: stars, range: [1, 5]}}"
    line = refused(tmp_path / "shop", capsys, labels, **early)
    assert "The label 'stars' is known of no event of test" in line
    assert not (tmp_path / "shop" / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.events.labels={}", "ranking predicts data.events.labels, and none is named"),
        ("data.events.labels={like: {column: hearts}}", "hearts"),
        ("ranking.labels=[buy]", "ranking names the label buy; data.events.labels has like, stars"),
        ("ranking.context=[stars]", "ranking.context names stars, the column of a label, which tells the answer"),
        ("ranking.context=[page]", "ranking.context names page, which is not in data.events.context"),
        ("ranking.interactions=[target_attention]", "interactions needs mlp or cross"),
        ("ranking.interactions=[target_attention, factors]", "interactions needs mlp or cross beside target_attention"),
        ("ranking={interactions: [factors], context: [slot]}", "context that is not neutral is read by mlp and cross"),
        ("ranking.factors={rank: 0}", "ranking.factors.rank"),
        ("ranking.monitor=rmse", "ranking.monitor is rmse, which is not measured of the first label"),
        ("ranking.heads=3", "model.dim is 8 and ranking.heads 3: heads must divide dim"),
        ("evaluation.disturbed={}", "evaluation.disturbed is for rankings"),
        ("export.index=ivf", "export.index is ivf, and a ranker judges every candidate"),
        ("data.events.labels={a like: {column: stars, at_least: 4}}", "String should match pattern"),
        ("data.split={kind: folds_users, folds: 1000}", "split.folds is 1000, and there are 60 users"),
        ("data.split={kind: folds_users, fold: 5}", "fold is 5, and with 5 folds it goes from 0 to 4"),
        ("data.split={kind: folds_users, test_from: 80%}", "kind: folds_users takes no test_from"),
    ],
)
def test_settings_that_do_not_fit_are_refused(override, words, tmp_path, capsys):
    plain = ["ranking.context=[]", "ranking.neutral=[]"]
    line = refused(tmp_path / "shop", capsys, *plain, override)
    assert words in line


def test_a_label_of_the_past_that_is_no_input_is_refused(tmp_path, capsys):
    overrides = ["ranking.interactions=[factors]", "ranking.context=[]", "ranking.neutral=[]"]
    line = refused(tmp_path / "shop", capsys, "data.events.context=[slot]", *overrides)
    assert "ranking.interactions names factors, which reads the label like of past events, and its column stars" in line


def test_another_catalogue_is_for_models_that_recommend(tmp_path, capsys):
    path, items = write(tmp_path / "shop"), str(tmp_path / "shop" / "items.csv")
    assert cli.main(["export", str(path), "--out", str(tmp_path / "run"), "--items", items]) == 1
    assert "a ranker judges the items of its data set" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_next_items_of_a_labelled_log_in_which_nothing_is_new_are_refused():
    rows = [(f"u{user}", f"ad{ad}", 10 * turn + ad, turn % 2) for turn in range(8) for ad in range(3) for user in "ab"]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "clicked"])
    columns = EventColumns(timestamp="timestamp", labels={"click": Label("clicked")})
    data = prepare(log, options=PrepareOptions(events=columns, split="time"))
    with pytest.raises(ValueError, match="'time' leaves no next item for validation: with labels, a pipeline predicts"):
        fit._refuse_without_targets(data, data.target_users)
