import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrec.retrieval import TFRSRetrieval

ITEMS, DIM = 7, 3
COUNTS = np.array([0, 50, 5, 1, 10, 4, 0])
TRAINED = COUNTS > 0
RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, DIM)).astype("float32")
VECTORS = RNG.normal(size=(ITEMS, DIM)).astype("float32")
TARGETS = np.array([1, 4, 1, 3], "int32")


def by_hand(targets, negatives, probability):
    """Cross-entropy of each position against the batch's targets and the negatives, position by position."""
    candidates = [*targets, *negatives]
    losses = []
    for i, own in enumerate(targets):
        corrected = [QUERIES[i] @ VECTORS[row] - np.log(probability(row)) for row in candidates]
        competes = [place == i or row != own for place, row in enumerate(candidates)]
        total = sum(np.exp(logit) for logit, counts in zip(corrected, competes, strict=True) if counts)
        losses.append(np.log(total) - corrected[i])
    return losses


def loss_of(objective, targets, negatives):
    rows = np.concatenate([[0], np.unique(targets), negatives]).astype("int32")
    places = 1 + np.searchsorted(np.unique(targets), targets)
    return objective.loss(QUERIES, places.astype("int32"), VECTORS[rows], rows).numpy()


def test_loss_by_hand():
    """Probabilities are the mixture's: 4 draws by popularity (of 70 events), 3 uniform ones of 5 items."""
    objective = TFRSRetrieval(TRAINED, COUNTS, negatives=3)
    negatives = [2, 1, 5]  # 1 is a target too: an accidental hit for the positions that want it.
    expected = by_hand(TARGETS, negatives, lambda row: (4 * COUNTS[row] / 70 + 3 / 5) / (4 + 3))
    np.testing.assert_allclose(loss_of(objective, TARGETS, negatives), expected, atol=1e-5)


def test_loss_without_extra_negatives():
    objective = TFRSRetrieval(TRAINED, COUNTS, negatives=0)
    expected = by_hand(TARGETS, [], lambda row: COUNTS[row] / 70)
    np.testing.assert_allclose(loss_of(objective, TARGETS, []), expected, atol=1e-5)


def test_gradient_is_that_of_the_loss():
    objective = TFRSRetrieval(TRAINED, COUNTS, negatives=3)
    rows = np.array([0, 1, 3, 4, 2, 1, 5], "int32")
    places = np.array([1, 3, 1, 2], "int32")
    queries, vectors = tf.constant(QUERIES), tf.constant(VECTORS[rows])
    with tf.GradientTape() as tape:
        tape.watch([queries, vectors])
        loss = tf.reduce_sum(objective.loss(queries, places, vectors, rows))
    for tensor, gradient in zip([queries, vectors], tape.gradient(loss, [queries, vectors]), strict=True):
        gradient = tf.convert_to_tensor(gradient).numpy()
        step = np.zeros(tensor.shape, "float32")
        step[2, 1] = 1e-2
        sides = [tensor.numpy() + step, tensor.numpy() - step]
        arguments = [(side, vectors) if tensor is queries else (queries, side) for side in sides]
        above, below = (float(tf.reduce_sum(objective.loss(q, places, v, rows))) for q, v in arguments)
        assert gradient[2, 1] == pytest.approx((above - below) / 2e-2, abs=2e-3)


def test_probabilities_of_a_large_catalogue_are_within_what_tfrs_takes():
    counts = np.concatenate([[0], 1e7 / np.arange(1, 1_000_001)])  # A million items, popularity by Zipf.
    objective = TFRSRetrieval(counts > 0, counts, negatives=1024)
    probability = objective.sampling_probability(np.array([1, 2, 1_000, 1_000_000]), 4096).numpy()
    assert 1e-6 < probability.min() < probability.max() == pytest.approx(1)
    mixture = 4096 * counts / counts.sum() + 1024 / 1e6
    np.testing.assert_allclose(probability, mixture[[1, 2, 1_000, 1_000_000]] / mixture.max(), rtol=1e-4)


def test_an_item_too_rare_for_tfrs_is_still_corrected():
    """A probability under the 1e-6 at which TFRS clips is corrected by the difference outside."""
    counts = np.array([0, 10**9, 10, 1, 10**8, 2, 0])
    objective = TFRSRetrieval(counts > 0, counts, negatives=0)
    assert objective.sampling_probability(np.array([3]), 4).numpy() < 1e-8
    expected = by_hand(TARGETS, [], lambda row: counts[row] / counts.sum())
    np.testing.assert_allclose(loss_of(objective, TARGETS, []), expected, atol=1e-4)


def test_a_target_without_a_count_stays_finite():
    objective = TFRSRetrieval(np.arange(1, ITEMS), COUNTS, negatives=0)
    assert np.isfinite(loss_of(objective, np.array([6, 1, 4, 6]), [])).all()


def test_config_makes_it_again():
    objective = TFRSRetrieval(TRAINED, COUNTS, negatives=3)
    rebuilt = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
    assert rebuilt.get_config() == objective.get_config()
    negatives = [2, 1, 5]
    np.testing.assert_array_equal(loss_of(rebuilt, TARGETS, negatives), loss_of(objective, TARGETS, negatives))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TRAINED, COUNTS, -1), "`negatives` must be 0 or more; received -1"),
        ((TRAINED, COUNTS[:4], 3), "`counts` must have a value for each of the rows up to 5; received 4 values"),
        ((np.zeros(3, bool), COUNTS, 3), "`trained` names no item"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TFRSRetrieval(*arguments)


LATE = """
import numpy as np
import tensorflow as tf
tf.keras.layers.Dense
from tfrec.retrieval import FullSoftmax, TFRSRetrieval
FullSoftmax([1, 2])
try:
    TFRSRetrieval([1, 2], np.ones(3))
except ValueError as error:
    print(error)
"""
IN_TIME = """
import numpy as np
import tensorflow as tf
from tfrec.retrieval import TFRSRetrieval
print(TFRSRetrieval([1, 2], np.ones(3)).negatives)
"""


def run_afresh(script):
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_keras_touched_before_tfrec_is_explained():
    message = run_afresh(LATE)
    assert "TF_USE_LEGACY_KERAS=1" in message
    assert "Import tfrec before" in message


def test_tensorflow_may_be_imported_first():
    assert run_afresh(IN_TIME).strip() == "1024"
