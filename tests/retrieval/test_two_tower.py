import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.retrieval.cycles import (
    ITEMS,
    OBJECTIVES,
    ROWS,
    as_dataset,
    following,
    test_batch,
    train_batch,
    two_tower,
)
from tfrec.features import EVENT_TYPE, HISTORY, RELEVANT, SEEN, TARGET, TIMESTAMP, USER_ID, batch_spec
from tfrec.retrieval import FullSoftmax, TwoTower
from tfrec.retrieval.ranks import REMOVED
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower

DIM = 8
ENCODER = ConvolutionEncoder(DIM, blocks=1)


def states_of(model, batch):
    """Each row's queries, computed row by row without padding."""
    vectors = model.item_vectors().numpy()
    lengths = (batch[HISTORY] > 0).sum(axis=1)
    histories = [vectors[row[:length]][None] for row, length in zip(batch[HISTORY], lengths, strict=True)]
    return [model.states(history, {}).numpy()[0] if history.size else None for history in histories]


# -- the forward pass ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_score_is_the_product_of_state_and_item(similarity):
    model, batch = two_tower(similarity=similarity, temperature=0.5), test_batch()
    vectors = model.item_vectors().numpy()
    scores = model(batch).numpy()
    for row, states in zip(scores, states_of(model, batch), strict=True):
        np.testing.assert_allclose(row[1:], (vectors @ states[-1])[1:], atol=1e-4)
    assert (scores[:, 0] == np.float32(REMOVED)).all()


def test_dot_divides_the_tower_by_the_temperature():
    model, batch = two_tower(temperature=0.25), test_batch()
    vectors = model.item_tower().numpy()
    states = model.behavior_tower(vectors[batch[HISTORY]] * model.item_tower.dim**0.5).numpy()
    np.testing.assert_allclose(model.item_vectors().numpy(), vectors)
    np.testing.assert_allclose(model.states(vectors[batch[HISTORY]], {}).numpy(), states / 0.25, rtol=1e-5)


def test_cosine_scores_are_cosines_over_the_temperature():
    model, batch = two_tower(similarity="cosine"), test_batch()
    vectors = model.item_vectors().numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors[1:], axis=1), 1, atol=1e-3)
    assert not vectors[0].any()
    queries = model.query(vectors, batch).numpy()
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1 / 0.07, rtol=1e-4)
    assert np.abs(model(batch).numpy()[:, 1:]).max() <= (1 + 1e-4) / 0.07


def test_an_empty_history_is_state_0():
    model = two_tower()
    batch = {HISTORY: np.array([[0, 0, 0], [3, 0, 0]], "int32")}
    queries = model.query(model.item_vectors(), batch).numpy()
    empty = model.states(model.item_vectors()[None, :1], {}).numpy()[0, 0]
    np.testing.assert_allclose(queries[0], empty, atol=1e-6)
    assert np.abs(queries[0] - queries[1]).max() > 1e-3


def test_seen_rows_and_no_candidates_are_far_below():
    model, batch = two_tower(candidates=np.array([2, 3, 4, 7])), test_batch(users=2)
    batch[SEEN] = np.array([[3, 4], [0, 0]], "int32")
    allowed = model(batch).numpy() > REMOVED / 2
    assert [np.flatnonzero(row).tolist() for row in allowed] == [[2, 7], [2, 3, 4, 7]]


def test_inputs_are_those_that_the_towers_were_built_for():
    assert two_tower().input_spec_dict == batch_spec()
    tower = BehaviorTower(
        DIM, [ENCODER], event_columns={EVENT_TYPE: 3, "device": 2}, user_columns={"region": 4}, timestamps=True
    )
    spec = two_tower(tower=tower).input_spec_dict
    assert set(spec) == {HISTORY, EVENT_TYPE, "event_device", TIMESTAMP, "user_region"}


