import importlib.util
import logging
import shutil

import keras
import numpy as np
import pytest

from tfrec.towers import text
from tfrec.towers.text import INSTALL_MINILM, MINILM_PACKAGE, TextEncoder, minilm_folder

HAS_MINILM = importlib.util.find_spec(MINILM_PACKAGE) is not None
needs_minilm = pytest.mark.skipif(not HAS_MINILM, reason=f"the MiniLM weights are absent: {INSTALL_MINILM}")
SHOES, SNEAKERS, KNIVES = "running shoes for men", "women's jogging sneakers", "kitchen knife set"


class Counting(TextEncoder):
    """An encoder whose backbone is a hash: it counts what reaches it."""

    def __init__(self, preset="counting", **kwargs):
        super().__init__(preset, **kwargs)
        self.encoded = []

    def _encode(self, texts, words=0):
        self.encoded += texts
        shape = (words, 4) if words else (4,)
        drawn = [np.random.default_rng(list(one.encode())).normal(size=shape) for one in texts]
        return np.array(drawn, "float16" if words else "float32")

    def _width(self):
        return 4


# -- the real weights ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    return TextEncoder(minilm_folder(), cache=tmp_path_factory.mktemp("cache"))


@needs_minilm
def test_minilm_knows_what_is_alike(minilm):
    shoes, sneakers, knives = minilm.embed([SHOES, SNEAKERS, KNIVES])
    assert shoes.shape == (384,)
    assert shoes @ sneakers == pytest.approx(0.60, abs=0.02)
    assert shoes @ knives == pytest.approx(0.16, abs=0.02)


@needs_minilm
def test_minilm_reads_any_script(minilm):
    texts = ["跑步鞋 男士", "Ünïcödé ñandú", "a\nb\tc", "shoe " * 1000, "   ", ""]
    vectors = minilm.embed(texts)
    assert vectors.dtype == "float32"
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0, 0], atol=1e-5)
    assert len({vector.tobytes() for vector in vectors[:4]}) == 4


@needs_minilm
def test_texts_of_which_minilm_knows_no_word_are_empty_and_said(minilm, caplog):
    vectors = minilm.embed(["👟🔥", "nail polish", "💄", ""])
    assert vectors.any(axis=1).tolist() == [False, True, False, False]
    assert "2 of 4 texts hold no word that" in caplog.text and "such as '👟🔥', and count as empty" in caplog.text


@needs_minilm
def test_minilm_reads_korean_by_its_letters(minilm):
    bag, shoes = minilm.embed(["한국어 가방", "신발"])
    assert bag.any() and shoes.any() and bag @ shoes < 0.99
    (ids, lengths) = minilm.model.tokens(["가 Café 跑"])
    read = [minilm.model.tokenizer.id_to_token(int(token)) for token in ids[0, 1 : int(lengths[0]) - 1]]
    assert read[:3] == ["ᄀ", "##ᅡ", "cafe"]


@needs_minilm
def test_a_vector_does_not_depend_on_its_batch(minilm, monkeypatch, tmp_path):
    together = minilm.embed([SHOES, "a much longer title " * 8, KNIVES])
    monkeypatch.setattr(text, "TOKENS_A_BATCH", 1)
    alone = TextEncoder(minilm.preset, cache=tmp_path)
    vars(alone)["model"] = minilm.model
    np.testing.assert_allclose(alone.embed([SHOES, "a much longer title " * 8, KNIVES]), together, atol=1e-5)


@needs_minilm
def test_the_second_call_loads_no_weights(minilm):
    first = minilm.embed([SHOES, KNIVES])
    again = TextEncoder(minilm.preset, cache=minilm.cache.parent)
    np.testing.assert_array_equal(again.embed([KNIVES, SHOES]), first[::-1])
    assert "model" not in vars(again)


@needs_minilm
def test_the_policy_of_the_model_that_trains_does_not_matter(minilm, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        vectors = TextEncoder(minilm.preset, cache=tmp_path).embed([SHOES])
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(vectors, minilm.embed([SHOES]), atol=1e-5)


@needs_minilm
def test_more_tokens_than_the_backbone_reads_are_refused(minilm, tmp_path):
    with pytest.raises(ValueError, match="`max_tokens` must be at most 512 .*received 513"):
        TextEncoder(minilm.preset, max_tokens=513, cache=tmp_path).embed([SHOES])


@needs_minilm
def test_nothing_to_embed_has_a_width(minilm):
    assert minilm.embed([]).shape == (0, 384)
    assert not minilm.embed(["", " "]).any()


# -- what can be wrong -----------------------------------------------------------------------------------------------


def test_absent_weights_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as error:
        minilm_folder()
    assert INSTALL_MINILM in str(error.value)
    assert "none" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"not the weights", None])
def test_other_weights_are_refused(monkeypatch, tmp_path, content):
    folder = tmp_path / MINILM_PACKAGE
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package must not be imported')")
    if content:
        (folder / "model" / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: importlib.machinery.PathFinder.find_spec(name, [str(tmp_path)]),
    )
    with pytest.raises(
        ValueError, match="model.safetensors: SHA-256 .* is not the published 53aa51.*Reinstall"
    ) as error:
        minilm_folder()
    assert INSTALL_MINILM in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", ["empty", "broken", "/no/such/folder", "no_such_preset_anywhere"])
