"""A ranker of the settings that reads words: it is whole beside every other part, and says why where there are none."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfrec import build, config
from tfrec.build import text as build_text
from tfrec.data import EventColumns, ItemColumns, Label, PrepareOptions, UserColumns, prepare
from tfrec.features import AFTER, CANDIDATES, USER_TEXT, USER_WORDS
from tfrec.ranking import load_ranker
from tfrec.towers.text import TextEncoder

SETTINGS = config.Model(
    dim=8, text=config.Text(source="words"), behavior=("convolution",), dropout=0.0, input_dropout=0.0
)  # fmt: skip
INTERACTIONS = (
    ["word_attention", "mlp"],
    ["word_attention", "cross"],
    ["target_attention", "word_attention", "mlp", "cross", "neighbourhood"],
)


class Hashed(TextEncoder):
    """An encoder whose vectors follow from the bytes alone; a word is what stands between blanks."""

    def embed(self, texts):
        return np.stack([self.words([text], 1)[0, 0] for text in texts]).astype("float32")

    def words(self, texts, count):
        made = np.zeros((len(texts), count, 6), "float16")
        for row, text in zip(made, texts, strict=True):
            for place, word in enumerate(text.split()[:count]):
                row[place] = np.random.default_rng(list(word.encode())).normal(size=6) / 2.5
        return made


@pytest.fixture(scope="module", autouse=True)
def no_weights_are_loaded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfrec.build.text.TextEncoder", Hashed)
        yield


def dataset(*, bio="likes red", title="red thing"):
    """Users and items of which every fourth has no text."""
    rng, users, items, events = np.random.default_rng(0), 30, 12, 8
    log = pd.DataFrame(
        {
            "user_id": np.repeat([f"u{user:02d}" for user in range(users)], events),
            "item_id": [f"i{item:02d}" for item in rng.integers(0, items, users * events)],
            "position": np.tile(np.arange(events), users),
            "liked": rng.integers(0, 2, users * events),
        }
    )
    bios = [f"{bio} {user % 5}" if bio and user % 4 else "" for user in range(users)]
    titles = [f"{title} {item}" if title and item % 4 else "" for item in range(items)]
    options = PrepareOptions(
        events=EventColumns(position="position", context=("liked",), labels={"like": Label("liked")}),
        users=UserColumns(text=("bio",)),
        items=ItemColumns(text=("title",)),
        split="folds_users",
    )
    people = pd.DataFrame({"user_id": [f"u{user:02d}" for user in range(users)], "bio": bios})
    things = pd.DataFrame({"item_id": [f"i{item:02d}" for item in range(items)], "title": titles})
    return prepare(log, things, people, options=options)


@pytest.fixture(scope="module")
def data():
    return dataset()


def ranker(data, interactions, settings=SETTINGS, **changes):
    """A ranker whose weights are moved off their first values."""
    model = build.ranker(data, settings, interactions=interactions, words=3, seed=1, **changes)
    for place, weight in enumerate(model.trainable_weights):
        weight.assign(weight + 0.2 * np.random.default_rng(place).normal(size=weight.shape))
    return model


def batch(data):
    return next(iter(build.ranking_data(data).judged("test")[0].as_numpy_iterator()))


@pytest.mark.parametrize("interactions", INTERACTIONS)
def test_it_is_whole_beside_every_other_part(data, interactions, tmp_path):
    model = ranker(data, interactions)
    features = batch(data)
    assert features[USER_WORDS].shape[1:] == (3, 6) and model.input_spec_dict[USER_WORDS].shape.as_list() == [
        None,
        None,
        6,
    ]
    assert any(table is model.word_attention.item_words for table in model.tables)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(features, training=False)
    found = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    pairs = zip(model.trainable_weights, found, strict=True)
    assert not [w.path for w, g in pairs if g is None or not np.abs(tf.convert_to_tensor(g)).max() > 0]
    model.save(tmp_path / "model.keras")
    loaded = load_ranker(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(features)["like"], model(features)["like"])
    np.testing.assert_array_equal(loaded.word_attention.item_words, model.word_attention.item_words)


def test_words_count_for_those_who_have_some_and_no_candidate_depends_on_the_others(data):
    model, features = ranker(data, INTERACTIONS[0]), batch(data)
    whole = model(features)["like"].numpy()
    others = np.roll(features[USER_WORDS], 1, axis=0)
    told = (features[USER_WORDS].any(axis=(1, 2)) | others.any(axis=(1, 2)))[:, None]
    told = told & model.word_attention.item_words.numpy().any(axis=(1, 2))[features[CANDIDATES]]
    changed = np.abs(model({**features, USER_WORDS: others})["like"].numpy() - whole) > 1e-5
    assert changed.any() and not changed[~told].any() and (~told & (features[CANDIDATES] > 0)).any()
    one = {name: values[:, 2:3] if name in (CANDIDATES, AFTER) else values for name, values in features.items()}
    np.testing.assert_allclose(model(one)["like"][:, 0], whole[:, 2], atol=1e-5)
    missing = {name: values for name, values in features.items() if name != USER_WORDS}
    none = {**features, USER_WORDS: np.zeros_like(others)}
    np.testing.assert_allclose(model(missing)["like"], model(none)["like"], atol=1e-6)


def test_batches_of_a_data_set_opened_anew_carry_words_where_the_settings_read_them(data):
    reads, plain = config.Ranking(interactions=("word_attention", "mlp"), words=2), config.Ranking()
    for settings, shape in ((reads, (2, 6)), (plain, None)):
        assert build.read_user_texts(data, SETTINGS, ranking=settings) == 6
        spec = build.ranking_data(data).judged("test")[0].element_spec
        assert USER_TEXT in spec and (tuple(spec[USER_WORDS].shape[1:]) if USER_WORDS in spec else None) == shape


@pytest.mark.parametrize(
    ("tables", "settings", "words"),
    [
        ({"bio": ""}, SETTINGS, "the users have none: name columns that hold some in data.users.text"),
        ({"title": ""}, SETTINGS, "the items have none: name columns that hold some in data.items.text"),
        ({}, config.Model(dim=8, text=config.Text(source="none")), "no text model reads them"),
        ({}, SETTINGS.model_copy(update={"user_text": False}), "model.user_text is false: leave one of them out"),
    ],
)
def test_where_there_are_no_words_one_line_says_so(tables, settings, words):
    with pytest.raises(ValueError, match=f"ranking.interactions names word_attention, .* and .*{words}"):
        ranker(dataset(**tables), INTERACTIONS[0], settings)


@pytest.mark.parametrize(("most", "whose"), [(100, "4|5 texts of users"), (5 * 3 * 6 * 2, "13 items")])
def test_words_that_would_fill_the_memory_are_refused(data, monkeypatch, most, whose):
    monkeypatch.setattr(build_text, "MOST_WORD_BYTES", most)
    with pytest.raises(
        ValueError, match=f"ranking.words is 3: the words of ({whose}) would take .* lower it, or leave"
    ):
        ranker(data, INTERACTIONS[0])
