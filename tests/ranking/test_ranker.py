"""The ranker judges candidates by their own past, learns what is there to learn, and comes back from disk the same."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tf_keras

from tests.ranking.decay import decayed
from tfrec import build, config
from tfrec.data import EventColumns, Label, PrepareOptions, prepare
from tfrec.features import AFTER, CANDIDATES, HISTORY, SHIFT, context_feature, label_feature
from tfrec.ranking import BinaryHead, CandidateContext, Perceptron, Ranker, load_ranker, predict
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower

DIM, ITEMS, USERS = 8, 12, 160
MODEL = config.Model(
    dim=DIM, text=config.Text(source="none"), behavior=("convolution",), dropout=0.0, input_dropout=0.0
)  # fmt: skip


def log(seed=0):
    """A user likes the items of one colour, those of even or those of odd numbers; on the first slot all like more."""
    rng = np.random.default_rng(seed)
    users, events = np.arange(USERS), 20
    what = rng.integers(0, ITEMS, (USERS, events))
    slot = rng.integers(0, 2, (USERS, events))
    likes = np.where((what % 2 == users[:, None] % 2), 0.9, 0.1)
    liked = rng.random((USERS, events)) < np.where(slot == 0, likes, likes / 2)
    return pd.DataFrame(
        {
            "user_id": np.repeat([f"u{user:03d}" for user in users], events),
            "item_id": [f"i{item:02d}" for item in what.ravel()],
            "position": np.tile(np.arange(events), USERS),
            "slot": np.where(slot == 0, "first", "later").ravel(),
            "liked": liked.ravel().astype(int),
            "stars": 1 + 4 * liked.ravel(),
            "seen": np.where(liked, "yes", "no").ravel(),
        }
    )


@pytest.fixture(scope="module")
def data():
    labels = {"like": Label("liked"), "stars": Label("stars", range=(1, 5))}
    columns = EventColumns(position="position", context=("seen", "slot"), labels=labels)
    return prepare(log(), options=PrepareOptions(events=columns, split="folds_users"))


def batch(data, split="test"):
    return next(iter(build.ranking_data(data, config.Ranking(context=("slot",))).judged(split)[0].as_numpy_iterator()))


def ranker(data, **changes):
    return build.ranker(data, MODEL, config.Ranking(), seed=1, **{"context": ["slot"], **changes})


INTERACTIONS = (["mlp"], ["cross"], ["target_attention", "mlp"], ["target_attention", "cross", "mlp"])


@pytest.mark.parametrize("interactions", INTERACTIONS)
def test_a_candidate_is_judged_by_its_own_past_alone(data, interactions):
    model, features = ranker(data, interactions=interactions), batch(data)
    whole = {name: values.numpy() for name, values in model(features).items()}
    row = int(np.argmax((features[CANDIDATES] > 0).sum(axis=1)))
    for place in (0, 3, 9):
        s = features[AFTER][row, place]
        alone = {name: values[row : row + 1] for name, values in features.items()}
        alone |= {name: alone[name][:, :s] for name in (HISTORY, "event_seen", "event_slot")}
        alone |= {name: alone[name][:, place : place + 1] for name in (CANDIDATES, AFTER, context_feature("slot"))}
        for name, values in model(alone).items():
            np.testing.assert_allclose(values[0, 0], whole[name][row, place], atol=1e-5)


def test_without_after_the_whole_history_speaks(data):
    model, features = ranker(data), batch(data)
    length = (features[HISTORY] > 0).sum(axis=1, keepdims=True).astype("int32")
    told = {**features, AFTER: np.broadcast_to(length, features[CANDIDATES].shape)}
    left = {name: values for name, values in features.items() if name != AFTER}
    np.testing.assert_array_equal(model(left)["like"], model(told)["like"])
    assert np.abs(model(left)["like"] - model(features)["like"]).max() > 1e-4


def test_the_loss_is_that_of_the_known_labels_of_every_head(data):
    model, features = ranker(data, weights={"stars": 2.0}), batch(data)
    like = label_feature("like")
    features[like] = np.where(features[AFTER] < 3, np.nan, features[like])
    logits, known = model(features), ~np.isnan(features[like])
    by_hand = {
        head.name: head.loss(features[label_feature(head.name)][where], logits[head.name].numpy()[where])  # fmt: skip
        for head, where in zip(model.heads, (known, features[CANDIDATES] > 0), strict=True)
    }
    np.testing.assert_allclose(
        model.compute_loss(features, training=False), by_hand["like"] + 2 * by_hand["stars"], rtol=1e-5
    )


@pytest.fixture(scope="module")
def trained(data):
    settings = config.Ranking(context=("slot",), neutral=("slot",), labels=("like",))
    model = build.ranker(data, MODEL, settings, seed=1)
    model.compile(keras.optimizers.AdamW(0.01))
    plan = build.ranking_data(data, settings).train_plan(256, seed=1)
    model.fit(plan.dataset(), epochs=10, verbose=0)
    return model


def likes(data, model):
    labelled = build.ranking_data(data, config.Ranking(context=("slot",)))
    batches, events = labelled.judged("test")
    return labelled.truth(events), predict(model, batches)["like"], data.sequences.places[events]


@pytest.mark.slow
def test_it_learns_which_items_a_user_likes_from_what_new_users_did(data, trained):
    truth, found, places = likes(data, trained)
    own = truth.item_id.str[1:].astype(int) % 2 == truth.user_id.str[1:].astype(int) % 2
    late = places >= 8
    assert found[own & late].mean() > found[~own & late].mean() + 0.25
    assert abs(found[own & (places == 0)].mean() - found[~own & (places == 0)].mean()) < 0.1
    figures = trained.evaluate(build.ranking_data(data, config.Ranking(context=("slot",))).judged("test")[0], verbose=0,
                               return_dict=True)  # fmt: skip
    assert set(figures) == {"auc", "log_loss"} and figures["auc"] > 0.75
    np.testing.assert_allclose(
        figures["log_loss"], -np.log(np.where(truth.like == 1, found, 1 - found)).mean(), rtol=1e-3
    )


@pytest.mark.slow
def test_a_neutral_column_shifts_all_alike_and_is_neutral_where_it_is_missing(data, trained):
    features = batch(data)
    codes = data.vocabularies["event_slot"].codes(pd.Series(["first", "later"]))
    name = context_feature("slot")
    first, later, none = (
        trained({**features, name: np.full_like(features[CANDIDATES], code)})["like"].numpy() for code in (*codes, 0)
    )
    shift = (first - later)[features[CANDIDATES] > 0]
    assert shift.min() == pytest.approx(shift.max(), abs=1e-5) and shift.mean() > 0.4
    assert later.mean() < none.mean() < first.mean()
    left = {key: values for key, values in features.items() if key != name}
    np.testing.assert_array_equal(trained(left)["like"], none)


def test_a_missing_value_of_a_neutral_column_is_learnt_whatever_else_is_never_hidden():
    layer = CandidateContext(4, {"slot": 3, "device": 3}, neutral=["slot"], hidden=0.0)
    layer.build()
    for table in layer.tables.values():
        table.assign(np.ones(table.shape) * np.array([[0], [1], [1]]))
    features = {CANDIDATES: np.ones((50, 200), "int32")}
    features |= {context_feature(column): np.full((50, 200), 2) for column in ("slot", "device")}
    (device,), shift = layer(features, training=True)
    assert float(np.mean(device)) == 1 and np.mean(shift) == pytest.approx(0.95, abs=0.01)
    assert float(np.mean(layer(features)[1])) == 1


@pytest.mark.slow
def test_it_comes_back_from_disk_the_same(data, trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded, features = load_ranker(tmp_path / "model.keras"), batch(data)
    np.testing.assert_array_equal(loaded(features)["like"], trained(features)["like"])
    with pytest.raises(FileNotFoundError, match="is not there"):
        load_ranker(tmp_path / "none.keras")


def test_validation_figures_are_of_all_events_whatever_batches_hold_them(data):
    model, features = ranker(data), batch(data)
    model.compile("sgd")
    counts, known = np.array([1, len(features[HISTORY])]), ~np.isnan(features[label_feature("like")])
    for first, last in zip([0, 1], counts, strict=True):
        told = model.test_step({name: values[first:last] for name, values in features.items()})
    found = {name: values.numpy() for name, values in model.predictions(features).items()}
    truth, values = features[label_feature("like")][known], found["like"][known]
    loss = -np.log(np.where(truth == 1, values, 1 - values)).mean()
    assert float(told["like_log_loss"]) == pytest.approx(loss, rel=1e-5)
    known = ~np.isnan(features[label_feature("stars")])
    error = np.abs(features[label_feature("stars")] - found["stars"])[known].mean()
    assert float(told["stars_mae"]) == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("interactions", INTERACTIONS)
def test_every_kind_of_ranker_is_saved_whole(data, interactions, tmp_path):
    model = ranker(data, interactions=interactions, weights="learnt")
    for weight in model.trainable_weights:
        weight.assign(weight + 0.1 * np.random.default_rng(2).normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    loaded, features = load_ranker(tmp_path / "model.keras"), batch(data)
    for name, values in model(features).items():
        np.testing.assert_array_equal(loaded(features)[name], values)
    assert float(loaded.compute_loss(features, training=False)) == float(model.compute_loss(features, training=False))


def test_a_ranker_that_was_saved_compiled_is_attacked_again(data, tmp_path):
    model = ranker(data)
    model.compile("sgd", adversarial=0.3)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").adversarial == 0.3


def slopes(model, features):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(features, training=True)
    found = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return [tf.convert_to_tensor(one).numpy() for one in found]


@pytest.mark.parametrize("attack", ["items", "history"])
def test_an_attacked_step_of_a_ranker_is_the_mean_of_two_gradients(data, attack):
    features, share = {name: tf.constant(values) for name, values in batch(data).items()}, 0.3
    model, again = ranker(data, context=[]), ranker(data, context=[])
    before, first = [weight.numpy() for weight in model.trainable_weights], slopes(again, features)
    table = again.item_tower.embedding
    if attack == "items":
        slope = first[next(place for place, each in enumerate(again.trainable_weights) if each is table)]
        move = share * np.linalg.norm(table.numpy(), axis=1).mean()
        table.assign(table + move * slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-12))
    else:
        shift = tf.zeros((*features[HISTORY].shape, DIM))
        with tf.GradientTape() as tape:
            tape.watch(shift)
            loss = again.compute_loss({**features, SHIFT: shift}, training=True)
        slope = tape.gradient(loss, shift)
        assert float(tf.reduce_max(tf.abs(slope))) > 0  # Histories are read where the shift says so.
        features[SHIFT] = share * tf.math.l2_normalize(slope, axis=-1, epsilon=1e-30)
    second = slopes(again, features)
    model.compile(keras.optimizers.SGD(1.0), adversarial=share, attack=attack)
    model.train_step({name: values for name, values in features.items() if name != SHIFT})
    for old, weight, one, other in zip(before, model.trainable_weights, first, second, strict=True):
        np.testing.assert_allclose(old - weight.numpy(), (one + other) / 2, atol=2e-5)
    assert max(np.abs(one - other).max() for one, other in zip(first, second, strict=True)) > 1e-4


def test_biases_norms_logarithms_and_neutral_shifts_do_not_decay(data):
    model = ranker(data, interactions=["mlp"], neutral=["slot"], weights="learnt")
    weights, found = model.trainable_weights, decayed(model)
    kept = {weight.path for weight in weights} - found
    assert found == {each.path for each in weights if len(each.shape) > 1 and not each.path.endswith("context/slot")}
    for name in ("bias", "gamma", "log_variance", "slot"):
        assert any(path.endswith(name) for path in kept), name


@pytest.mark.parametrize("interactions", INTERACTIONS)
def test_every_weight_is_trained(data, interactions):
    model, features = ranker(data, interactions=interactions, weights="learnt", neutral=["slot"]), batch(data)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.1 * np.random.default_rng(2).normal(size=weight.shape))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(features, training=False)
    weights = model.trainable_weights
    found = tape.gradient(loss, [weight.value for weight in weights])
    assert not [
        w.path
        for w, g in zip(weights, found, strict=True)
        if g is None or not np.abs(tf.convert_to_tensor(g)).max() > 0
    ]


def test_what_does_not_fit_is_refused(data):
    items, tower = ItemTower(DIM, ITEMS), BehaviorTower(DIM, [ConvolutionEncoder(DIM, blocks=1)])
    head, layers = BinaryHead(name="like"), [Perceptron((4,))]
    with pytest.raises(ValueError, match="`heads` must hold one head a label, at least one; received \\[\\]"):
        Ranker(items, tower, [], interactions=layers)
    with pytest.raises(ValueError, match="a label's name is letters, digits, .*; received 'my label'"):
        Ranker(items, tower, [BinaryHead(name="my label")], interactions=layers)
    with pytest.raises(ValueError, match="`interactions` must hold at least one layer"):
        Ranker(items, tower, [head], interactions=[])
    with pytest.raises(ValueError, match="one width `dim`; received 4 of the item tower and 8"):
        Ranker(ItemTower(4, ITEMS), tower, [head], interactions=layers)
    with pytest.raises(ValueError, match="optimizer of Keras 3; received .*Use keras.optimizers.Adam"):
        ranker(data).compile(tf_keras.optimizers.Adam())
    with pytest.raises(ValueError, match="ranking.labels names 'buy'; the data set has like, stars"):
        ranker(data, labels=["buy"])
