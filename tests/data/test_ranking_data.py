"""What a ranker learns from: each labelled event beside its own past, in batches that hold it once."""

import numpy as np
import pandas as pd
import pytest

from tfrec.data import EventColumns, Label, PrepareOptions, RankingData, prepare
from tfrec.features import AFTER, CANDIDATES, HISTORY

LABEL = {"liked": Label("stars", at_least=4)}


def table(users=30, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 30, users)
    stars = rng.integers(1, 6, sizes.sum()).astype(float)
    stars[::7] = np.nan
    return pd.DataFrame(
        {
            "user_id": np.repeat([f"u{n:02d}" for n in range(users)], sizes),
            "item_id": [f"i{item:02d}" for item in rng.integers(0, 25, sizes.sum())],
            "timestamp": rng.permutation(sizes.sum()) + 1,
            "stars": stars,
            "slot": rng.choice(["top", "side"], sizes.sum()),
        }
    )


def labelled(log, context=(), **options):
    columns = EventColumns(timestamp="timestamp", context=("slot",), labels=LABEL)
    return RankingData(prepare(log, options=PrepareOptions(events=columns, **options)), context)


BY_TIME = {"split": "time", "validation_from": "60%", "test_from": "80%"}


def told(data, dataset, log):
    """Of each candidate: user and time, the times of what it is judged by, and its label, from the batches alone."""
    found = []
    for batch in dataset.as_numpy_iterator():
        for row, (asked, after) in enumerate(zip(batch[CANDIDATES], batch[AFTER], strict=True)):
            times = batch["timestamp"][row]
            for place in np.flatnonzero(asked):
                past = times[: after[place]]
                assert (past > 0).all() and (batch[HISTORY][row][: after[place]] > 0).all()
                found.append((asked[place], past.tolist(), batch["label_liked"][row, place]))
    return found


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_candidate_of_a_split_by_time_is_judged_by_all_that_came_before_it(split):
    log = table()
    data = labelled(log, **BY_TIME, max_length=200)
    dataset, events = data.judged(split)
    seconds = data.data.sequences.events["timestamp"]
    found = told(data, dataset, log)
    cuts = data.data.manifest["split"]
    low, high = (cuts["validation_from"], cuts["test_from"]) if split == "validation" else (cuts["test_from"], 10**9)
    wanted = log[(log.timestamp >= low) & (log.timestamp < high) & log.stars.notna()]
    assert len(found) == len(events) == len(wanted) > 20
    users = data.truth(events).user_id.to_numpy()
    for (row, past, label), event, user in zip(found, events, users, strict=True):
        mine = log[log.user_id == user].sort_values("timestamp")
        assert past == mine.timestamp[mine.timestamp < seconds[event]].tolist()
        at = mine[mine.timestamp == seconds[event]].iloc[0]
        assert label == (at.stars >= 4) and data.data.items.item_id[row] == at.item_id