def test_a_bad_preset_is_one_line(tmp_path, preset):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{not json")
    place = str(tmp_path / preset) if (tmp_path / preset).is_dir() else preset
    with pytest.raises(ValueError) as error:
        TextEncoder(place, cache=tmp_path / "cache").embed(["a"])
    message = str(error.value)
    assert place in message
    assert "`none`" in message
    assert "\n" not in message
    assert ("no such folder" in message) == preset.startswith("/")
    assert not (tmp_path / "cache").exists()


def test_room_for_a_token_is_needed():
    with pytest.raises(ValueError, match="`max_tokens` must be 3 or more.*received 2"):
        TextEncoder("any", max_tokens=2)


# -- the cache -------------------------------------------------------------------------------------------------------


def test_a_text_is_encoded_once(tmp_path):
    encoder = Counting(cache=tmp_path)
    vectors = encoder.embed(["a", "b", "a", "", "b"])
    assert encoder.encoded == ["a", "b"]
    np.testing.assert_array_equal(vectors[[0, 1]], vectors[[2, 4]])
    assert not vectors[3].any()
    later = Counting(cache=tmp_path)
    np.testing.assert_array_equal(later.embed(["c", "b", "a"])[1:], vectors[[1, 0]])
    assert later.encoded == ["c"]


def test_words_are_encoded_once_and_apart_from_the_texts_and_from_fewer_words(tmp_path):
    encoder = Counting(cache=tmp_path)
    encoder.embed(["a"])
    words = encoder.words(["a", "b", "", "a"], 3)
    assert encoder.encoded == ["a", "a", "b"] and (words.shape, words.dtype) == ((4, 3, 4), np.float16)
    assert not words[2].any() and words[[0, 1]].all() and (words[0] == words[3]).all()
    later = Counting(cache=tmp_path)
    np.testing.assert_array_equal(later.words(["b", "a"], 3), words[[1, 0]])
    assert later.encoded == [] and later.embed(["a"]).shape == (1, 4)
    assert later.words(["a"], 2).shape == (1, 2, 4) and later.encoded == ["a"]
    assert later.words(["", " "], 2).shape == (2, 2, 4) and later.words([], 2).shape == (0, 2, 4)
    with pytest.raises(ValueError, match="`count` must be 1 word or more; received 0"):
        later.words(["a"], 0)


def test_what_is_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    class Stopped(Counting):
        def _encode(self, texts, words=0):
            if "c" in texts:
                raise KeyboardInterrupt
            return super()._encode(texts, words)

    monkeypatch.setattr(text, "TEXTS_A_SHARD", 2)
    with pytest.raises(KeyboardInterrupt):
        Stopped(cache=tmp_path).embed(["a", "b", "", "c", "d", "e"])
    encoder = Counting(cache=tmp_path)
    vectors = encoder.embed(["a", "b", "", "c", "d", "e"])
    assert encoder.encoded == ["c", "d", "e"] and len(list(tmp_path.rglob("*.npz"))) == 3
    np.testing.assert_array_equal(vectors, Counting(cache=tmp_path / "whole").embed(["a", "b", "", "c", "d", "e"]))


def test_a_shard_of_any_number_of_texts_is_read(tmp_path, monkeypatch):
    vectors = Counting(cache=tmp_path).embed(["a", "b", "c"])
    monkeypatch.setattr(text, "TEXTS_A_SHARD", 1)
    encoder = Counting(cache=tmp_path)
    np.testing.assert_array_equal(encoder.embed(["a", "b", "c", "d"])[:3], vectors)
    assert encoder.encoded == ["d"]


@pytest.mark.parametrize("change", [{"preset": "other"}, {"max_tokens": 10}])
def test_another_model_has_vectors_of_its_own(tmp_path, change):
    Counting(cache=tmp_path).embed(["a"])
    other = Counting(cache=tmp_path, **change)
    other.embed(["a"])
    assert other.encoded == ["a"]


def test_a_folder_is_known_by_its_content(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "weights").write_bytes(b"1")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    Counting(tmp_path / "one", cache=tmp_path / "cache").embed(["a"])
    copy = Counting(tmp_path / "copy", cache=tmp_path / "cache")
    copy.embed(["a"])
    assert copy.encoded == []
    (tmp_path / "copy" / "weights").write_bytes(b"2")
    changed = Counting(tmp_path / "copy", cache=tmp_path / "cache")
    changed.embed(["a"])
    assert changed.encoded == ["a"]


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    encoder = Counting(cache=tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert encoder.embed(["a"]).any()
    assert "text vectors are not cached" in caplog.text
    assert str(tmp_path / "file") in caplog.text


def test_a_broken_shard_is_computed_again(tmp_path, caplog):
    expected = Counting(cache=tmp_path).embed(["a", "b"])
    (shard,) = tmp_path.rglob("*.npz")
    shard.write_bytes(shard.read_bytes()[:100])
    encoder = Counting(cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(encoder.embed(["a", "b"]), expected)
    assert str(shard) in caplog.text
    assert Counting(cache=tmp_path).embed(["a"]).any()
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_cache_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TFREC_CACHE", str(tmp_path / "here"))
    Counting().embed(["a"])
    assert list((tmp_path / "here" / "text").rglob("*.npz"))


def test_batches_hold_texts_of_similar_length():
    lengths = np.random.default_rng(0).integers(3, 64, 500)
    batches = list(text._batches(lengths))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(places) * lengths[places].max() <= text.TOKENS_A_BATCH for places in batches)
    assert sum(len(places) * lengths[places].max() for places in batches) < 1.2 * lengths.sum()
