"""A data set divided among workers: together they play what one process plays, and each holds its own users alone."""

import numpy as np
import pytest

from tests import tiny_shop
from tfrec.data import Dataset, DividedDataset, EventColumns, PrepareOptions, Share, UserColumns, prepare
from tfrec.features import HISTORY, TARGET, USER_ID, USER_TEXT

COLUMNS = EventColumns("who", "what", "at", event_type="kind")
SHARDS = 5
WHOLE = Share((0,), 1)


def prepared(tmp_path, shards=SHARDS, **options):
    """A data set on disk, of users with long and short histories and texts, one of which has a single event."""
    log = tiny_shop.events()
    short = log.who.isin([f"{user:03d}" for user in range(0, 60, 3)])
    log = log[~short | (log.groupby("who").cumcount() < 5)]
    users = log[["who"]].drop_duplicates().assign(about=lambda table: "reads " + table.who.str[2:])
    options = PrepareOptions(
        events=COLUMNS, users=UserColumns("who", text=("about",)), max_length=3, shards=shards, **options
    )
    return prepare(log, users=users, options=options, folder=tmp_path / "data", replace=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("drawn"), windows="drawn")


def rows(batch, name):
    """The rows of a batch with what is to be learnt, in an order that does not depend on where they are."""
    texts = batch[USER_TEXT][:, 0].tolist() if USER_TEXT in batch else [0] * len(batch[name])
    held = batch[TARGET].any(axis=1)
    return sorted(
        (row[row != 0].tolist(), text) for row, text, is_held in zip(batch[name], texts, held, strict=True) if is_held
    )


def played(plan, epoch=1, share=WHOLE):
    plan.epoch = epoch
    return [{name: value.numpy() for name, value in batch.items()} for batch in plan.dataset(share)]


@pytest.mark.parametrize(("workers", "tokens"), [(1, 32), (2, 32), (3, 8), (5, 8)])
def test_all_workers_together_play_the_batches_of_one_process(data, workers, tokens):
    vectors = np.arange(1, len(data.user_texts) + 1, dtype=np.float32)[:, None]
    one, fresh = Dataset.open(data.folder), Dataset.open(data.folder)
    for each in (one, fresh):
        each.set_text_vectors(vectors, variants=vectors[None] + 0.5)
    whole = played(one.train_plan(tokens, seed=2))
    parts = [played(DividedDataset(fresh, worker, workers).train_plan(tokens, seed=2)) for worker in range(workers)]
    assert workers == 1 or "sequences" not in vars(fresh)  # Nobody has read all shards into memory.
    assert {len(batches) for batches in parts} == {len(whole)}
    for place, batch in enumerate(whole):
        for name in (HISTORY, TARGET):
            found = [row for batches in parts for row in rows(batches[place], name)]
            assert sorted(found) == rows(batch, name) != []
    assert workers < 3 or any(not batch[TARGET].any() for batches in parts for batch in batches)
    texts = {text for batch in whole for _, text in rows(batch, HISTORY)}
    assert {text % 1 for text in texts} == {0, 0.5}  # Both versions are drawn.


def test_each_worker_holds_the_users_of_its_shards_alone(data):
    held = [DividedDataset(Dataset.open(data.folder), worker, 2).own.sequences for worker in range(2)]
    assert sorted(user for each in held for user in each.user_ids) == sorted(data.sequences.user_ids)
    assert sum(len(each.rows) for each in held) == len(data.sequences.rows)
    assert min(len(each.user_ids) for each in held) > 15
    plan = DividedDataset(data, 1, 2).train_plan()
    assert 0 < len(plan._windows.rows) < len(data.train_plan()._windows.rows)


def test_a_worker_with_several_devices_cuts_what_it_holds(data):
    divided = DividedDataset(data, 1, 2)
    whole = played(divided.train_plan(32))
    both = played(divided.train_plan(32), share=Share((0, 1), 2))
    assert len(both) == 2 * len(whole)
    for place, batch in enumerate(whole):
        found = [row for each in both[2 * place : 2 * place + 2] for row in rows(each, HISTORY)]
        assert sorted(found) == rows(batch, HISTORY)


def test_validation_has_all_users_once_and_as_many_batches_on_every_worker(data):
    parts = [list(DividedDataset(data, worker, 3).validation(7)) for worker in range(3)]
    assert len({len(batches) for batches in parts}) == 1
    ids = [user.decode() for batches in parts for batch in batches for user in batch[USER_ID].numpy()]
    assert sorted(ids) == sorted(data.truth("validation")[USER_ID])
    assert any(not len(batch[USER_ID]) for batches in parts for batch in batches)
    divided = DividedDataset(data, 0, 3)
    assert {split: divided.users(split) for split in ("validation", "test")} == {"validation": 59, "test": 60}


def test_workers_can_tell_whether_they_divide_the_same_data(data, tmp_path):
    marks = {DividedDataset(data, worker, 3).mark() for worker in range(3)}
    assert marks == {DividedDataset(data, 0, 1).mark()} and len(*marks) == 32
    assert DividedDataset(prepared(tmp_path, min_user_events=6), 0, 3).mark() not in marks


def test_noise_disturbs_what_a_worker_holds(data):
    gone = played(data.train_plan(32, seed=2, delete=1.0))  # All that is read; what is asked for last stays.
    plans = [DividedDataset(data, worker, 2) for worker in range(2)]
    parts = [played(divided.train_plan(32, seed=2, delete=1.0)) for divided in plans]
    for place, batch in enumerate(gone):
        found = [row for batches in parts for row in rows(batches[place], TARGET)]
        assert sorted(found) == rows(batch, TARGET)
    for divided in plans:
        read = [
            sum(int((batch[HISTORY] > 0).sum()) for batch in played(divided.train_plan(32, seed=2, insert=insert)))
            for insert in (0.0, 1.0)
        ]
        assert read[1] > 1.5 * read[0] > 0


def test_shards_without_users_are_held_by_somebody_too(tmp_path):
    data = prepared(tmp_path, shards=150)
    whole = played(data.train_plan(32))
    parts = [played(DividedDataset(Dataset.open(data.folder), worker, 149).train_plan(32)) for worker in (0, 1, 2)]
    assert all(len(batches) == len(whole) for batches in parts)
    empty = next(worker for worker in range(1, 149) if not len(data.part([worker]).sequences.user_ids))
    idle = DividedDataset(data, empty, 149)
    assert not any(batch[TARGET].any() for batch in played(idle.train_plan(32, delete=0.5)))
    assert all(not len(batch[USER_ID]) for batch in idle.validation())


def test_more_workers_than_shards_are_refused(data):
    with pytest.raises(ValueError, match=f"has {SHARDS} shards, which 6 workers cannot divide"):
        DividedDataset(data, 0, 6)