def test_a_long_history_is_cut_to_its_newest_events():
    data = labelled(table(), **BY_TIME, max_length=8)
    examples, places = data.examples("test"), data.data.sequences.places
    before = places[examples.candidates]
    assert (np.diff(examples.history_offsets) <= 8).all() and (before > 12).any()
    assert (examples.after >= np.minimum(before, 8 - 8 // 4 + 1)).all() and (examples.after <= before).all()


def test_training_judges_each_known_event_of_training_after_those_before_it():
    log = table()
    data = labelled(log, **BY_TIME, max_length=200)
    found = told(data, data.train_plan(64).dataset(), log)
    cut = data.data.manifest["split"]["validation_from"]
    known = [each for each in found if not np.isnan(each[2])]
    trains = log[log.timestamp < cut]
    assert len(found) == len(trains) and len(known) == trains.stars.notna().sum()
    assert max((time for _, past, _ in found for time in past), default=0) < cut
    assert sum(not past for _, past, _ in found) == trains.user_id.nunique()
    assert data.training_labels("liked").mean() == pytest.approx((trains.stars.dropna() >= 4).mean())


def test_epochs_follow_from_the_seed_and_batches_keep_to_the_budget():
    plan = labelled(table(), **BY_TIME).train_plan(64, seed=1)
    first, second = ([b[CANDIDATES].tolist() for b in plan.dataset().as_numpy_iterator()] for _ in range(2))
    plan.epoch = 0
    again = [batch[CANDIDATES].tolist() for batch in plan.dataset().as_numpy_iterator()]
    assert first == again != second and len(first) == len(second) == len(plan)
    assert all(len(rows) == 1 or len(rows) * len(rows[0]) <= 64 for rows in first)


def test_context_is_that_of_the_candidates_event():
    log = table()
    data = labelled(log, context=["slot"], **BY_TIME)
    dataset, events = data.judged("test")
    values = data.data.vocabularies["event_slot"].values
    seen = [
        values[code - 1]
        for batch in dataset.as_numpy_iterator()
        for code in batch["context_slot"][batch[CANDIDATES] > 0]
    ]
    by_time = log.set_index("timestamp").slot
    assert seen == by_time[data.data.sequences.events["timestamp"][events]].tolist()


def test_users_without_training_events_are_new():
    log = table()
    data = labelled(log, **BY_TIME)
    _, events = data.judged("test")
    known = set(log[log.timestamp < data.data.manifest["split"]["validation_from"]].user_id)
    assert data.new_users(events).tolist() == [user not in known for user in data.truth(events).user_id]


def test_items_without_training_events_are_new():
    log = table()
    log.loc[log.timestamp > log.timestamp.quantile(0.9), "item_id"] = "late"
    data = labelled(log, **BY_TIME)
    _, events = data.judged("test")
    assert 0 < data.new_items(events).sum() < len(events)
    assert data.new_items(events).tolist() == (data.truth(events).item_id == "late").tolist()


def test_what_cannot_be_a_context_is_refused():
    with pytest.raises(ValueError, match="context names 'page'; the categorical columns of the events are: 'slot'"):
        labelled(table(), context=["page"])
    columns = EventColumns(timestamp="timestamp", context=("stars",), labels=LABEL)
    data = prepare(table().fillna({"stars": 3}), options=PrepareOptions(events=columns))
    with pytest.raises(ValueError, match="context names 'stars', the column of the label 'liked': it tells the answer"):
        RankingData(data, ["stars"])
    with pytest.raises(ValueError, match=r"no labels.*two stages: set ranking\.recall, such as 200"):
        RankingData(prepare(table()[["user_id", "item_id", "timestamp"]]))


def pages(seed=0, users=40, shown=5, key="timestamp"):
    """Pages of impressions that share one moment, one of them clicked; the times of a user's pages differ."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, users)
    moments = rng.choice(10_000, sizes.sum(), replace=False) + 1
    clicks = np.zeros((sizes.sum(), shown), int)
    clicks[np.arange(len(clicks)), rng.integers(0, shown, len(clicks))] = 1
    items = rng.permuted(np.tile(np.arange(25), (len(clicks), 1)), axis=1)[:, :shown]
    return pd.DataFrame(
        {
            "user_id": np.repeat([f"u{n:02d}" for n in range(users)], sizes * shown),
            "item_id": [f"i{item:02d}" for item in items.ravel()],
            key: np.repeat(moments, shown),
            "clicked": clicks.ravel(),
        }
    )


def clicks(log, key="timestamp", **options):
    columns = EventColumns(**{key: key}, context=("clicked",), labels={"click": Label("clicked")})
    data = RankingData(prepare(log, options=PrepareOptions(events=columns, **options)))
    table = data.data.sequences
    ordered = log.sort_values(["user_id", key], kind="stable", ignore_index=True)
    items = data.data.items.item_id.to_numpy()[table.rows]
    assert (items == ordered.item_id).all() and (table.user_ids[table.owners] == ordered.user_id).all()
    return data, ordered[key].to_numpy()


def check_pages(examples, moments, owners):
    """No history of a candidate holds an event of its own moment, nor of a later one; how many events each holds."""
    counts = np.diff(examples.candidate_offsets)
    starts = np.repeat(examples.history_offsets[:-1], counts)
    for event, start, after in zip(examples.candidates, starts, examples.after, strict=True):
        past = examples.history[start : start + after]
        assert (owners[past] == owners[event]).all() and (moments[past] < moments[event]).all()
    lengths = np.repeat(np.diff(examples.history_offsets), counts)
    assert (examples.after >= 0).all() and (examples.after <= lengths).all()
    return examples.after


@pytest.mark.parametrize("max_length", [200, 8])
@pytest.mark.parametrize("split", [BY_TIME, {"split": "folds_users"}])
def test_what_was_shown_at_the_same_moment_is_no_history(split, max_length):
    data, moments = clicks(pages(), max_length=max_length, **split)
    owners = data.data.sequences.owners
    for part in ("validation", "test"):
        examples = data.examples(part)
        after = check_pages(examples, moments, owners)
        before = np.array([((moments < moments[e]) & (owners == owners[e])).sum() for e in examples.candidates])
        assert (after >= np.minimum(before, max_length - max_length // 4 + 1)).all() and (before > 0).any()
        if max_length == 200:
            assert after.tolist() == before.tolist()
    drawn = data.train_plan(64)._draw(np.random.default_rng(0))
    after = check_pages(drawn, moments, owners)
    assert (after > 0).any() and (max_length < 200 or (after % 5 == 0).all())


def test_events_that_share_a_position_or_both_times_are_of_one_moment():
    log = pages(key="position")
    data, moments = clicks(log, "position", split="folds_users")
    for part in ("validation", "test"):
        assert (check_pages(data.examples(part), moments, data.data.sequences.owners) % 5 == 0).all()
    log = log.assign(timestamp=log.position, position=np.arange(len(log)))
    columns = EventColumns(position="position", timestamp="timestamp", labels={"click": Label("clicked")})
    found = prepare(log, options=PrepareOptions(events=columns)).sequences
    moments = pd.DataFrame({"owner": found.owners, "moment": found.moments})
    assert len(moments.drop_duplicates()) == log.timestamp.nunique() < len(log)


def test_moments_are_kept_where_there_are_labels():
    assert prepare(pages().drop(columns="clicked")).sequences.moments is None
    found = labelled(table()).data.sequences
    assert (found.moments == np.arange(len(found.rows)) - found.offsets[found.owners]).all()
