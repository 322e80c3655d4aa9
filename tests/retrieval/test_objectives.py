import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrec.retrieval import GBCE, FullSoftmax, SampledSoftmax

ITEMS, DIM = 9, 3
TRAINED = np.array([False, True, True, False, True, True, False, True, False])
ROWS = np.flatnonzero(TRAINED)
RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, DIM)).astype("float32")
VECTORS = RNG.normal(size=(ITEMS, DIM)).astype("float32")
TARGETS = np.array([5, 1, 7, 1], "int32")


def cross_entropy(positive, others):
    """-log of the first one's share among itself and the others."""
    return np.log(np.sum(np.exp([positive, *others]))) - positive


# -- the whole catalogue ---------------------------------------------------------------------------------------------


def test_full_softmax_by_hand():
    """Two items compete: with logits 1 and 3 for them, the loss of the first is log(1 + e^2)."""
    vectors = np.array([[9.0], [1.0], [3.0], [100.0]], "float32")
    objective = FullSoftmax(np.array([False, True, True, False]))
    loss = objective.loss(np.ones((2, 1), "float32"), np.array([1, 2]), vectors).numpy()
    np.testing.assert_allclose(loss, [np.log(1 + np.e**2), np.log(1 + np.e**-2)], rtol=1e-6)


def test_full_softmax_is_over_every_trained_item_and_no_other():
    loss = FullSoftmax(TRAINED).loss(QUERIES, TARGETS, VECTORS).numpy()
    logits = QUERIES @ VECTORS.T
    expected = [
        cross_entropy(logits[i, target], [logits[i, row] for row in ROWS if row != target])
        for i, target in enumerate(TARGETS)
    ]
    np.testing.assert_allclose(loss, expected, atol=1e-5)
    elsewhere = np.where(TRAINED[:, None], VECTORS, VECTORS + 100)
    np.testing.assert_allclose(FullSoftmax(TRAINED).loss(QUERIES, TARGETS, elsewhere).numpy(), loss, atol=1e-6)


def test_full_softmax_has_the_gradient_of_the_cross_entropy():
    queries, vectors = tf.constant(QUERIES), tf.constant(VECTORS)
    with tf.GradientTape() as tape:
        tape.watch([queries, vectors])
        loss = tf.reduce_mean(FullSoftmax(TRAINED).loss(queries, TARGETS, vectors))
    to_queries, to_vectors = (tf.convert_to_tensor(one).numpy() for one in tape.gradient(loss, [queries, vectors]))
    logits = np.where(TRAINED, QUERIES @ VECTORS.T, -np.inf)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (shares - np.eye(ITEMS)[TARGETS]) / len(TARGETS)
    np.testing.assert_allclose(to_queries, error @ VECTORS, atol=1e-6)
    np.testing.assert_allclose(to_vectors, error.T @ QUERIES, atol=1e-6)
    assert not to_vectors[~TRAINED].any()


def test_full_softmax_encodes_the_whole_catalogue():
    assert FullSoftmax(TRAINED).rows(np.ones((2, 3), "int32"), np.ones((2, 4), "int32")) is None


def test_large_logits_stay_finite():
    loss = FullSoftmax(TRAINED).loss(1e4 * QUERIES, TARGETS, VECTORS).numpy()
    logits = 1e4 * QUERIES @ VECTORS[ROWS].T
    expected = logits.max(axis=1) - 1e4 * (QUERIES * VECTORS[TARGETS]).sum(axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-3, atol=0.1)


def test_a_target_outside_training_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        FullSoftmax(TRAINED).loss(QUERIES[:1], np.array([3]), VECTORS)


@pytest.mark.parametrize("kind", [FullSoftmax, lambda trained: SampledSoftmax(trained, 2)])
@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (np.zeros(5, bool), "names no item"),
        ([], "names no item"),
        ([0, 1], "row 0 is padding; received 0"),
        ([1, 2, 2], "distinct rows; received 1 repetitions"),
    ],
)
def test_what_is_no_set_of_items_is_refused(kind, trained, message):
    with pytest.raises(ValueError, match=f"`trained`.*{message}"):
        kind(trained)


# -- uniform negatives -----------------------------------------------------------------------------------------------


def test_rows_are_the_batch_then_the_negatives():
    objective = SampledSoftmax(TRAINED, negatives=200)
    history, target = np.array([[3, 5, 0], [5, 8, 3]], "int32"), np.array([[0, 5, 1, 0], [5, 8, 3, 7]], "int32")
    rows = objective.rows(history, target).numpy()
    assert rows[:-200].tolist() == [0, 3, 5, 8, 1, 7]
    assert set(rows[-200:]) == set(ROWS)
    counts = np.bincount(rows[-200:], minlength=ITEMS)[ROWS]
    assert counts.min() > 15  # 40 each are expected.
    again = objective.rows(history, target).numpy()
    assert again[-200:].tolist() != rows[-200:].tolist()


