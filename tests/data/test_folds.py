"""Folds cover the data once, keep what they test out of training, and follow from the seed."""

import numpy as np
import pandas as pd
import pytest

from tfrec.data import EventColumns, Folds, Label, PrepareOptions, RankingData, prepare

COLUMNS = EventColumns(timestamp="timestamp", labels={"stars": Label("stars", range=(1, 5))})


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 20, 40)
    users = np.repeat([f"u{n:02d}" for n in range(40)], sizes)
    items = np.concatenate([rng.permutation(30)[:size] for size in sizes])
    return pd.DataFrame(
        {
            "user_id": users, "item_id": [f"i{item:02d}" for item in items],
            "timestamp": np.concatenate([np.sort(rng.integers(1, 10**6, size)) for size in sizes]),
            "stars": rng.integers(1, 6, len(users)),
        }
    )  # fmt: skip


def folded(log, by, fold=0, **changes):
    options = PrepareOptions(events=COLUMNS, split=f"folds_{by}", folds=Folds(4, fold, **changes))
    return prepare(log, options=options)


def judged(data, split):
    """(user, item) pairs that a split's figures are about."""
    labelled = RankingData(data)
    truth = labelled.truth(labelled.judged(split)[1])
    return set(map(tuple, truth[["user_id", "item_id"]].to_numpy()))


@pytest.mark.parametrize("by", ["events", "users"])
def test_each_event_tests_in_one_fold(log, by):
    tested = [judged(folded(log, by, fold), "test") for fold in range(4)]
    assert sum(map(len, tested)) == len(log) == len(set.union(*tested))
    members = [len({user for user, _ in part}) if by == "users" else len(part) for part in tested]
    assert max(members) - min(members) <= 1


@pytest.mark.parametrize("by", ["events", "users"])
def test_parts_share_no_event_and_training_knows_neither(log, by):
    data = folded(log, by)
    parts = [judged(data, "validation"), judged(data, "test")]
    training = data.training_sequences()
    ids = data.items["item_id"].to_numpy()
    trains = set(zip(training.user_ids[training.owners], ids[training.rows], strict=True))
    assert parts[0] and parts[1] and trains
    assert not parts[0] & parts[1] and not trains & (parts[0] | parts[1])
    if by == "events":
        assert len(trains) + len(parts[0]) + len(parts[1]) == len(log)
    else:
        assert not {user for user, _ in trains} & {user for user, _ in parts[0] | parts[1]}


@pytest.mark.parametrize("by", ["events", "users"])
def test_the_seed_decides(log, by):
    first, again, other = (judged(folded(log, by, seed=seed), "test") for seed in (0, 0, 1))
    assert first == again != other


def test_a_history_holds_the_other_training_events_in_their_order_and_no_target(log):
    data = folded(log, "events")
    truth, order = judged(data, "test"), log.sort_values(["user_id", "timestamp"], kind="stable")
    examples = RankingData(data).examples("test")
    ids = data.items["item_id"].to_numpy()
    for place, user in enumerate(data.sequences.user_ids[examples.owners]):
        events = examples.history[examples.history_offsets[place] : examples.history_offsets[place + 1]]
        kept = [item for item in order[order.user_id == user].item_id if (user, item) not in truth]
        assert ids[data.sequences.rows[events]].tolist() == kept


def test_to_rank_a_held_out_user_is_asked_for_the_last_event(log):
    data = folded(log, "users")
    last = log.groupby("user_id").item_id.last()
    truth = data.truth("test").set_index("user_id").item_id
    assert len(truth) == 10 and (truth == last[truth.index]).all()
    assert (data.histories("test").lengths == log.groupby("user_id").size()[truth.index] - 1).all()
    assert not set(truth.index) & set(data.truth("validation").user_id)


def test_each_training_event_is_judged_once_an_epoch_and_never_by_itself(log):
    labelled = RankingData(folded(log, "events"))
    plan, sequences = labelled.train_plan(64, seed=3), labelled.data.sequences
    examples = [plan._draw(np.random.default_rng([3, epoch, 1])) for epoch in range(2)]
    count = labelled.data.manifest["counts"]["train_events"]
    for each in examples:
        assert len(np.unique(each.candidates)) == len(each.candidates) == count
        for place in range(len(each.owners)):
            past = each.history[each.history_offsets[place] : each.history_offsets[place + 1]]
            asked = each.candidates[each.candidate_offsets[place] : each.candidate_offsets[place + 1]]
            assert not set(past) & set(asked) and (sequences.owners[[*past, *asked]] == each.owners[place]).all()
            assert (np.diff(past) > 0).all()
    assert (examples[0].sizes == examples[1].sizes).all()
    assert (examples[0].candidates != examples[1].candidates).any()


@pytest.mark.parametrize(("by", "what"), [("events", "target events"), ("users", "users")])
def test_more_folds_than_members_are_refused(by, what):
    few = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2], "stars": [1, 2]})
    with pytest.raises(ValueError, match=f"split.folds is 4, and there are 2 {what}"):
        folded(few, by)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"folds": 1}, "folds"), ({"fold": 5}, "fold must be from 0 to 4"), ({"validation": 1.0}, "validation"),
     ({"seed": -1}, "seed")],
)  # fmt: skip
def test_folds_that_are_none_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Folds(**wrong)
