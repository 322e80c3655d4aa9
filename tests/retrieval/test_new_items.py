"""New items: whose ids they borrow, that training neither sees nor changes them, and the bonus on their scores."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrec.features import HISTORY, TARGET
from tfrec.retrieval import FullSoftmax, NewItems, TwoTower
from tfrec.towers import BehaviorTower, ItemTower, LSTMEncoder

TRAINED = np.array([0, 1, 1, 1, 1, 0, 0, 0], bool)
# Rows 1 and 2 are alike, 3 and 4 are; 5 is like the former, 6 like the latter, and 7 has no text.
TEXT = np.array(
    [[0, 0, 0], [1, 0.1, 0], [1, -0.1, 0.1], [-1, 0.1, 0.9], [-1, -0.1, 1], [1, 0, 0], [-1, 0, 1], [0, 0, 0]], "float32"
)
BATCH = {HISTORY: tf.constant([[1, 5, 0], [2, 3, 4]]), TARGET: tf.constant([[1, 2, 0, 0], [2, 3, 4, 1]])}


def model(new_items=None, **tower):
    keras.utils.set_random_seed(0)
    items = ItemTower(4, 8, text_width=3, id_dropout=0.0, **tower)
    items.build()
    items.text_projection.fit(TEXT)
    items.set_features(trained=TRAINED, text=TEXT)
    behavior = BehaviorTower(4, [LSTMEncoder(4, dropout=0.0)], dropout=0.0)
    return TwoTower(items, behavior, FullSoftmax(TRAINED), new_items=new_items)


def ids(tower):
    """What each row has besides its text."""
    return tower().numpy() - tower.text_projection(tower.text).numpy()


def test_a_new_item_borrows_the_ids_of_the_nearest_texts():
    two = model(NewItems(neighbours=2))
    before = ids(two.item_tower)
    assert not before[5:].any()
    assert two.new_items.lend(two.item_tower) == 2
    after = ids(two.item_tower)
    np.testing.assert_allclose(after[:5], before[:5], atol=1e-6)
    projected = two.item_tower.text_projection(TEXT).numpy()
    for new, near in ((5, [1, 2]), (6, [3, 4])):
        weights = np.exp(projected[new] @ projected[near].T / 0.05)
        np.testing.assert_allclose(after[new], weights @ before[near] / weights.sum(), atol=1e-5)
    assert not after[7].any()  # No text, no neighbours.


def test_one_neighbour_lends_its_own_id():
    two = model(NewItems(neighbours=1))
    two.lend_ids()
    found = ids(two.item_tower)
    assert any(np.allclose(found[5], found[row], atol=1e-5) for row in (1, 2))


def test_none_lends_nothing_and_takes_back_what_was_lent():
    two = model(NewItems(neighbours=3))
    two.lend_ids()
    assert ids(two.item_tower)[5].any()
    assert NewItems(neighbours=0).lend(two.item_tower) == 0
    np.testing.assert_allclose(ids(two.item_tower)[5:], 0, atol=1e-6)


def test_fit_lends_at_its_end_and_trains_no_borrowed_id():
    two = model()
    two.compile(keras.optimizers.Adam(0.05))
    for _ in range(2):  # The second training begins with ids that were lent after the first.
        two.fit(tf.data.Dataset.from_tensors(BATCH).repeat(3), verbose=0)
        embedding = two.item_tower.embedding.numpy()
        two.lend_ids()
        np.testing.assert_allclose(two.item_tower.embedding.numpy(), embedding, atol=1e-6)
        assert ids(two.item_tower)[5].any()


def test_a_bounded_id_is_lent_as_it_counts():
    two = model(NewItems(neighbours=1), delta=0.2)
    two.item_tower.embedding.assign(np.full((8, 4), 3.0))
    two.lend_ids()
    np.testing.assert_allclose(np.linalg.norm(ids(two.item_tower)[[1, 5, 6]], axis=1), 0.2, atol=1e-4)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_bonus_is_added_to_the_scores_of_new_items_alone(similarity):
    def scores(bonus):
        two = model(NewItems(neighbours=0, bonus=bonus))
        two = TwoTower(
            two.item_tower, two.behavior_tower, two.objective, similarity=similarity, new_items=NewItems(0, bonus)
        )
        loss = float(two.compute_loss(BATCH, training=False))
        return two.scores(two.item_vectors(), {HISTORY: BATCH[HISTORY]}).numpy()[:, 1:], loss

    (plain, loss), (raised, other) = scores(0.0), scores(1.5)
    new = np.array([0, 0, 0, 0, 1, 1, 0])  # Nothing describes the last one: it would rise unread.
    np.testing.assert_allclose(raised - plain, 1.5 * new[None, :].repeat(2, 0), atol=1e-5)
    assert loss == pytest.approx(other, abs=1e-6)  # Training ranks trained items alone.


def test_the_rule_is_saved_with_the_model(tmp_path):
    two = model(NewItems(neighbours=2, bonus=0.7))
    two.lend_ids()
    two.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert (again.new_items.neighbours, again.new_items.bonus) == (2, 0.7)
    np.testing.assert_allclose(again.item_vectors(), two.item_vectors(), atol=1e-6)


def test_fewer_neighbours_than_none_are_refused():
    with pytest.raises(ValueError, match="`neighbours` must be 0 or more; received -1"):
        NewItems(neighbours=-1)


def test_validation_sees_lent_ids_and_training_goes_on_without_them():
    two = model(NewItems(neighbours=2))
    two.compile(keras.optimizers.Adam(0.01))
    batch = {HISTORY: BATCH[HISTORY], "seen": BATCH[HISTORY], "relevant": tf.constant([[6], [5]])}
    two.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0)
    assert not ids(two.item_tower)[5].any()
    lent = two._encoded.vectors.numpy() - two.item_tower.text_projection(TEXT).numpy()
    assert np.abs(lent[[5, 6]]).max(axis=1).min() > 1e-3
