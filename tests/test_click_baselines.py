"""The baselines beside a ranker know what happened before each event and nothing of its own label."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import script
from tfrec import build, config
from tfrec.data import EventColumns, ItemColumns, Label, PrepareOptions, UserColumns, prepare
from tfrec.evaluation import Predictions, measured

USERS, EVENTS, ITEMS = 60, 12, 20
PARTS = ("", "new users: ", "known users: ")
SETTINGS = """\
name: clicks
data:
  events: {path: e.csv, columns: {timestamp: timestamp}, context: [device], labels: {like: {column: liked}}}
ranking: {context: [device]}
"""


def log():
    """Users like the items of their own kind, and one item in ten events has no label."""
    rng = np.random.default_rng(0)
    what = rng.integers(0, ITEMS, (USERS, EVENTS))
    likes = rng.random((USERS, EVENTS)) < np.where(what % 2 == np.arange(USERS)[:, None] % 2, 0.9, 0.2)
    times = rng.permutation(USERS * EVENTS).reshape(USERS, EVENTS) // 20  # Some share a moment.
    times[-5:] = 30 + times[-5:] // 6  # These come late, and are new to the test.
    liked = np.where(rng.random((USERS, EVENTS)) < 0.1, np.nan, likes)
    return pd.DataFrame(
        {
            "user_id": np.repeat([f"u{user:02d}" for user in range(USERS)], EVENTS),
            "item_id": [f"i{item:02d}" for item in what.ravel()],
            "timestamp": 1_700_000_000 + 3600 * times.ravel(),
            "device": rng.choice(["phone", "desktop"], USERS * EVENTS),
            "liked": liked.ravel(),
        }
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one pipeline, as far as the baselines read them: right and noise."""
    folder = tmp_path_factory.mktemp("clicks")
    items = pd.DataFrame({"item_id": [f"i{item:02d}" for item in range(ITEMS)]})
    items["kinds"] = [["odd tall", "even"][item % 2 == 0] for item in range(ITEMS)]
    users = pd.DataFrame({"user_id": [f"u{user:02d}" for user in range(USERS)], "kind": ["even", "odd"] * (USERS // 2)})
    options = PrepareOptions(
        events=EventColumns(timestamp="timestamp", context=("device",), labels={"like": Label("liked")}),
        items=ItemColumns(categorical={"kinds": " "}), users=UserColumns(categorical=("kind",)),
        split="time", validation_from="60%", test_from="80%",
    )  # fmt: skip
    for name in ("right", "noise"):
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(config.dump(config.parse(SETTINGS)))
    data = prepare(log(), items, users, options=options, folder=folder / "right" / "dataset")
    labelled = build.ranking_data(data, config.Ranking(context=("device",)))
    table = labelled.truth(np.sort(labelled.examples("test").candidates))
    rng = np.random.default_rng(1)
    for name, values in (("right", 0.1 + 0.8 * table.like.fillna(0.5)), ("noise", rng.random(len(table)))):
        table.assign(predicted_like=values).to_parquet(folder / name / "predictions_test.parquet")
    return folder, labelled


@pytest.fixture
def baselines(monkeypatch):
    module = script("click_baselines")
    monkeypatch.setattr(module, "STRENGTHS", (0.01, 1.0))
    monkeypatch.setattr(module, "BOOSTING", [{"learning_rate": 0.1, "max_leaf_nodes": 7}])
    return module


def known(labelled):
    """The labelled events as a frame in the order of the data set, with the part of the split that each is of."""
    sequences = labelled.data.sequences
    frame = pd.DataFrame({"user": sequences.owners, "item": sequences.rows, "like": sequences.labels["like"]})
    frame = frame.assign(time=sequences.events["timestamp"])
    odd = np.array([int(item_id[1:] or 0) % 2 for item_id in labelled.data.items.item_id])[sequences.rows]
    return frame.assign(odd=odd, train=sequences.places < sequences.train_end[sequences.owners])


def test_features_know_what_was_before_and_not_the_label_itself(runs, baselines):
    labelled, frame = runs[1], known(runs[1])
    training = frame[frame.train & frame.like.notna()]
    mean = training.like.mean()
    for part in ("train", "test"):
        table = baselines._table(labelled, "like", part)
        events = training.index if part == "train" else np.sort(labelled.examples("test").candidates)
        events = [event for event in events if not np.isnan(frame.like[event])]
        assert len(table) == len(events) > 50
        for place in range(0, len(events), 7):
            event, row = events[place], table.iloc[place]
            others = training[(training.item == frame.item[event]) & (training.index != event)].like
            before = frame[(frame.user == frame.user[event]) & (frame.time < frame.time[event])]
            gap = frame.time[event] - before.time.max() if len(before) else 0
            before = before[before.like.notna()]
            assert row["gap"] == pytest.approx(np.log1p(gap))
            assert row["label"] == frame.like[event]
            assert row["item_events"] == pytest.approx(np.log1p(len(others)))
            assert row["item_mean"] == pytest.approx((others.sum() + 10 * mean) / (len(others) + 10))
            assert row["user_events"] == pytest.approx(np.log1p(len(before)))
            assert row["user_mean"] == pytest.approx((before.like.sum() + 10 * mean) / (len(before) + 10))
            alike = (before.odd == frame.odd[event]).sum()
            shared = alike * (1 + frame.odd[event])  # Odd items have two kinds, and share both.
            assert row["user_events_of_categories"] == pytest.approx(np.log1p(shared))


def test_it_prints_the_baselines_beside_the_runs_and_how_they_differ(runs, baselines):
    folder, labelled = runs
    found = CliRunner().invoke(baselines.main, [str(folder / "right"), str(folder / "noise")], catch_exceptions=False)
    assert found.exit_code == 0
    lines = found.output.splitlines()
    for name in ("logistic regression", "gradient boosting"):
        assert [line for line in lines if line.startswith(f"{name}: validation log loss")]
        assert [line for line in lines if line.startswith(f"runs against {name}, log_loss")]
    table = pd.read_parquet(folder / "noise" / "predictions_test.parquet").dropna()
    figures = measured(
        Predictions(table.user_id.to_numpy(), table.like.to_numpy(), table.predicted_like.to_numpy(), True)
    )
    (line,) = [line for line in lines if line.startswith(str(folder / "noise"))]
    assert f'"auc": {figures["auc"]:.4f}'.rstrip("0") in line
    told = dict(line.split(" {") for line in lines if line.endswith("}"))
    events = {part: json.loads("{" + told[f"{part}mean of the runs"])["events"] for part in PARTS}
    assert events["new users: "] + events["known users: "] == events[""] == len(table) and min(events.values()) > 20
    for part in ("new users: ", "known users: "):
        assert [line for line in lines if line.startswith(f"{part}runs against logistic regression, user_auc: ")]
    (regression,) = [line for line in lines if line.startswith("logistic regression {")]
    assert float(regression.partition('"auc": ')[2].partition(",")[0]) > 0.7  # It learns what there is to learn.


def test_runs_of_other_events_are_refused(runs, baselines, tmp_path):
    folder, _ = runs
    table = pd.read_parquet(folder / "noise" / "predictions_test.parquet")
    table.assign(like=1 - table.like).to_parquet(tmp_path / "predictions_test.parquet")
    found = CliRunner().invoke(baselines.main, [str(folder / "right"), str(tmp_path)])
    assert found.exit_code == 1 and "predicts other events than the first run" in found.output
