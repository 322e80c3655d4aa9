"""Users who walk through a catalogue in a circle, and small models to learn it; shared by the tests of this room."""

import keras
import numpy as np
import tensorflow as tf

from tfrec.features import HISTORY, RELEVANT, SEEN, TARGET, USER_ID
from tfrec.retrieval import GBCE, FullSoftmax, SampledSoftmax, TFRSRetrieval, TwoTower
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower

ITEMS = 12  # Row 0 is padding.
ROWS = np.arange(1, ITEMS)
OBJECTIVES = {
    "softmax": lambda: FullSoftmax(ROWS),
    "sampled_softmax": lambda: SampledSoftmax(ROWS, negatives=6),
    "gbce": lambda: GBCE(ROWS, negatives=6),
    "retrieval": lambda: TFRSRetrieval(ROWS, np.where(np.arange(ITEMS) > 0, 5, 0), negatives=6),
}


def following(rows):
    return rows % (ITEMS - 1) + 1


def train_batch(users=11, length=4, seed=0):
    """Histories of 0..length events, and what follows each event; the first event is no target."""
    rng = np.random.default_rng(seed)
    walk = [rng.integers(1, ITEMS, users)]
    for _ in range(length):
        walk.append(following(walk[-1]))
    walk = np.stack(walk, axis=1).astype("int32")
    lengths = rng.integers(1, length + 1, (users, 1))
    steps = np.arange(length + 1)
    return {
        HISTORY: np.where(steps[:-1] < lengths, walk[:, :-1], 0),
        TARGET: np.where((steps > 0) & (steps <= lengths), walk, 0),
    }


def test_batch(users=11, length=4, seed=1):
    """As the validation batches of a data set: what follows is relevant, nothing is removed as seen."""
    batch = train_batch(users, length, seed)
    last = batch[HISTORY][np.arange(users), (batch[HISTORY] > 0).sum(axis=1) - 1]
    return {
        HISTORY: batch[HISTORY],
        SEEN: np.zeros((users, 1), "int32"),
        RELEVANT: following(last)[:, None].astype("int32"),
        USER_ID: np.array([f"用户{user}" for user in range(users)]),
    }


test_batch.__test__ = False


def as_dataset(*batches):
    """Batches whose sizes the graph does not know, as those of a data set."""
    spec = {
        name: tf.TensorSpec([None] * values.ndim, tf.as_dtype(values.dtype) if values.dtype.kind != "U" else tf.string)
        for name, values in batches[0].items()
    }
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec).apply(
        tf.data.experimental.assert_cardinality(len(batches))
    )


def two_tower(objective="softmax", *, dim=8, dropout=0.0, encoder=None, tower=None, **kwargs):
    """A model of one encoder, compiled, with weights that a seed makes."""
    keras.utils.set_random_seed(7)
    encoders = [encoder or ConvolutionEncoder(dim, blocks=1, kernel=2, dropout=dropout)]
    model = TwoTower(
        ItemTower(dim, ITEMS),
        tower or BehaviorTower(dim, encoders, dropout=dropout),
        OBJECTIVES[objective]() if isinstance(objective, str) else objective,
        **kwargs,
    )
    model.compile(keras.optimizers.Adam(0.02))
    return model
