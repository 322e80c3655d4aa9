"""Text models: every family reads texts alike alone and in company, and what is no text model is said to be none."""

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_presets
from tfrec.towers import text_models

TEXTS = ["thing box", "a", "", "hello " * 30, "跑步鞋 🔥"]
SAYING = [True, True, False, True, None]  # Some families write the last one in bytes, others know none of it.


@pytest.fixture(scope="module", params=tiny_presets.FAMILIES)
def model(request, tmp_path_factory):
    folder = tiny_presets.write(tmp_path_factory.mktemp("presets") / request.param, request.param)
    return text_models.load(folder, max_tokens=16)


@pytest.mark.long
def test_a_text_is_read_alike_alone_and_in_company(model):
    ids, lengths = model.tokens(TEXTS)
    together = model.vectors(ids, lengths).numpy()
    says = model.says(ids, lengths).numpy()
    assert [known for known, expected in zip(says, SAYING, strict=True) if expected is not None] == SAYING[:4]
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), says, atol=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.vectors(*model.tokens([text]))[0], vector, atol=1e-5)


def test_words_are_the_states_at_what_a_text_says(model):
    ids, lengths = model.tokens(TEXTS)
    words, states = model.words(ids, lengths, 5).numpy(), model.states(ids, lengths).numpy()
    for place, (row, length) in enumerate(zip(ids.numpy(), lengths.numpy(), strict=True)):
        said = [step for step in range(length) if row[step] not in model.silent][:5]
        expected = states[place, said] / np.linalg.norm(states[place, said], axis=-1, keepdims=True)
        np.testing.assert_allclose(words[place, : len(said)], expected, atol=1e-5)
        assert not words[place, len(said) :].any()
    assert words[3].any(axis=-1).all() and not words[2].any()
    np.testing.assert_allclose(model.words(*model.tokens(["a"]), 5)[0], words[1], atol=1e-5)  # Fewer tokens than five.


def test_long_texts_are_cut_and_keep_their_marks(model):
    ids, lengths = (part.numpy() for part in model.tokens(TEXTS))
    first, last = model.marks
    assert lengths.max() == lengths[3] == ids.shape[1] == 16
    assert first in (None, ids[3, 0])
    assert ids[3, -1] == last
    assert (ids[1, lengths[1] :] == model.pad).all()


def test_a_graph_reads_texts_as_python_does(model):
    traced = tf.function(lambda texts: model.vectors(*model.tokens(texts)))
    np.testing.assert_allclose(traced(tf.constant(TEXTS)), model.vectors(*model.tokens(TEXTS)), atol=1e-5)


def test_the_pooling_fits_the_family(model):
    causal = type(model.backbone).__name__ in ("GPT2Backbone", "OPTBackbone")
    assert model.causal == causal
    assert model.pooling == ("last" if causal else "mean")


def test_poolings_by_hand(tmp_path):
    folder = tiny_presets.write(tmp_path / "bert")
    for pooling, pick in (("mean", lambda x: x[:3].mean(0)), ("first", lambda x: x[0]), ("last", lambda x: x[2])):
        model = text_models.load(folder, pooling=pooling, max_tokens=16)
        ids, lengths = model.tokens(["a", "thing box a"])
        expected = pick(model.states(ids, lengths)[0].numpy())
        np.testing.assert_allclose(model.vectors(ids, lengths)[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_an_uncased_vocabulary_without_accents_reads_accented_words(tmp_path):
    model = text_models.load(tiny_presets.write(tmp_path / "bert"), max_tokens=16)
    assert model.tokens(["CAFÉ"])[0].numpy().tolist() == model.tokens(["cafe"])[0].numpy().tolist()


@pytest.mark.parametrize("family", ["Bert", "XLMRoberta", "Albert"])
def test_a_text_of_unknown_words_says_nothing(tmp_path, family):
    model = text_models.load(tiny_presets.write(tmp_path / "preset", family), max_tokens=16)
    read = model.tokens(["跑步鞋 🔥", "跑 box"])
    assert model.says(*read).numpy().tolist() == [False, True]
    assert model.vectors(*read).numpy().any(axis=1).tolist() == [False, True]


def test_nothing_to_read_has_a_shape(tmp_path):
    model = text_models.load(tiny_presets.write(tmp_path / "bert"), max_tokens=16)
    ids, lengths = model.tokens([])
    assert ids.shape[0] == lengths.shape[0] == 0


# -- what is none ----------------------------------------------------------------------------------------------------


def refused(folder, **options):
    with pytest.raises(ValueError) as error:
        text_models.load(folder, **{"max_tokens": 16, **options})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_image_model_is_named_as_one(tmp_path):
    image = keras_nlp.models.ViTBackbone(
        image_shape=(8, 8, 3), patch_size=4, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4
    )
    image.save_to_preset(str(tmp_path / "image"))
    message = refused(tmp_path / "image")
    assert "ViTBackbone reads" in message
    assert "it is no text model" in message


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    folder = tiny_presets.write(tmp_path / "bert")
    (folder / "tokenizer.json").unlink()
    assert "its tokenizer is missing or damaged" in refused(folder)


def test_a_family_that_reads_padding_is_refused(tmp_path):
    sizes = {"vocabulary_size": 9, "num_layers": 1, "hidden_dim": 4, "intermediate_dim": 4, "max_sequence_length": 8}
    keras_nlp.models.FNetBackbone(**sizes).save_to_preset(str(tmp_path / "fnet"))
    assert "takes no padding mask" in refused(tmp_path / "fnet")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = tiny_presets.write(tmp_path / "bert")
    keras_nlp.models.BertTokenizer([*tiny_presets.PIECES, "more"]).save_to_preset(str(folder))
    count = len(tiny_presets.PIECES)
    assert f"its tokenizer has {count + 1} tokens and its weights are for {count}" in refused(folder)


def test_what_cannot_be_downloaded_names_the_alternatives():
    message = refused("kaggle://nobody/nothing/keras/never")
    assert "could not be downloaded" in message
    assert "`minilm`" in message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_tokens": 2}, "`max_tokens` must be 3 or more"),
        ({"max_tokens": 33}, "`max_tokens` must be at most 32"),
        ({"pooling": "max"}, "`pooling` must be one of auto, mean, first, last; received 'max'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, told):
    assert told in refused(tiny_presets.write(tmp_path / "bert"), **options)


def test_the_first_token_of_a_causal_model_is_no_pooling(tmp_path):
    folder = tiny_presets.write(tmp_path / "gpt", "GPT2")
    assert "the first token of a causal model reads no other" in refused(folder, pooling="first", max_tokens=16)
