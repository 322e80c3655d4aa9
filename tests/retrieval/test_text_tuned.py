"""A text model that trains with the towers: what a step encodes, where gradients go, and what is left in the table."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_presets
from tfrec.features import HISTORY, PAD, TARGET
from tfrec.retrieval import FullSoftmax, SampledSoftmax, Texts, TextTunedTwoTower, TFRSRetrieval, TwoTower
from tfrec.retrieval.past import Past
from tfrec.retrieval.text_tuned import _chunks
from tfrec.towers import BehaviorTower, ItemTower, LSTMEncoder, text_models
from tfrec.towers.masked_language import MaskedLanguageModel
from tfrec.towers.text_tuning import Tuning, tune

TITLES = ["", "thing 1", "box", "a long title of a thing", "", "box 2", "thing box", "9"]
ITEMS = len(TITLES)
BATCH = {
    HISTORY: tf.constant([[1, 3, 0], [5, 1, 4]]),
    TARGET: tf.constant([[1, 3, 5, 0], [0, 1, 4, 6]]),
}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return tiny_presets.write(tmp_path_factory.mktemp("preset"))


def towers(objective=None, width=8):
    keras.utils.set_random_seed(0)
    items = ItemTower(6, ITEMS, text_width=width, id_dropout=0.0)
    trained = np.arange(ITEMS) > 0
    items.set_features(trained=trained)
    behavior = BehaviorTower(6, [LSTMEncoder(6, dropout=0.0)], dropout=0.0)
    return TwoTower(items, behavior, objective or FullSoftmax(trained))


def tuned(preset, kind="lora", objective=None, masked=False, **options):
    text = tune(text_models.load(preset, max_tokens=16), Tuning(kind, 2))
    head = MaskedLanguageModel(text, seed=1) if masked else None
    model = TextTunedTwoTower(towers(objective), text, Texts.of(TITLES, text), masked=head, **options)
    model.refresh()
    model.compile(keras.optimizers.Adam(0.01))
    return model


class Fixed(SampledSoftmax):
    """Negatives that are the same at each call."""

    def rows(self, history, target):
        return tf.concat([super().rows(history, target)[: -self.negatives], [1, 2, 6, 7]], axis=0)


def gradients(model):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(BATCH, training=False)
    return loss, tape.gradient(loss, model.trainable_variables)


def table(model):
    return model.item_tower.text.numpy()


def test_the_table_holds_the_vectors_of_the_texts(preset):
    model = tuned(preset)
    for row, title in enumerate(TITLES):
        expected = model.text.vectors(*model.text.tokens([title]))[0] if title else np.zeros(8)
        np.testing.assert_allclose(table(model)[row], expected, atol=1e-5)


@pytest.mark.parametrize("sampled", [False, True])
def test_the_loss_is_that_of_the_frozen_model_while_nothing_has_changed(preset, sampled):
    model = tuned(preset, objective=TFRSRetrieval(np.arange(ITEMS) > 0, np.ones(ITEMS), 0) if sampled else None)
    loss, found = gradients(model)
    assert float(loss) == pytest.approx(float(model.without_text.compute_loss(BATCH, training=False)), abs=1e-5)
    trained = {id(variable) for variable in model.backbone.trainable_variables}
    reached = [
        gradient for variable, gradient in zip(model.trainable_variables, found, strict=True) if id(variable) in trained
    ]
    assert len(reached) == len(trained) > 0
    assert all(gradient is not None for gradient in reached)
    assert any(np.abs(gradient.numpy()).max() > 0 for gradient in reached)


@pytest.mark.parametrize("name", ["softmax", "retrieval", "sampled_softmax"])
def test_the_towers_learn_what_they_learn_beside_a_frozen_text_model(preset, name):
    trained = np.arange(ITEMS) > 0
    objective = {
        "softmax": lambda: FullSoftmax(trained),
        "retrieval": lambda: TFRSRetrieval(trained, np.ones(ITEMS), 0),
        "sampled_softmax": lambda: Fixed(trained, 4),
    }[name]()
    model = tuned(preset, objective=objective)
    plain = model.without_text
    towers = plain.trainable_variables
    found = []
    for one in (model, plain):
        with tf.GradientTape() as tape:
            loss = one.compute_loss(BATCH, training=False)
        found.append([tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, towers)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert any(np.abs(gradient).max() > 1e-3 for gradient in found[0])


def test_texts_as_candidates_learn_from_a_corrected_softmax_among_themselves(preset):
    counts, rows = np.array([0, 5, 1, 9, 1, 2, 3, 0]), np.array([1, 3, 5, 6])
    model, rng = tuned(preset, counts=counts), np.random.default_rng(0)
    rivals, queries = tf.Variable(rng.normal(size=(4, 6)), dtype="float32"), rng.normal(size=(5, 6)).astype("float32")
    own = np.array([0, 2, -1, 3, 1], "int32")
    with tf.GradientTape() as tape:
        loss = model._loss_among(tf.constant(rows, tf.int32), rivals, tf.constant(queries), tf.constant(own))
    popularity = np.maximum(counts, 1)[1:] / np.maximum(counts, 1)[1:].sum()
    assert set(own) >= set(range(4))  # Each of them is a target; what is none does not compete.
    logits = queries @ rivals.numpy().T - np.log(1 - np.exp(-5 * popularity[rows - 1]))
    logits = logits[own >= 0]
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(4), own[own >= 0]]
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)
    model.objective.unseen = True
    past = Past(tf.constant([[rows[0], 0]], tf.int32), np.array([[0, 1]] * 5))  # Everybody has had the first.
    left = model._loss_among(tf.constant(rows, tf.int32), rivals, tf.constant(queries), tf.constant(own), past)
    logits[own[own >= 0] != 0, 0] = -np.inf
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(4), own[own >= 0]]
    assert float(left) == pytest.approx(expected.mean(), rel=1e-5)
    # What moves all of them alike moves none of them nearer: nothing is to be gained by it.
    np.testing.assert_allclose(tape.gradient(loss, rivals).numpy().sum(axis=0), 0, atol=1e-6)


def test_an_item_of_the_histories_alone_is_no_rival_of_the_targets(preset):
    model, rng = tuned(preset), np.random.default_rng(0)
    rivals, queries = tf.Variable(rng.normal(size=(4, 6)), dtype="float32"), rng.normal(size=(3, 6)).astype("float32")
    with tf.GradientTape() as tape:
        loss = model._loss_among(tf.constant([1, 3, 5, 6]), rivals, tf.constant(queries), tf.constant([0, 3, 0]))
    moved = np.abs(tape.gradient(loss, rivals).numpy()).max(axis=1) > 1e-9
    assert moved.tolist() == [True, False, False, True]


def test_texts_are_read_as_serving_reads_them(preset):
    model = tuned(preset, kind="full")
    before = table(model)
    model.compute_loss(BATCH, training=True)  # With dropout, in the towers.
    np.testing.assert_allclose(table(model), before, atol=1e-6)


def test_an_optimizer_without_a_rate_for_the_text_is_told_of(preset, caplog):
    tuned(preset)
    assert "the text model trains at the rate of the towers" in caplog.text


def test_a_step_brings_the_texts_of_its_batch_up_to_date_and_no_others(preset):
    model = tuned(preset, kind="full")
    before = table(model)
    for variable in model.backbone.trainable_variables:
        variable.assign_add(np.random.default_rng(0).normal(0, 0.1, variable.shape))
    model.compute_loss(BATCH, training=False)
    changed = np.abs(table(model) - before).max(axis=1) > 1e-4
    mentioned = set(np.unique([*BATCH[HISTORY].numpy().ravel(), *BATCH[TARGET].numpy().ravel()])) - {PAD}
    assert {int(row) for row in np.flatnonzero(changed)} == {row for row in mentioned if TITLES[row]}
    model.refresh()
    assert (np.abs(table(model) - before).max(axis=1) > 1e-4).tolist() == [bool(title) for title in TITLES]


def test_a_share_of_the_texts_is_encoded_other_ones_each_time(preset):
    model = tuned(preset, kind="full", share=0.4)
    drawn = [tuple(sorted(model._chosen(BATCH).numpy().tolist())) for _ in range(12)]
    assert {len(rows) for rows in drawn} == {2}  # Of 1, 3, 5 and 6, which have texts.
    assert len(set(drawn)) > 1
    assert set(np.ravel(drawn)) <= {1, 3, 5, 6}


def test_chunks_hold_every_chosen_text_once_the_longest_first(preset):
    model = tuned(preset)
    rows = model._chosen(BATCH)
    chunks = _chunks(*model._parts.texts.read(rows))
    lengths = np.concatenate([length.numpy() for _, length in chunks])
    assert len(lengths) == len(rows) == 4
    assert (np.diff(lengths) <= 0).all()
    assert all(ids.shape[1] == max([1, *length.numpy()]) for ids, length in chunks)


def test_the_masked_loss_comes_on_top_by_its_weight(preset):
    losses = [
        float(tuned(preset, "full", masked=True, mask_weight=weight).compute_loss(BATCH, training=False))
        for weight in (0.1, 1.1)
    ]
    alone = float(tuned(preset, "full").compute_loss(BATCH, training=False))
    assert alone < losses[0] < losses[1]
    assert losses[0] - alone == pytest.approx(losses[1] - losses[0] - (losses[0] - alone) * 9, rel=1e-3)


def test_it_learns_and_leaves_a_model_without_text_behind(preset):
    model = tuned(preset, kind="full")
    before = table(model)
    data = tf.data.Dataset.from_tensors(BATCH).repeat(30)
    first = model.fit(data.take(1), verbose=0).history["loss"][0]
    last = model.fit(data, verbose=0).history["loss"][-1]
    assert last < first
    assert np.abs(table(model) - before).max() > 1e-3
    model.refresh()
    plain = model.without_text
    assert not [weight for weight in plain.weights if "transformer" in weight.path]
    np.testing.assert_allclose(plain.item_vectors(), model.item_vectors(), atol=1e-6)


def test_a_checkpoint_leaves_out_what_is_frozen(preset):
    model = tuned(preset)
    left_out = {id(variable) for variable in model.tables}
    assert all(id(variable) in left_out for variable in model.backbone.non_trainable_variables)
    assert not any(id(variable) in left_out for variable in model.backbone.trainable_variables)


def test_a_text_model_of_another_width_is_refused(preset):
    text = tune(text_models.load(preset, max_tokens=16), Tuning("lora", 2))
    with pytest.raises(ValueError, match="`text` gives vectors of width 8, and the item tower was built for 5"):
        TextTunedTwoTower(towers(width=5), text, Texts.of(TITLES, text))
    with pytest.raises(ValueError, match="`share` must be above 0 and at most 1; received 0"):
        TextTunedTwoTower(towers(), text, Texts.of(TITLES, text), share=0)


def test_it_is_saved_in_two_parts(preset, tmp_path):
    with pytest.raises(ValueError, match=r"`model.without_text.save\(path\)` for the towers"):
        tuned(preset).save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())
