"""A batch that is divided among replicas: the parts together are the batch, and none is without a row."""

import numpy as np
import pytest

from tests import tiny_shop
from tfrec.data import EventColumns, PrepareOptions, Share, prepare
from tfrec.features import HISTORY, TARGET, USER_ID


@pytest.fixture(scope="module")
def data():
    columns = EventColumns("who", "what", "at", event_type="kind")
    return prepare(tiny_shop.events(), options=PrepareOptions(events=columns, max_length=6))


def rows(batch, name):
    """The rows of a batch without their padding, in an order that does not depend on where they are."""
    return sorted(tuple(row[row != 0]) for row in batch[name])


def played(plan, share):
    plan.epoch = 1
    return [{name: value.numpy() for name, value in batch.items()} for batch in plan.dataset(share)]


@pytest.mark.parametrize(("of", "tokens"), [(2, 128), (3, 128), (5, 14)])
def test_all_parts_together_are_the_batches_of_one_process(data, of, tokens):
    plan = data.train_plan(tokens, seed=2)
    whole = played(plan, Share((0,), 1))
    parts = [played(plan, Share((part,), of)) for part in range(of)]
    assert {len(batches) for batches in parts} == {len(whole)}
    for place, batch in enumerate(whole):
        for name in (HISTORY, TARGET):
            found = [row for batches in parts for row in rows(batches[place], name) if row]
            assert sorted(found) == [row for row in rows(batch, name) if row]
    assert all(len(batch[TARGET]) > 0 for batches in parts for batch in batches)
    assert (tokens != 14) or any(not batch[TARGET].any() for batches in parts for batch in batches)


def test_a_process_with_several_replicas_plays_their_parts_in_turn(data):
    plan = data.train_plan(128)
    one_by_one = [played(plan, Share((part,), 4)) for part in (2, 3)]
    found = played(plan, Share((2, 3), 4))
    wanted = [batch for pair in zip(*one_by_one, strict=True) for batch in pair]
    assert len(found) == len(wanted)
    for batch, other in zip(found, wanted, strict=True):
        assert all((batch[name] == other[name]).all() for name in other)


def test_evaluation_is_divided_too_and_a_part_may_be_empty(data):
    users = data.evaluation_users("validation")
    parts = [list(users.dataset(29, share=Share((part,), 3))) for part in range(3)]
    assert [len(batches) for batches in parts] == [3, 3, 3]  # 59 users: the last batch has one.
    assert [len(batches[-1][USER_ID]) for batches in parts] == [1, 0, 0]
    ids = np.concatenate([batch[USER_ID].numpy() for batches in parts for batch in batches])
    assert len(ids) == len(set(ids)) == 59


@pytest.mark.parametrize(("parts", "of"), [((), 2), ((2,), 2), ((-1,), 2)])
def test_parts_that_do_not_exist_are_refused(parts, of):
    with pytest.raises(ValueError, match="`parts` must be some of 0 to 1"):
        Share(parts, of)
