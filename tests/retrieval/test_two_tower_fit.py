import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.retrieval.cycles import ITEMS, OBJECTIVES, as_dataset, test_batch, train_batch, two_tower
from tfrec.retrieval import TwoTower
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower, LiGRBlock, LSTMEncoder, SelfAttentionEncoder

# -- fit, evaluate, predict ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "similarity"),
    [("softmax", "dot"), ("softmax", "cosine"), ("sampled_softmax", "dot"), ("retrieval", "dot")],
)
def test_a_cycle_is_learnt(objective, similarity):
    encoder = SelfAttentionEncoder([LiGRBlock(16, 2, dropout=0.1)])
    model = two_tower(objective, similarity=similarity, cutoff=1, dim=16, encoder=encoder)
    batches = as_dataset(*[train_batch(users=40, seed=seed) for seed in range(30)])
    history = model.fit(batches, epochs=4, verbose=0, validation_data=as_dataset(test_batch(users=60)))
    assert history.history["val_hr@1"][-1] > 0.95
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    assert set(history.history) == {"loss", "val_hr@1", "val_ndcg@1", "val_mrr@1"}


@pytest.mark.slow
def test_eight_blocks_train():
    encoder = SelfAttentionEncoder([LiGRBlock(16, 2, dropout=0.0) for _ in range(8)])
    model = two_tower(dim=16, encoder=encoder)
    model.compile(keras.optimizers.Adam(0.005))
    batches = as_dataset(*[train_batch(users=40, seed=seed) for seed in range(30)])
    loss = model.fit(batches, epochs=3, verbose=0).history["loss"][-1]
    assert loss < 0.5 < np.log(ITEMS - 1)  # A guess among all items costs 2.4; the blocks without their residuals too.


def test_evaluate_averages_over_users_not_batches():
    model = two_tower(cutoff=3)
    batches = [test_batch(users=2), test_batch(users=9, length=2, seed=3)]
    whole = model.evaluate(as_dataset(*batches), verbose=0, return_dict=True)
    parts = [model.evaluate(as_dataset(batch), verbose=0, return_dict=True) for batch in batches]
    assert set(whole) == {"hr@3", "ndcg@3", "mrr@3"}
    for name, value in whole.items():
        assert value == pytest.approx((2 * parts[0][name] + 9 * parts[1][name]) / 11, abs=1e-6)


def test_items_are_encoded_once_an_evaluation_and_never_stale():
    model, tests = two_tower(), [test_batch(seed=seed) for seed in range(4)]
    model.compile(keras.optimizers.Adam(0.5), run_eagerly=True)
    encoded, item_vectors = [], model.item_vectors
    model.item_vectors = lambda *rows, **options: encoded.append(1) or item_vectors(*rows, **options)
    model.evaluate(as_dataset(*tests), verbose=0)
    assert len(encoded) == 1
    model.compile(keras.optimizers.Adam(0.5))
    names = len(model.variables)
    logs = model.fit(
        as_dataset(train_batch()), epochs=3, verbose=0, validation_data=as_dataset(*tests), shuffle=False
    ).history
    assert len({*logs["val_mrr@10"]}) == 3
    assert len(model.variables) == names  # The vectors are no weight.
    for step in range(2):
        fresh = two_tower()
        fresh.set_weights(model.get_weights())
        expected = fresh.evaluate(as_dataset(*tests), verbose=0, return_dict=True)
        if not step:
            assert {name: logs[f"val_{name}"][-1] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert model.evaluate(as_dataset(*tests), verbose=0, return_dict=True) == pytest.approx(expected, abs=1e-6)
        model.item_tower.embedding.assign(model.item_tower.embedding.numpy()[::-1])
    one = as_dataset(tests[0])
    on_batch = model.test_on_batch(next(iter(one)), return_dict=True)
    model.reset_metrics()
    direct = {name: float(value) for name, value in model.test_step(next(iter(one))).items()}
    expected = model.evaluate(one, verbose=0, return_dict=True)
    assert on_batch == pytest.approx(expected, abs=1e-6)
    assert direct == pytest.approx(expected, abs=1e-6)


def test_predict_gives_the_scores():
    model, batch = two_tower(), test_batch()
    np.testing.assert_allclose(model.predict(as_dataset(batch), verbose=0), model(batch).numpy(), atol=1e-5)


def test_one_trace_serves_every_batch():
    model = two_tower()
    calls = {"train": 0, "test": 0}
    train_step, test_step = model.train_step, model.test_step

    def counted(kind, step):
        def run(data):
            calls[kind] += 1
            return step(data)

        return run

    model.train_step, model.test_step = counted("train", train_step), counted("test", test_step)
    batches = as_dataset(*[train_batch(users=3 + i, length=2 + i) for i in range(5)])
    tests = as_dataset(*[test_batch(users=3 + i, length=2 + i) for i in range(5)])
    model.fit(batches, epochs=3, verbose=0, validation_data=tests)
    assert calls == {"train": 1, "test": 1}


def test_xla_may_compile_the_steps():
    """Ids of validation are strings, which XLA does not know: only training is compiled."""
    model = two_tower()
    model.compile(keras.optimizers.Adam(0.02), jit_compile=True)
    history = model.fit(as_dataset(train_batch()), verbose=0, validation_data=as_dataset(test_batch())).history
    assert np.isfinite([values[0] for values in history.values()]).all()
    assert model.predict(as_dataset(test_batch()), verbose=0).shape == (11, ITEMS)
    assert model.jit_compile


@pytest.mark.parametrize(
    ("policy", "objective"),
    [*[("mixed_bfloat16", objective) for objective in OBJECTIVES], ("mixed_float16", "softmax")],
)
def test_half_precision_trains(policy, objective):
    keras.config.set_dtype_policy(policy)
    try:
        model = two_tower(objective, similarity="cosine")
        history = model.fit(as_dataset(*[train_batch()] * 3), verbose=0)
        scores, vectors = model(test_batch()), model.item_vectors()
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(weight.numpy()).all() for weight in model.trainable_weights)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert model.behavior_tower.compute_dtype == policy.partition("_")[2]
    assert scores.dtype == vectors.dtype == tf.float32  # Ranks are not taken from numbers of three digits.
    assert np.isfinite(scores.numpy()).all()
    assert [len(set(row)) for row in scores.numpy()[:, 1:].tolist()] == [ITEMS - 1] * len(scores)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_half_precision_loads_under_any_policy(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        encoders = [SelfAttentionEncoder([LiGRBlock(8, 2)]), LSTMEncoder(8), ConvolutionEncoder(8, blocks=1)]
        features = {"event_columns": {"kind": 3}, "user_columns": {"region": 4}, "timestamps": True}
        items = ItemTower(8, ITEMS, text_width=3, categories={"family": (4, 2)}, numbers=2)
        model = TwoTower(items, BehaviorTower(8, encoders, **features), OBJECTIVES["softmax"]())
        model.save(tmp_path / "model.keras")
        expected = model(test_batch()).numpy()
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(test_batch()).numpy(), expected)
    layers = [layer for layer in loaded._flatten_layers(include_self=False) if "metric" not in type(layer).__module__]
    assert {layer.dtype_policy.name for layer in layers} == {policy}


