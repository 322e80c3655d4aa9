import numpy as np
import tensorflow as tf

from tests import tiny_text
from tfrec.training.text_batches import IDS, LENGTHS, TextPlan, Tokens, tokenize


def tokens(lengths):
    """Text n has its tokens 100 n, 100 n + 1, ..."""
    values = np.concatenate([100 * n + np.arange(length) for n, length in enumerate(lengths)])
    return Tokens(values.astype("int32"), np.concatenate([[0], np.cumsum(lengths)]), -1)


def test_rows_are_filled_up_with_padding():
    batch = tokens([2, 0, 3]).padded(np.array([2, 1, 0]))
    assert batch[IDS].tolist() == [[200, 201, 202], [-1, -1, -1], [0, 1, -1]]
    assert batch[LENGTHS].tolist() == [3, 0, 2]
    assert batch[IDS].dtype == batch[LENGTHS].dtype == np.int32
    assert tokens([0]).padded(np.array([0]))[IDS].tolist() == [[-1]]


def test_tokens_are_what_the_model_reads(monkeypatch):
    model, texts = tiny_text.bert(), [*tiny_text.titles(), ""]
    monkeypatch.setattr("tfrec.training.text_batches.TEXTS_AT_ONCE", 7)
    found = tokenize(model, texts)
    ids, lengths = model.tokens(tf.constant(texts))
    batch = found.padded(np.arange(len(texts)))
    np.testing.assert_array_equal(batch[IDS], ids)
    np.testing.assert_array_equal(batch[LENGTHS], lengths)


def test_an_epoch_passes_each_member_once_under_the_budget():
    lengths = np.random.default_rng(0).integers(1, 40, 300)
    members = np.arange(0, 300, 2)
    plan = TextPlan(tokens(lengths), members, tokens_per_batch=128, seed=1)
    for epoch in range(3):
        batches = plan.batches(epoch)
        assert len(batches) == len(plan)
        assert sorted(np.concatenate(batches).tolist()) == members.tolist()
        assert all(len(one) * lengths[one].max() <= 128 for one in batches)
    padded = sum(len(one) * lengths[one].max() for one in plan.batches(0))
    assert padded < 1.15 * lengths[members].sum()


def test_epochs_differ_and_can_be_played_again():
    plan = TextPlan(tokens([3] * 50), np.arange(50), tokens_per_batch=12, seed=1)
    first, second = (np.concatenate(plan.batches(epoch)).tolist() for epoch in range(2))
    assert first != second
    assert np.concatenate(plan.batches(0)).tolist() == first
    played = [batch[IDS].numpy()[:, 0].tolist() for batch in plan.dataset()]
    assert sum(played, []) == [100 * n for n in first]
    assert plan.epoch == 1
    assert plan.dataset().cardinality().numpy() == len(plan) == 13


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own():
    plan = TextPlan(tokens([1, 1, 50]), np.arange(3), tokens_per_batch=10, seed=0)
    assert sorted(len(one) for one in plan.batches(0)) == [1, 2]