# -- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_loss_is_the_mean_over_the_positions_with_a_target(similarity):
    model, batch = two_tower(similarity=similarity), train_batch()
    vectors, losses = model.item_vectors().numpy(), []
    for states, target in zip(states_of(model, batch), batch[TARGET], strict=True):
        for place in np.flatnonzero(target):
            logits = (vectors @ states[place])[ROWS]
            losses.append(np.log(np.exp(logits).sum()) - logits[target[place] - 1])
    assert len(losses) == (batch[TARGET] > 0).sum() < batch[TARGET].size
    assert float(model.compute_loss(batch, training=False)) == pytest.approx(np.mean(losses), abs=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_padding_adds_nothing_to_the_loss(objective):
    model, batch = two_tower(objective), train_batch()
    padded = {name: np.pad(values, [(0, 3), (0, 20)]) for name, values in batch.items()}
    losses = []
    for features in (batch, padded):
        if model.seeds is not None:
            model.seeds.state.assign([1, 2])
        losses.append(float(model.compute_loss(features, training=False)))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_batch_without_targets_has_no_loss_and_does_no_harm(objective):
    model, batch = two_tower(objective), train_batch()
    batch[TARGET][:] = 0
    model.fit(as_dataset(batch), verbose=0)
    assert float(model.compute_loss(batch)) == 0
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_reach_both_towers(objective):
    model, batch = two_tower(objective), train_batch(users=40)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    weights = model.trainable_weights
    gradients = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(loss, weights)]
    silent = [weight.path for weight, one in zip(weights, gradients, strict=True) if not np.abs(one).max() > 0]
    assert {weight.path.partition("/")[0] for weight in weights} == {model.item_tower.name, model.behavior_tower.name}
    # The first state has no target in these batches, so that nothing is learnt of the empty history.
    assert [path.rpartition("/")[2] for path in silent] == ["empty_history"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_xla_computes_the_same_gradients(objective):
    """Sizes that the graph does not know are where XLA goes wrong without a word."""
    model, batch = two_tower(objective, dim=4), train_batch(users=5)
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in batch}

    def gradients(features):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(features, training=True)
        return [loss, *[tf.convert_to_tensor(one) for one in tape.gradient(loss, model.trainable_weights)]]

    found = []
    for compiled in (False, True):
        if model.seeds is not None:
            model.seeds.state.assign([1, 2])
        run = tf.function(gradients, input_signature=[spec], autograph=False, jit_compile=compiled)
        found.append([one.numpy() for one in run({name: tf.constant(values) for name, values in batch.items()})])
    for plain, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=2e-6)


def test_a_step_touches_the_rows_of_its_batch_alone():
    """Under sampled objectives an item that is in no batch and no draw keeps its vector."""
    model = two_tower("sampled_softmax")
    encoded = []
    item_vectors = model.item_vectors
    model.item_vectors = lambda rows=None, training=False: (encoded.append(rows), item_vectors(rows, training))[1]
    model.compute_loss(train_batch(users=2, length=2))
    assert len(encoded) == 1
    assert encoded[0].shape[0] <= 1 + 2 * 5 + 6


# -- what is refused -------------------------------------------------------------------------------------------------


def test_an_optimizer_of_keras_2_is_refused():
    model = two_tower()
    with pytest.raises(ValueError, match=r"received tf_keras\..*Adam\. Use keras\.optimizers\.Adam\.$"):
        model.compile(tf_keras.optimizers.Adam(1e-3))


def test_optimizers_are_named_or_given():
    model = two_tower()
    model.compile("adam")
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    with pytest.raises(ValueError, match="received builtins.float. Use keras.optimizers.AdamW"):
        model.compile(0.001)


@pytest.mark.parametrize("given", [{"loss": "mse"}, {"metrics": ["accuracy"]}])
def test_a_loss_beside_the_objective_is_refused(given):
    with pytest.raises(ValueError, match=f"`{next(iter(given))}` must be left out"):
        two_tower().compile("adam", **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": "l2"}, "`similarity` must be 'dot' or 'cosine'; received 'l2'"),
        ({"temperature": 0}, "`temperature` must be positive; received 0"),
        ({"temperature": -1.0}, "`temperature` must be positive; received -1.0"),
        ({"temperature": float("nan")}, "`temperature` must be positive; received nan"),
        ({"temperature": "hot"}, "`temperature` must be a positive number or 'learnt'; received 'hot'"),
        ({"candidates": [0, 1]}, "`candidates` must be rows from 1 to 11; received 0 to 1"),
        ({"candidates": [3, ITEMS]}, "`candidates` must be rows from 1 to 11; received 3 to 12"),
        ({"candidates": []}, "rows of at least one item; received 0"),
        ({"candidates": np.ones(ITEMS, bool)}, "received 12 of bool"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        two_tower(**arguments)


def test_towers_of_two_widths_are_refused():
    with pytest.raises(ValueError, match="one width `dim`; received 4 of the item tower and 8 of the behaviour tower"):
        TwoTower(ItemTower(4, ITEMS), BehaviorTower(8, [ENCODER]), FullSoftmax(ROWS))


def test_the_fixtures_are_cycles():
    assert following(np.array([1, 11])).tolist() == [2, 1]
    batch = test_batch()
    assert set(batch) == {HISTORY, SEEN, RELEVANT, USER_ID}
    assert batch[RELEVANT].min() >= 1
