"""Batches hold every window once an epoch, differ between epochs, and are padded little."""

import numpy as np
import pandas as pd
import pytest

from tfrec.data import EpochPlan, PrepareOptions, prepare
from tfrec.data.batches import EvaluationUsers, training_batch
from tfrec.data.sequences import Ragged, Windows
from tfrec.features import BARRED, HISTORY, RELEVANT, SEEN, TARGET, USER_ID


def windows_of(lengths):
    lengths = np.asarray(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    rows = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    whole = np.arange(len(lengths)) % 2 == 0
    times = {"timestamp": rows.astype(np.int64) * 10**9}
    first = np.zeros(len(lengths), bool)
    return Windows(np.arange(len(lengths)), offsets[:-1], lengths, whole, 0 * lengths, first, rows, rows, times)


def skewed(users=3000, seed=0):
    return windows_of(np.minimum(np.random.default_rng(seed).lognormal(1.8, 0.9, users).astype(int), 200))


def test_a_batch_is_right_padded_and_targets_follow_their_history():
    windows = windows_of([2, 0, 1])
    batch = training_batch(windows, {"user_sex": np.array([7, 8, 9], np.int32)}, np.array([0, 1, 2]))
    assert batch[HISTORY].tolist() == [[1, 2], [0, 0], [5, 0]]
    assert batch[TARGET].tolist() == [[1, 2, 3], [0, 0, 0], [5, 6, 0]]
    assert batch["timestamp"].tolist() == [[10**9, 2 * 10**9], [0, 0], [5 * 10**9, 0]]
    assert batch["user_sex"].tolist() == [7, 8, 9]
    assert {name: values.dtype for name, values in batch.items()} == {
        HISTORY: np.int32, TARGET: np.int32, "timestamp": np.int64, "user_sex": np.int32,
    }  # fmt: skip


def test_an_epoch_draws_windows_from_the_seed_and_its_number_alone():
    log = pd.DataFrame({"user_id": "u", "item_id": [f"i{n}" for n in range(30)], "position": range(30)})
    others = pd.DataFrame({"user_id": ["v", "v", "v"], "item_id": ["i0", "i1", "i2"], "position": range(3)})
    options = PrepareOptions(max_length=4, windows="drawn")
    data = prepare(pd.concat([log, others]), options=options)

    def histories(seed, epoch):
        plan = data.train_plan(64, seed)
        plan.epoch = epoch
        return [batch[HISTORY].tolist() for batch in plan.dataset().as_numpy_iterator()]

    first, again, other = ([histories(seed, epoch) for epoch in range(8)] for seed in (0, 0, 1))
    assert first == again != other and len({str(each) for each in first}) > 3
    assert data.items["trained"].sum() == 28 and len(data.train_plan(64)) == len(histories(0, 9))
    plain = prepare(pd.concat([log, others]), options=PrepareOptions(max_length=4, windows="newest"))
    assert plain.items["trained"].sum() < 8 and plain.manifest["content_hash"] != data.manifest["content_hash"]


def test_empty_histories_have_one_step():
    batch = training_batch(windows_of([0, 0, 0]), {}, np.array([0, 2]))
    assert batch[HISTORY].tolist() == [[0], [0]] and batch[TARGET].tolist() == [[1, 0], [3, 0]]


def test_every_epoch_holds_each_window_once_in_as_many_batches_within_the_budget():
    windows = skewed()
    plan = EpochPlan(windows, {}, tokens_per_batch=512)
    for epoch in range(5):
        batches = plan.batches(epoch)
        assert len(batches) == len(plan)
        assert np.sort(np.concatenate(batches)).tolist() == list(range(3000))
        assert max(len(batch) * (windows.lengths[batch].max() + 1) for batch in batches) <= 512


def test_a_window_longer_than_the_budget_is_a_batch_of_its_own():
    plan = EpochPlan(windows_of([9, 9, 1]), {}, tokens_per_batch=4)
    assert sorted(map(len, plan.batches(0))) == [1, 1, 1]


def test_batches_depend_on_seed_and_epoch_alone():
    def members(seed, epoch):
        return [batch.tolist() for batch in EpochPlan(skewed(), {}, tokens_per_batch=512, seed=seed).batches(epoch)]

    assert members(1, 3) == members(1, 3)
    assert sorted(map(sorted, members(1, 3))) != sorted(map(sorted, members(1, 4)))
    assert members(1, 3) != members(2, 3)


@pytest.mark.parametrize("tokens", [2048, 4096])
def test_little_is_padding(tokens):
    assert EpochPlan(skewed(20_000), {}, tokens_per_batch=tokens).padding() < 0.1


def test_each_pass_is_an_epoch_and_an_epoch_can_be_played_again():
    plan = EpochPlan(skewed(200), {}, tokens_per_batch=256)
    data = plan.dataset()
    assert data.cardinality().numpy() == len(plan) > 1

    def play():
        return [batch[TARGET].numpy().tolist() for batch in data]

    first, second = play(), play()
    assert len(first) == len(second) == len(plan) and first != second and plan.epoch == 2
    plan.epoch = 0
    assert play() == first and play() == second


@pytest.mark.parametrize(("name", "value"), [("tokens_per_batch", 0), ("tokens_per_batch", 1.5), ("seed", -1)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least .*; got {value}"):
        EpochPlan(skewed(10), {}, **{name: value})


def evaluation_users(max_length=2, barred=()):
    users = np.array(["a", "b", "c"], dtype=object)
    histories = Ragged(users, np.array([1, 2, 1, 5], np.int32), np.array([0, 3, 3, 4]))
    seen = Ragged(users, np.array([1, 2, 5], np.int32), np.array([0, 2, 2, 3]))
    relevant = Ragged(users, np.array([8, 9, 8, 7], np.int32), np.array([0, 1, 3, 4]))
    events = {"event_type": np.array([3, 4, 5, 6], np.int32)}
    sex, barred = {"user_sex": np.array([1, 2, 3], np.int32)}, np.array(barred, np.int32)
    return EvaluationUsers(histories, seen, relevant, events, sex, max_length, barred)


def test_an_evaluation_batch_holds_the_newest_events_and_all_that_was_seen():
    (batch,) = evaluation_users().dataset(10).as_numpy_iterator()
    assert batch[USER_ID].tolist() == [b"b", b"c", b"a"]
    assert batch[HISTORY].tolist() == [[0, 0], [5, 0], [2, 1]]
    assert batch["event_type"].tolist() == [[0, 0], [6, 0], [4, 5]]
    assert batch[SEEN].tolist() == [[0, 0], [5, 0], [1, 2]]
    assert batch[RELEVANT].tolist() == [[9, 8], [7, 0], [8, 0]]
    assert batch["user_sex"].tolist() == [2, 3, 1]


def test_every_batch_says_what_nobody_is_recommended():
    batches = list(evaluation_users(barred=[3, 5]).dataset(2).as_numpy_iterator())
    assert [batch[BARRED].tolist() for batch in batches] == [[3, 5], [3, 5]]
    assert BARRED not in evaluation_users().dataset(2).element_spec


def test_evaluation_batches_come_in_the_same_order_and_have_a_step_at_least():
    data = evaluation_users().dataset(1)
    assert data.cardinality().numpy() == 3
    shapes = [(batch[HISTORY].shape, batch[SEEN].shape) for batch in data]
    assert shapes == [((1, 1), (1, 1)), ((1, 1), (1, 1)), ((1, 2), (1, 2))]
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1; got 0"):
        evaluation_users().dataset(0)


def test_batches_follow_the_declared_specs(log):
    options = PrepareOptions(max_length=5, target_events=("purchase",))
    dataset = prepare(log, options=options)
    for data in (dataset.train(64), dataset.validation(8), dataset.test(8)):
        for batch in data:
            for name, spec in data.element_spec.items():
                assert batch[name].dtype == spec.dtype and spec.shape.is_compatible_with(batch[name].shape)
