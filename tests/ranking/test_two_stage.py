"""Two stages as one: it starts at the order of the first, learns beside it, and comes back from disk the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.ranking.decay import decayed
from tests.retrieval.cycles import ITEMS, OBJECTIVES, following, test_batch, two_tower
from tfrec.data import EvaluationUsers, Ragged
from tfrec.features import CANDIDATES, HISTORY, NEXT, NORMALISER, SEEN, STATE, label_feature
from tfrec.ranking import (
    Diversity,
    Evidence,
    Perceptron,
    TargetAttention,
    TwoStage,
    VectorInputs,
    load_two_stage,
    recalled_lists,
)
from tfrec.ranking.evidence import DECAY, RECENT, VECTORS
from tfrec.ranking.list_losses import list_loss
from tfrec.ranking.two_stage import normaliser
from tfrec.retrieval import TwoTower
from tfrec.retrieval.ranks import REMOVED
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower

NEAR = np.array([[following(np.int64(row)), 0] if row else [0, 0] for row in range(ITEMS)], "int32")


def two_stage(*, vectors=True, **changes):
    retrieval = two_tower()
    evidence = Evidence(ITEMS, 2, text=False, name="evidence")
    evidence.build()
    evidence.set_tables(np.arange(ITEMS), NEAR, (NEAR > 0).astype("float32"))
    inputs = VectorInputs(8, products=True, attention=TargetAttention(8, 2)) if vectors else None
    model = TwoStage(
        retrieval, evidence, [Perceptron([8], 0.1, name="mlp")], vectors=inputs, **{"recall": 6, "rank": 3, **changes}
    )  # fmt: skip
    model.compile(keras.optimizers.Adam(0.02))
    return model


@pytest.fixture(scope="module")
def model():
    return two_stage()


@pytest.fixture(scope="module")
def features():
    batch = test_batch()
    return {name: tf.constant(values) for name, values in batch.items() if values.dtype.kind != "U"}


def training_batch(features):
    """What follows, and two items that do not, one of them absent."""
    history = features[HISTORY].numpy()
    last = history[np.arange(len(history)), (history > 0).sum(axis=1) - 1]
    rows = np.stack([following(last), following(following(last)), np.zeros_like(last)], axis=1).astype("int32")
    labels = np.where(rows > 0, np.array([[1, 0, np.nan]]), np.nan).astype("float32")
    known = {NORMALISER: np.ones(len(rows), "float32"), STATE: np.ones((len(rows), 8), "float32")}
    return {HISTORY: history, CANDIDATES: rows, label_feature(NEXT): labels, **known}


def test_before_training_the_order_is_that_of_recall_alone(model, features):
    tables = model.item_tables()
    for k in (3, 6):
        ours, theirs = model.top(tables, features, k), model.retrieval.top(tables["vectors"], features, k)
        assert (ours[0].numpy() == theirs[0].numpy()).all()
    assert model(features)[0].shape == (11, 3)


def test_training_moves_the_second_stage_and_leaves_the_first(features):
    model, batch = two_stage(), training_batch(features)
    frozen = [weight.numpy().copy() for weight in model.retrieval.variables]
    losses = [float(model.train_on_batch(batch)) for _ in range(25)]
    assert losses[-1] < losses[0] - 0.1
    assert all((before == after.numpy()).all() for before, after in zip(frozen, model.retrieval.variables, strict=True))
    moved = (
        model.top(model.item_tables(), features, 6)[0].numpy() != two_stage().top(model.item_tables(), features, 6)[0]
    )
    assert moved.numpy().any()
    own = len(model.variables) - len(model.retrieval.variables)
    assert 0 < len(model.trainable_weights) < own


def test_what_is_removed_stays_so_and_recall_ends_with_the_catalogue(features):
    model = two_stage(recall=50, vectors=False)
    model.last.kernel.assign(tf.ones_like(model.last.kernel))  # What lies far below the rest moves much with weights.
    seen = np.tile(np.arange(1, 9, dtype="int32"), (11, 1))
    rows, scores = model.top(model.item_tables(), {**features, SEEN: tf.constant(seen)}, 50)
    assert rows.shape == (11, ITEMS - 1)
    assert (scores[:, :3] > REMOVED / 2).numpy().all() and (scores[:, 3:] <= REMOVED / 2).numpy().all()
    assert set(rows[:, :3].numpy().ravel()) == {9, 10, 11}


def test_a_saved_model_answers_as_it_did(tmp_path, features):
    model = two_stage(diversity=Diversity(0.3, most=1, shape=(ITEMS, 1)), loss="binary")
    model.diversity.set_categories(np.arange(ITEMS)[:, None] % 3)
    model.train_on_batch(training_batch(features))
    model.evidence.adapt(np.random.default_rng(0).normal(size=(9, model.evidence.width)))
    model.save(tmp_path / "model.keras")
    again = load_two_stage(tmp_path / "model.keras")
    assert (again.recall, again.rank, again.loss_name, again.diversity.most) == (6, 3, "binary", 1)
    for ours, theirs in zip(model(features), again(features), strict=True):
        assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-6)
    model.retrieval.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="holds a TwoTower, and no two-stage model"):
        load_two_stage(tmp_path / "other.keras")


def test_what_speaks_for_a_candidate(model):
    unit = np.eye(ITEMS, 8, dtype="float32")
    unit[3] = [0.6, 0.8, 0, 0, 0, 0, 0, 0]
    history, rows = np.array([[1, 0, 0], [3, 1, 2]], "int32"), np.array([[3, 2], [3, 2]], "int32")
    raw = model.evidence.raw(
        {"vectors": tf.constant(unit)}, tf.constant(history), rows, tf.constant([[-1.0, -2], [0, 0]])
    )
    raw = raw.numpy()
    assert raw.shape == (2, 2, model.evidence.width)
    assert raw[0, :, 0].tolist() == [-1, -2]
    assert raw[0, :, 1] == pytest.approx(np.log1p([3, 2]))
    assert raw[:, 0, 2] == pytest.approx(np.log1p([1, 3]))
    # Cosines of item 3 to what was had last (2), at most (3 itself), and summed: 0 for 2, 0.8 for 1, 1 for 3.
    assert raw[1, 0, 3:6] == pytest.approx([0.0, 1.0, 0.8 * DECAY + DECAY**2])
    # Item 2 follows 1, item 3 follows 2.
    assert raw[1, 0, 6:9] == pytest.approx([1, 1, 1]) and raw[1, 1, 6:9] == pytest.approx([0, 1, DECAY])
    assert RECENT >= 3


def test_texts_are_compared_by_what_is_their_own():
    tower = ItemTower(8, ITEMS, text_width=3)
    tower.build()
    text = np.zeros((ITEMS, 3), "float32")
    text[1:4] = [[1, 1, 0], [1, 0, 1], [1, 0, 1]]
    tower.set_features(text=text)
    encoder = ConvolutionEncoder(8, blocks=1, kernel=2)
    retrieval = TwoTower(tower, BehaviorTower(8, [encoder]), OBJECTIVES["softmax"]())
    model = TwoStage(retrieval, Evidence(ITEMS, 2, text=True), [Perceptron([4])], recall=6, rank=3)
    found = model.item_tables()["text"].numpy()
    assert np.linalg.norm(found, axis=1) == pytest.approx([0, 1, 1, 1] + [0] * (ITEMS - 4), abs=1e-6)
    assert found[2] @ found[3] == pytest.approx(1) and found[1] @ found[2] == pytest.approx(-1)  # Without their mean.
    raw = model.evidence.raw(model.item_tables(), tf.constant([[2]]), tf.constant([[3, 1]]), tf.zeros([1, 2])).numpy()
    assert raw.shape[2] == model.evidence.width == 12
    assert raw[0, :, 9:] == pytest.approx(np.array([[1.0] * 3, [-1.0] * 3]))


def test_nearness_is_a_cosine_whatever_the_vectors_are():
    vectors = np.random.default_rng(1).normal(scale=3, size=(ITEMS, 8)).astype("float32")
    evidence = Evidence(ITEMS, 2, text=False, dim=8)
    evidence.build()
    asked = tf.constant([[2, 3]]), tf.constant([[4, 5, 6]]), tf.zeros([1, 3])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with_bonus = np.concatenate([vectors, np.full((ITEMS, 1), 7, "float32")], axis=1)
    for table in (vectors, unit, with_bonus):
        raw = evidence.raw({VECTORS: tf.constant(table)}, *asked).numpy()[0]
        np.testing.assert_allclose(raw[:, 3], unit[[4, 5, 6]] @ unit[3], atol=1e-5)
        np.testing.assert_allclose(raw[:, 4], (unit[[4, 5, 6]] @ unit[[2, 3]].T).max(axis=1), atol=1e-5)


def test_biases_do_not_decay():
    model = two_stage()
    weights = model.trainable_weights
    kept = {weight.path for weight in weights} - decayed(model)
    assert kept == {weight.path for weight in weights if len(weight.shape) < 2} and len(kept) < len(weights)


def test_nothing_is_known_of_an_empty_history(model):
    tables, nothing = model.item_tables(), tf.zeros([1, 1], tf.int32)
    raw = model.evidence.raw(tables, nothing, tf.constant([[3, 4]]), tf.zeros([1, 2])).numpy()
    assert not raw[0, :, 3:].any()
    rows, scores = model.top(tables, {HISTORY: nothing}, 3)
    assert rows.shape == (1, 3) and np.isfinite(scores).all()


def test_losses_by_hand():
    labels, logits = tf.constant([[1.0, 0.0, np.nan], [0.0, 0.0, 0.0]]), tf.constant([[2.0, 1.0, 9.0], [1.0, 1.0, 1.0]])
    assert float(list_loss("softmax")(labels, logits)) == pytest.approx(np.log(1 + np.exp(-1.0)))
    each = [np.log1p(np.exp(-2.0)), *([np.log1p(np.exp(1.0))] * 4)]
    assert float(list_loss("binary")(labels, logits)) == pytest.approx(np.mean(each))
    with pytest.raises(ValueError, match="`loss` must be 'softmax' or 'binary'; received 'hinge'"):
        list_loss("hinge")


def test_mined_lists_are_in_the_order_of_the_users(model):
    histories = [[5, 6, 7], [2], [9, 10]]
    lengths = [len(one) for one in histories]
    ids = np.array(["a", "b", "c"])
    lists = Ragged(ids, np.concatenate(histories).astype("int32"), np.concatenate([[0], np.cumsum(lengths)]))
    nothing = Ragged(ids, lists.rows[:0], np.zeros(4, np.int64))
    users = EvaluationUsers(lists, lists, nothing, {}, {}, 4, np.zeros(0, "int32"))
    found = recalled_lists(model.retrieval, users, 50, batch_size=2)
    vectors = model.retrieval.item_vectors()
    for place, history in enumerate(histories):
        scores = model.retrieval.scores(vectors, {HISTORY: np.array([history], "int32"), SEEN: np.array([history])})
        order = np.argsort(-scores.numpy()[0], kind="stable")[: ITEMS - 1 - len(history)]
        assert found.rows[place, : len(order)].tolist() == order.tolist()
        assert not found.rows[place, len(order) :].any()
        assert found.states[place] @ vectors.numpy()[order[0]] == pytest.approx(float(scores[0, order[0]]), rel=1e-4)
        assert found.normaliser[place] == pytest.approx(float(normaliser(scores)[0]), rel=1e-5)


def test_what_cannot_be_joined_is_named():
    with pytest.raises(ValueError, match="`interactions` must hold at least one layer; received none"):
        TwoStage(two_tower(), Evidence(ITEMS, 2, text=False), [])
    with pytest.raises(ValueError, match="`rank` must be from 1 to `recall`; received rank=9, recall=4"):
        two_stage(recall=4, rank=9)
    with pytest.raises(ValueError, match="`products` is false and there is no `attention`"):
        VectorInputs(8, products=False)
