"""Variants of text vectors in the item tower: training draws one, whatever else asks reads the texts as they are."""

import keras
import numpy as np
import pytest

from tfrec.towers import ItemTower
from tfrec.towers.text_variants import TextVariants

ITEMS, WIDTH, VERSIONS = 6, 3, 2
RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(ITEMS, WIDTH)).astype("float32")
VARIANTS = RNG.normal(size=(VERSIONS, ITEMS, WIDTH)).astype("float32")
VARIANTS[1, 4] = 0.0


def tower(variants=VARIANTS):
    keras.utils.set_random_seed(0)
    made = ItemTower(4, ITEMS, ids=False, text_width=WIDTH)
    if variants is not None:
        made.text_variants = TextVariants(TEXT, variants)
    made.build()
    made.set_features(text=TEXT)
    return made


def test_a_look_up_draws_the_text_or_one_of_its_variants():
    drawn, found = TextVariants(TEXT, VARIANTS), [set() for _ in range(ITEMS)]
    rows = np.arange(ITEMS)
    versions = np.concatenate([TEXT[None], VARIANTS])
    versions[2, 4] = TEXT[4]  # Zeros stand for the text itself.
    for _ in range(60):
        distance = np.abs(np.asarray(drawn(rows)) - versions).max(axis=2)
        assert (distance.min(axis=0) < 2e-3).all()
        for item, version in enumerate(distance.argmin(axis=0)):
            found[item].add(int(version))
    assert [sorted(each) for each in found] == [[0, 1, 2]] * 4 + [[0, 1]] + [[0, 1, 2]]


def test_only_training_reads_the_variants():
    plain, varied, rows = tower(None), tower(), np.array([1, 2, 3, 1, 5])
    for given in (rows, None):
        np.testing.assert_array_equal(plain(given), varied(given))
        trained = [np.asarray(varied(given, training=True)) for _ in range(4)]
        assert all(np.abs(each - np.asarray(plain(given))).max() > 1e-3 for each in trained)
        assert all(np.abs(each - trained[0]).max() > 1e-3 for each in trained[1:])
    text = TEXT[rows] + 1
    np.testing.assert_array_equal(plain(rows, text=text), varied(rows, training=True, text=text))


def test_the_draws_follow_from_their_seed():
    varied, found = tower(), []
    state = varied.text_variants.seeds.state
    assert any(weight is state and weight.name == "seed_generator_state" for weight in varied.non_trainable_variables)
    for seed in (7, 7, 8):
        state.assign(np.array([seed, 1], "uint32"))
        found.append(np.asarray(varied(training=True)))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_a_tower_that_was_saved_reads_the_texts_as_they_are(tmp_path):
    varied = tower()
    inputs = keras.Input((), dtype="int32")
    keras.Model(inputs, varied(inputs)).save(tmp_path / "tower.keras")
    loaded = keras.saving.load_model(tmp_path / "tower.keras")
    rows = np.array([1, 4])
    np.testing.assert_array_equal(loaded(rows, training=True), varied(rows))
    assert (tmp_path / "tower.keras").stat().st_size < 60_000


def test_variants_of_another_shape_are_refused():
    for wrong in (VARIANTS[0], VARIANTS[:, 1:], VARIANTS[:0]):
        with pytest.raises(ValueError, match="`variants` must have the shape"):
            TextVariants(TEXT, wrong)