def test_frozen_towers_stay_as_they_are():
    model = two_tower()
    model.item_tower.trainable = False
    model.compile(keras.optimizers.Adam(0.02))
    before = model.item_tower.embedding.numpy()
    model.fit(as_dataset(train_batch()), verbose=0)
    np.testing.assert_array_equal(model.item_tower.embedding.numpy(), before)


# -- callbacks, saving -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_save_and_load(objective, tmp_path):
    model, batch = two_tower(objective, similarity="cosine", candidates=range(2, ITEMS), cutoff=5), test_batch()
    model.item_tower.set_features(trained=np.arange(ITEMS) != 3)
    model.fit(as_dataset(train_batch()), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(batch).numpy(), model(batch).numpy())
    assert loaded.get_config()["objective"]["config"] == model.get_config()["objective"]["config"]
    assert loaded.candidates == list(range(2, ITEMS))
    assert (loaded.cutoff, loaded.similarity, loaded.temperature.value) == (5, "cosine", 0.07)
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    # One more step on each is the same step.
    for each in (model, loaded):
        if each.seeds is not None:
            each.seeds.state.assign([1, 2])
        each.fit(as_dataset(train_batch(seed=2)), verbose=0)
    np.testing.assert_allclose(loaded(batch).numpy(), model(batch).numpy(), atol=1e-4)


def test_weights_alone_are_saved_and_loaded(tmp_path):
    model, other = two_tower(), two_tower()
    other.fit(as_dataset(train_batch()), verbose=0)
    other.save_weights(tmp_path / "some.weights.h5")
    model.load_weights(tmp_path / "some.weights.h5")
    np.testing.assert_array_equal(model(test_batch()).numpy(), other(test_batch()).numpy())


def test_standard_callbacks(tmp_path):
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=1),
        keras.callbacks.EarlyStopping("val_ndcg@3", mode="max", min_delta=2.0, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_hr@3", mode="max", save_best_only=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    model = two_tower(cutoff=3)
    history = model.fit(
        as_dataset(train_batch()),
        epochs=9,
        verbose=0,
        validation_data=as_dataset(test_batch()),
        callbacks=callbacks,
    )
    assert len(history.epoch) == 2  # The second is not better by 2, none can be.
    assert list((tmp_path / "logs" / "validation").glob("events*"))
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    best = keras.saving.load_model(tmp_path / "best.keras")
    found = best.evaluate(as_dataset(test_batch()), verbose=0, return_dict=True)
    assert found["hr@3"] == pytest.approx(max(history.history["val_hr@3"]), abs=1e-6)


def test_a_backup_goes_on_where_it_was(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(model, *callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return model.fit(as_dataset(train_batch()), epochs=4, verbose=0, callbacks=[backup, *callbacks])

    with pytest.raises(KeyboardInterrupt):
        fit(two_tower(), Stop())
    resumed, undisturbed = two_tower(), two_tower()
    assert fit(resumed).epoch == [2, 3]
    undisturbed.fit(as_dataset(train_batch()), epochs=4, verbose=0)
    np.testing.assert_allclose(resumed(test_batch()).numpy(), undisturbed(test_batch()).numpy(), atol=1e-5)


def test_summary_names_the_towers_and_counts():
    lines = []
    model = two_tower()
    model.summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    assert model.item_tower.name in text
    assert model.behavior_tower.name in text
    assert f"Trainable params: {sum(int(np.prod(w.shape)) for w in model.trainable_weights):,}" in text