def test_sampled_softmax_by_hand():
    """Negatives 2, 1 and 2 again: a target does not compete with itself, a negative drawn twice does so twice."""
    rows = np.array([0, 5, 1, 7, 2, 1, 2], "int32")
    targets = np.array([1, 2, 3, 2], "int32")  # Places in `rows` of 5, 1, 7, 1.
    loss = SampledSoftmax(TRAINED, negatives=3).loss(QUERIES, targets, VECTORS[rows], rows).numpy()
    logits = QUERIES @ VECTORS.T
    expected = [
        cross_entropy(logits[0, 5], logits[0, [2, 1, 2]]),
        cross_entropy(logits[1, 1], logits[1, [2, 2]]),
        cross_entropy(logits[2, 7], logits[2, [2, 1, 2]]),
        cross_entropy(logits[3, 1], logits[3, [2, 2]]),
    ]
    np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_a_target_that_is_every_negative_has_no_loss():
    rows = np.array([0, 5, 5, 5], "int32")
    queries, vectors = tf.constant(QUERIES[:1]), tf.constant(VECTORS[rows])
    with tf.GradientTape() as tape:
        tape.watch([queries, vectors])
        loss = SampledSoftmax(TRAINED, negatives=2).loss(queries, np.array([1]), vectors, rows)
    gradients = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(loss, [queries, vectors])]
    assert loss.numpy().tolist() == [0]
    assert not any(one.any() for one in gradients)


def test_every_item_as_a_negative_is_the_full_softmax():
    """With each item drawn once and the own one masked, the two objectives are one."""
    negatives = np.concatenate([[0], TARGETS, ROWS]).astype("int32")
    places = np.arange(1, len(TARGETS) + 1)
    sampled = SampledSoftmax(TRAINED, negatives=len(ROWS)).loss(QUERIES, places, VECTORS[negatives], negatives)
    full = FullSoftmax(TRAINED).loss(QUERIES, TARGETS, VECTORS)
    np.testing.assert_allclose(sampled.numpy(), full.numpy(), atol=1e-5)


def test_a_negative_is_needed():
    with pytest.raises(ValueError, match="`negatives` must be at least 1; received 0"):
        SampledSoftmax(TRAINED, negatives=0)


@pytest.mark.parametrize("objective", [FullSoftmax(TRAINED), SampledSoftmax(TRAINED, 7), GBCE(TRAINED, 7, 0.5)])
def test_an_objective_is_made_again_from_its_config(objective):
    rebuilt = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
    assert type(rebuilt) is type(objective)
    assert rebuilt.get_config() == objective.get_config()
    assert rebuilt.trained_rows.tolist() == ROWS.tolist()


# -- binary cross-entropy --------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("calibration", "power"), [(0.0, 1.0), (1.0, 2 / 4), (0.5, 3 / 4)])
def test_gbce_by_hand(calibration, power):
    """Five trained items, two negatives: the sampling rate is 2 / 4. Logits are scores and log(power / 2)."""
    objective = GBCE(TRAINED, negatives=2, calibration=calibration)
    rows, targets = np.array([0, 1, 5, 2, 5], "int32"), np.array([1, 2], "int32")
    loss = objective.loss(QUERIES[:2], targets, VECTORS[rows], rows).numpy()
    offset = np.log(power / 2)
    first = -power * np.log(sigmoid(QUERIES[0] @ VECTORS[1] + offset)) - sum(
        np.log(1 - sigmoid(QUERIES[0] @ VECTORS[row] + offset)) for row in (2, 5)
    )
    second = -power * np.log(sigmoid(QUERIES[1] @ VECTORS[5] + offset))
    second -= np.log(1 - sigmoid(QUERIES[1] @ VECTORS[2] + offset))
    np.testing.assert_allclose(loss, [first / 3, second / 3], rtol=1e-5)


@pytest.mark.parametrize("calibration", [0.0, 0.75])
@pytest.mark.parametrize("negatives", [1, 50, 500])
def test_gbce_pulls_a_target_as_much_as_it_pushes_all_negatives_where_no_item_stands_out(negatives, calibration):
    objective = GBCE(np.arange(1, 1002), negatives=negatives, calibration=calibration)
    rows = np.concatenate([[0, 1], np.full(negatives, 2)]).astype("int32")
    vectors = tf.zeros([len(rows), 3])
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = objective.loss(tf.ones([1, 3]), np.array([1], "int32"), vectors, rows)
    slope = tape.gradient(loss, vectors).numpy()
    assert (slope[1] < 0).all()
    np.testing.assert_allclose(slope[2:].sum(axis=0), -slope[1], rtol=1e-4)


def test_gbce_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="`calibration` must be from 0 to 1; received 1.5"):
        GBCE(TRAINED, calibration=1.5)
    with pytest.raises(ValueError, match="`negatives` must be at least 1; received 0"):
        GBCE(TRAINED, negatives=0)
    assert GBCE([1, 2], negatives=100).power == 1
