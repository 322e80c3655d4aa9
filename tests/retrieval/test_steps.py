"""A step under attack learns from the batch as it is and with the id vectors moved against it, and moves them back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.retrieval.cycles import train_batch, two_tower
from tfrec.features import HISTORY, SHIFT


def tensors(batch):
    return {name: tf.constant(values) for name, values in batch.items()}


def gradients(model, batch):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    found = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return [None if one is None else tf.convert_to_tensor(one).numpy() for one in found]


def stepped(model, batch, **options):
    """What one step of plain gradient descent at rate 1 takes off each weight."""
    before = [weight.numpy() for weight in model.trainable_weights]
    model.compile(keras.optimizers.SGD(1.0), **options)
    model.train_step(batch)
    return [old - weight.numpy() for old, weight in zip(before, model.trainable_weights, strict=True)]


def test_an_attacked_step_is_the_mean_of_two_gradients():
    batch, share = tensors(train_batch()), 0.5
    model, again = two_tower(), two_tower()
    again.set_weights(model.get_weights())
    table = again.item_tower.embedding
    place = next(place for place, weight in enumerate(again.trainable_weights) if weight is table)
    first, kept = gradients(again, batch), table.numpy()
    lengths = np.linalg.norm(first[place], axis=1, keepdims=True)
    direction = np.divide(first[place], lengths, out=np.zeros_like(kept), where=lengths > 0)
    table.assign(kept + share * np.linalg.norm(kept, axis=1).mean() * direction)
    second = gradients(again, batch)
    for found, one, other in zip(stepped(model, batch, adversarial=share), first, second, strict=True):
        np.testing.assert_allclose(found, 0 * found if one is None else (one + other) / 2, atol=2e-5)
    assert np.abs(second[place] - first[place]).max() > 1e-3


def test_the_attack_raises_the_loss_and_is_gone_after_the_step():
    batch, model = tensors(train_batch()), two_tower()
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(0.0), adversarial=0.5)
    told = model.train_step(batch)
    for old, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, weight)
    np.testing.assert_allclose(told["loss"], model.compute_loss(batch, training=True), rtol=1e-5)
    place = next(i for i, weight in enumerate(model.trainable_weights) if weight is model.item_tower.embedding)
    slope, table = gradients(model, batch)[place], model.item_tower.embedding
    table.assign(table + 0.1 * slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9))
    assert float(model.compute_loss(batch, training=True)) > float(told["loss"])


def test_without_it_a_step_is_the_plain_one():
    batch, model, again = tensors(train_batch()), two_tower(), two_tower()
    again.set_weights(model.get_weights())
    for one, other in zip(stepped(model, batch), gradients(again, batch), strict=True):
        np.testing.assert_allclose(one, 0 * one if other is None else other, atol=1e-6)


def test_batches_whose_gradients_are_averaged_make_one_step():
    batches, model, again = [tensors(train_batch(seed=seed)) for seed in (0, 1)], two_tower(), two_tower()
    again.set_weights(model.get_weights())
    before, slopes = [weight.numpy() for weight in model.trainable_weights], [gradients(again, one) for one in batches]
    model.compile(keras.optimizers.SGD(1.0, gradient_accumulation_steps=2))
    model.train_step(batches[0])
    for old, weight in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, weight)
    model.train_step(batches[1])
    for old, weight, one, other in zip(before, model.trainable_weights, *slopes, strict=True):
        np.testing.assert_allclose(old - weight.numpy(), 0 * old if one is None else (one + other) / 2, atol=1e-5)


def test_an_attack_without_ids_or_below_0_is_refused():
    with pytest.raises(ValueError, match="`adversarial` must be 0 or more; received -1"):
        two_tower().compile("sgd", adversarial=-1)
    model = two_tower()
    model.item_tower.ids = False
    with pytest.raises(ValueError, match="the item tower has none: `ids` is false"):
        model.compile("sgd", adversarial=0.1)


def test_a_model_that_was_saved_compiled_is_attacked_again(tmp_path):
    model = two_tower()
    model.compile("sgd", adversarial=0.3, attack="history")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.adversarial, again.attack) == (0.3, "history")


def test_an_attack_on_the_history_moves_each_of_its_events_for_itself():
    batch, share = tensors(train_batch()), 0.3
    model, again = two_tower(), two_tower()
    again.set_weights(model.get_weights())
    first = gradients(again, batch)
    shift = tf.zeros((*batch[HISTORY].shape, again.item_tower.dim))
    with tf.GradientTape() as tape:
        tape.watch(shift)
        plain = again.compute_loss({**batch, SHIFT: shift}, training=True)
    slope = tape.gradient(plain, shift).numpy()
    lengths = np.linalg.norm(slope, axis=-1, keepdims=True)
    direction = np.divide(slope, lengths, out=np.zeros_like(slope), where=lengths > 0)
    there = batch[HISTORY].numpy() > 0
    assert (np.linalg.norm(direction, axis=-1) > 0.99)[there].mean() > 0.5 and not direction[~there].any()
    attacked = {**batch, SHIFT: tf.constant(share * direction)}
    assert float(again.compute_loss(attacked, training=True)) > float(plain)
    for found, one, other in zip(
        stepped(model, batch, adversarial=share, attack="history"), first, gradients(again, attacked), strict=True
    ):
        np.testing.assert_allclose(found, 0 * found if one is None else (one + other) / 2, atol=2e-5)


def test_an_attack_on_the_history_needs_no_ids_and_another_one_is_refused():
    with pytest.raises(ValueError, match="`attack` must be one of items, history; received 'users'"):
        two_tower().compile("sgd", adversarial=0.1, attack="users")
    model = two_tower()
    model.item_tower.ids = False
    model.compile("sgd", adversarial=0.1, attack="history")
    assert (model.adversarial, model.attack) == (0.1, "history")
