"""The tokens of the catalogue's texts: as they are, and augmented anew for each step of a text model that trains."""

import keras
import numpy as np
import pytest

from tests import tiny_presets
from tfrec.retrieval import Texts
from tfrec.towers import text_models
from tfrec.towers.text_augmentation import TextAugmentation

TITLES = ["", "thing 1 box 2 thing 3 box 4", "box", "🎁 thing"]
ROWS = np.array([1, 2, 3])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return text_models.load(tiny_presets.write(tmp_path_factory.mktemp("preset")), max_tokens=16)


@pytest.fixture(scope="module")
def texts(model):
    return Texts.of(TITLES, model, TextAugmentation(0.5, 0.2))


def sequences(tokens):
    ids, lengths = (part.numpy() for part in tokens)
    return [tuple(row[:length]) for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]


def test_without_draws_texts_are_read_as_they_are(texts, model):
    assert sequences(texts.read(ROWS)) == sequences(Texts.of(TITLES, model).read(ROWS))
    assert sequences(Texts.of(TITLES, model).read(ROWS, keras.random.SeedGenerator(1))) == sequences(texts.read(ROWS))


def test_draws_differ_from_step_to_step_and_follow_from_their_seed(texts):
    drawn = [keras.random.SeedGenerator(seed) for seed in (1, 1, 2)]
    steps = [[sequences(texts.read(ROWS, draws)) for _ in range(5)] for draws in drawn]
    assert steps[0] == steps[1] != steps[2]
    long = [step[0] for step in steps[0]]
    assert len(set(long)) > 3
    plain = sequences(texts.read(ROWS))
    assert all(set(each) <= set(plain[0]) and len(each) > 2 for each in long)  # A word beside the two marks.
    assert all(step[1] == plain[1] for step in steps[0])


def test_a_text_that_would_say_nothing_is_read_as_it_is(texts, model):
    """What is left of the last title may be its picture alone, which the model does not know."""
    draws = keras.random.SeedGenerator(1)
    for _ in range(12):
        tokens = texts.read(ROWS, draws)
        assert model.says(*tokens).numpy().all()
