"""What a user had before each target, and objectives in which it does not compete."""

import numpy as np
import pytest
import tensorflow as tf

from tests.retrieval.cycles import ROWS, test_batch, train_batch, two_tower
from tfrec.features import HISTORY, PAD, TARGET
from tfrec.retrieval import GBCE, FullSoftmax, SampledSoftmax, chunked_softmax, objectives
from tfrec.retrieval.past import Past

ITEMS, DIM = 9, 3
TRAINED = np.array([1, 2, 4, 5, 7])
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(ITEMS, DIM)).astype("float32")
HISTORIES = np.array([[1, 8, 2, 1], [4, 5, 0, 0], [0, 0, 0, 0]], "int32")  # Row 8 is not trained.
WHERE = np.array([[0, 0], [0, 1], [0, 3], [0, 4], [1, 2], [2, 0]])
QUERIES = RNG.normal(size=(len(WHERE), DIM)).astype("float32")
TARGETS = np.array([1, 2, 1, 5, 7, 4], "int32")  # The third has been had before.


def past_of(position):
    user, read = WHERE[position]
    return set(HISTORIES[user, :read].tolist())


def test_a_past_is_what_was_read_before_a_position():
    past = Past(tf.constant(HISTORIES), WHERE)
    rows = np.array([2, 1, 1, 8, 5, 0], "int32")
    expected = [[row in past_of(position) for row in rows] for position in range(len(WHERE))]
    assert past.holds(rows).numpy().tolist() == expected
    places = np.where(HISTORIES == 1, 0, np.where(HISTORIES == 5, 1, 2))
    expected = [[row in past_of(position) for row in (1, 5)] for position in range(len(WHERE))]
    assert past.holds_places(places, 2).numpy().tolist() == expected


def test_a_past_is_told_in_pairs_without_the_position_s_own():
    places = np.where(HISTORIES == 1, 0, np.where(HISTORIES == 5, 1, -1))
    own = np.array([9, 9, 0, 1, 9, 9])
    found = Past(tf.constant(HISTORIES), WHERE).pairs(places, own).numpy().tolist()
    assert found == [[1, 0], [3, 0], [3, 0], [4, 1]]  # Of the third, whose own it is, none; of the fourth, had twice.


@pytest.mark.parametrize("few", [0, 64])  # Place by place, or by a matrix.
@pytest.mark.parametrize("chunk", [2**25, 10])
def test_what_was_had_is_left_out_alike_where_logits_have_a_known_size(chunk, few, monkeypatch):
    monkeypatch.setattr(objectives, "FEW_IN", few)
    monkeypatch.setattr(chunked_softmax, "KEPT", 2**27 if chunk > 10 else 1)
    monkeypatch.setattr(chunked_softmax, "CHUNK", chunk)
    monkeypatch.setattr(chunked_softmax, "FEW", 0)
    objective, past = FullSoftmax(TRAINED, unseen=True), Past(tf.constant(HISTORIES), WHERE)
    sparse = objective.loss(QUERIES, TARGETS, VECTORS, past=past).numpy()
    objective.whole = True
    np.testing.assert_allclose(sparse, objective.loss(QUERIES, TARGETS, VECTORS, past=past).numpy(), rtol=1e-5)


def test_the_full_softmax_is_over_what_the_user_has_not_had_and_the_target():
    objective = FullSoftmax(TRAINED, unseen=True)
    past = Past(tf.constant(HISTORIES), WHERE)
    losses = objective.loss(QUERIES, TARGETS, VECTORS, past=past).numpy()
    for position, (query, target) in enumerate(zip(QUERIES, TARGETS, strict=True)):
        rivals = [row for row in TRAINED if row not in past_of(position) or row == target]
        logits = VECTORS[rivals] @ query
        expected = np.log(np.exp(logits).sum()) - VECTORS[target] @ query
        np.testing.assert_allclose(losses[position], expected, rtol=1e-5)
    plain = FullSoftmax(TRAINED).loss(QUERIES, TARGETS, VECTORS).numpy()
    np.testing.assert_allclose(FullSoftmax(TRAINED).loss(QUERIES, TARGETS, VECTORS, past=past).numpy(), plain)
    assert (losses <= plain + 1e-6).all() and (losses < plain - 1e-3).sum() == 4


@pytest.mark.parametrize("kind", [SampledSoftmax, GBCE])
def test_drawn_negatives_that_the_user_has_had_do_not_count(kind):
    drawn = np.array([2, 5, 1, 5], "int32")
    rows = np.concatenate([[0], TARGETS, drawn]).astype("int32")
    places = np.arange(1, len(TARGETS) + 1, dtype="int32")
    past = Past(tf.constant(HISTORIES), WHERE)
    losses = kind(TRAINED, len(drawn), unseen=True).loss(QUERIES, places, VECTORS[rows], rows, past).numpy()
    for position, (query, target) in enumerate(zip(QUERIES, TARGETS, strict=True)):
        counted = np.array([row for row in drawn if row not in past_of(position) and row != target], "int32")
        rows = np.concatenate([[target], counted]).astype("int32")
        alone = [0], VECTORS[rows], rows
        if kind is GBCE:
            whole = GBCE(TRAINED, len(drawn))
            pushed = sum(np.log1p(np.exp(query @ VECTORS[row] + whole.offset)) for row in counted)
            pulled = whole.power * np.log1p(np.exp(-query @ VECTORS[target] - whole.offset))
            expected = (pulled + pushed) / (len(drawn) + 1)
        elif len(counted):
            expected = kind(TRAINED, len(counted)).loss(query[None], np.array(alone[0]), *alone[1:]).numpy()[0]
        else:
            expected = 0.0
        np.testing.assert_allclose(losses[position], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [FullSoftmax, SampledSoftmax, GBCE])
def test_a_model_gives_its_objective_the_past(kind):
    """Walks in a circle that go once around: with all of the circle in the past only the target is left."""
    batch = {HISTORY: ROWS[None, :-1].astype("int32"), TARGET: np.zeros((1, len(ROWS)), "int32")}
    batch[TARGET][0, -1] = ROWS[-1]
    assert batch[HISTORY][0, 0] != PAD
    losses = {unseen: float(two_tower(objective=kind(ROWS, unseen=unseen)).compute_loss(batch)) for unseen in (0, 1)}
    assert losses[1] < 1e-4 < losses[0] or (kind is GBCE and losses[1] < losses[0])
    model = two_tower(objective=kind(ROWS, unseen=True))
    assert np.isfinite(float(model.compute_loss(train_batch()))) and np.isfinite(model(test_batch()).numpy()).all()
