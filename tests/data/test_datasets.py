"""Truth and histories against a slow loop and, where it is there, the independent scorer."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.conftest import random_log
from tfrec.data import EventColumns, PrepareOptions, prepare
from tfrec.features import EVENTS_SCORED

SHARED = Path(__file__).resolve().parents[3] / "shared"
SCORER = SHARED / "tools" / "score.py"


def slow_parts(log, options):
    """{split: {user: (history, relevant)}} by the rules, one user at a time."""
    result = {"validation": {}, "test": {}}
    predicted = set(options.target_events) or set(log.event_type)
    for user in sorted(log.user_id.unique()):
        mine = sorted(log[log.user_id == user].itertuples(), key=lambda event: event.timestamp)
        if options.split == "time":
            for split, low, high in (("validation", 1_000_200, 1_000_300), ("test", 1_000_300, 2_000_000)):
                history = [event.item_id for event in mine if event.timestamp < low]
                later = [e.item_id for e in mine if low <= e.timestamp < high and e.event_type in predicted]
                relevant = [item for item in dict.fromkeys(later) if item not in history]
                if relevant:
                    result[split][user] = (history, relevant)
            continue
        targets = [place for place, event in enumerate(mine) if event.event_type in predicted]
        for split, back in (("test", 1), ("validation", 2)):
            if len(targets) >= back:
                place = targets[-back]
                result[split][user] = ([event.item_id for event in mine[:place]], [mine[place].item_id])
    return result


TIME = {"split": "time", "validation_from": 1_000_200, "test_from": 1_000_300}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "options", [{}, TIME, {"target_events": ("purchase",)}, {**TIME, "target_events": ("cart", "purchase")}]
)
def test_truth_and_histories_are_those_of_a_slow_loop(seed, options):
    log = random_log(seed)
    options = PrepareOptions(**options)
    dataset = prepare(log, options=options)
    for split, expected in slow_parts(log, options).items():
        truth, history, lists = dataset.truth(split), dataset.history(split), dataset.histories(split)
        found = {user: ([], list(items)) for user, items in truth.groupby("user_id").item_id}
        for user, items in history.groupby("user_id").item_id:
            found[user] = (list(items), found[user][1])
        assert found == expected
        assert dict(zip(lists.user_ids, lists.lengths, strict=True)) == {u: len(h) for u, (h, _) in expected.items()}


def test_training_ends_where_validation_begins(log):
    dataset = prepare(log, options=PrepareOptions(**TIME))
    lists = dataset.training_sequences()
    ids = dataset.items.item_id.to_numpy(dtype=object)
    early = log[log.timestamp < 1_000_200].sort_values(["user_id", "timestamp"], kind="stable")
    assert ids[lists.rows].tolist() == early.item_id.tolist()
    assert np.repeat(lists.user_ids, lists.lengths).tolist() == early.user_id.tolist()


def test_users_without_a_history_are_tested(log):
    for options in (PrepareOptions(), PrepareOptions(**TIME)):
        assert (prepare(log, options=options).histories("test").lengths == 0).any()


def test_shards_do_not_change_what_is_read(log):
    one, many = (prepare(log, options=PrepareOptions(shards=shards)) for shards in (1, 7))
    pd.testing.assert_frame_equal(one.history("test"), many.history("test"))
    for a, b in zip(one.train(64).as_numpy_iterator(), many.train(64).as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(a["target"], b["target"])


def test_batches_and_truth_say_the_same(log):
    dataset = prepare(log, options=PrepareOptions(**TIME, max_length=8))
    ids = dataset.items.item_id.to_numpy(dtype=object)
    for split in ("validation", "test"):
        truth, history = dataset.truth(split), dataset.history(split)
        users = 0
        for batch in getattr(dataset, split)(16).as_numpy_iterator():
            for place, user in enumerate(batch["user_id"]):
                rows = {name: batch[name][place][batch[name][place] > 0] for name in ("history", "seen", "relevant")}
                past = history.item_id[history.user_id == user.decode()].tolist()
                assert ids[rows["history"]].tolist() == past[-8:]
                assert ids[rows["seen"]].tolist() == sorted(set(past))
                assert ids[rows["relevant"]].tolist() == truth.item_id[truth.user_id == user.decode()].tolist()
                users += 1
        assert users == truth.user_id.nunique() == dataset.manifest["counts"][f"{split}_users"]


def test_an_unknown_part_is_refused(tiny):
    with pytest.raises(ValueError, match="split must be 'validation' or 'test'; got 'train'"):
        prepare(tiny).truth("train")


def test_every_user_trains_once_an_epoch(log):
    dataset = prepare(log, options=PrepareOptions(max_length=500))
    targets = np.concatenate([batch["target"][batch["target"] > 0] for batch in dataset.train(256).as_numpy_iterator()])
    np.testing.assert_array_equal(np.sort(targets), np.sort(dataset.training_sequences().rows))


def scorer():
    if not SCORER.exists():
        pytest.skip(f"the independent scorer is not at {SCORER}")
    spec = importlib.util.spec_from_file_location("score", SCORER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pairs(frame):
    return sorted(zip(frame.user_id, frame.item_id, strict=True))


@pytest.mark.parametrize(
    "options", [{}, TIME, {"target_events": ("purchase",)}, {**TIME, "target_events": ("purchase",)}]
)
def test_the_scorer_reads_the_same_truth_from_the_written_events(log, options):
    score = scorer()
    dataset = prepare(log, options=PrepareOptions(**options, min_user_events=2))
    for split in ("validation", "test") if not options.get("target_events") else ("test",):
        cut = dataset.manifest["split"].get(f"{split}_from")
        events = score.read_table(dataset.folder / EVENTS_SCORED)
        if cut is not None and split == "validation":
            events = events[pd.to_numeric(events.timestamp) < dataset.manifest["split"]["test_from"]].copy()
        history, relevant = score.truth(events, split, cut)
        assert pairs(relevant) == pairs(dataset.truth(split))
        assert pairs(history[history.user_id.isin(relevant.user_id)]) == pairs(dataset.history(split))


def popular(dataset, depth=20):
    """The most frequent training items that a user has not had, as a table of recommendations."""
    items = dataset.items[dataset.items.candidate].sort_values("count", ascending=False, kind="stable").item_id
    seen = dataset.history("test").groupby("user_id").item_id.agg(set)
    rows = [
        (user, item, rank)
        for user in dataset.histories("test").user_ids
        for rank, item in enumerate([item for item in items if item not in seen.get(user, ())][:depth], 1)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])


@pytest.mark.parametrize(("options", "users"), [({}, 943), ({"split": "time"}, 166)])
def test_popularity_on_movielens_breaks_no_rule_of_the_scorer(tmp_path, options, users):
    events = SHARED / "data" / "ml-100k" / "events.csv.gz"
    if not SCORER.exists() or not events.exists():
        pytest.skip(f"no {SCORER} or no {events}")
    dataset = prepare(events, options=PrepareOptions(events=EventColumns(timestamp="timestamp"), **options))
    recommendations = popular(dataset)
    recommendations.to_parquet(tmp_path / "recs.parquet")
    cut = dataset.manifest["split"].get("test_from")
    command = [
        sys.executable,
        str(SCORER),
        "--events",
        str(dataset.folder / EVENTS_SCORED),
        "--recs",
        str(tmp_path / "recs.parquet"),
    ]
    done = subprocess.run(
        [*command, *(["--cut", str(cut)] if cut else [])], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    top = recommendations[recommendations["rank"] <= 10].merge(dataset.truth("test"))
    assert done.returncode == 0 and report["rules_broken"] == [] and report["all"]["users"] == users
    assert report["all"]["hr@10"] == pytest.approx(top.user_id.nunique() / users)


def test_the_public_cold_item_lists_hold_out_what_their_protocol_says():
    folder = SHARED / "data" / "amazon-beauty"
    if not folder.exists():
        pytest.skip(f"no {folder}")
    cold, cold_validation = folder / "cold_items.csv", folder / "cold_items_validation.csv"
    options = PrepareOptions(hold_out_items=cold, hold_out_validation_items=cold_validation, max_length=50)
    dataset = prepare(folder / "events.csv.gz", folder / "items.csv.gz", options=options)
    held_out = dataset.items.set_index("item_id").held_out
    assert (held_out == 1).sum() == 398 and (held_out == 2).sum() == 402
    users = {
        split: dataset.truth(split).item_id.map(held_out).eq(level).sum()
        for split, level in (("test", 1), ("validation", 2))
    }
    assert users == {"test": 1184, "validation": 1076}
    assert not dataset.truth("validation").item_id.map(held_out).eq(1).any()
    assert dataset.train_plan(4096).padding() < 0.1
