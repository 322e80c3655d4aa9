import json
import time

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_text
from tfrec.towers import text_models, text_scratch
from tfrec.towers.text import TextEncoder
from tfrec.towers.text_models import LETTERS_A_TOKEN


@pytest.fixture(scope="module")
def models():
    return {"bert": tiny_text.bert(), "gpt2": tiny_text.gpt2()}


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("gpt2", "last")])
def test_a_saved_model_gives_the_same_vectors(models, tmp_path, kind, pooling):
    model, texts = models[kind], [*tiny_text.titles()[-8:], "never seen — ñandú", ""]
    text_scratch.save(model, tmp_path / "preset", {"origin": "a test"}, texts)
    loaded = text_models.load(tmp_path / "preset", max_tokens=12)
    assert (loaded.pooling, loaded.causal, loaded.width) == (pooling, kind == "gpt2", 16)
    here, there = model.tokens(tf.constant(texts)), loaded.tokens(tf.constant(texts))
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_allclose(model.vectors(*here), loaded.vectors(*there), atol=1e-6)
    assert json.loads((tmp_path / "preset" / text_scratch.ABOUT).read_text())["origin"] == "a test"
    vectors = TextEncoder(tmp_path / "preset", max_tokens=12, cache=tmp_path / "cache").embed(texts)
    np.testing.assert_allclose(vectors[:-1], model.vectors(*here)[:-1], atol=1e-5)
    assert not vectors[-1].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "preset"]


def test_a_text_longer_than_the_model_reads_is_cut_and_more_is_refused(models, tmp_path):
    text_scratch.save(models["gpt2"], tmp_path / "preset", {}, ["red " * 100])
    with pytest.raises(ValueError, match="`max_tokens` must be at most 12 .*received 13"):
        text_models.load(tmp_path / "preset", max_tokens=13)
    ids, lengths = models["gpt2"].tokens(tf.constant(["red " * 100]))
    assert ids.shape == (1, 12) and int(lengths[0]) == 12
    assert int(ids[0, -1]) == models["gpt2"].tokenizer.end_token_id


def test_a_long_text_without_blanks_takes_no_longer_than_what_is_read_of_it(models):
    """Of byte pairs the time grows with the square of such a text."""
    text = "".join(chr(0x4E00 + place % 5000) for place in range(10_000))
    start = time.perf_counter()
    ids, lengths = models["gpt2"].tokens(tf.constant([text]))
    assert time.perf_counter() - start < 10
    read = LETTERS_A_TOKEN * models["gpt2"].max_tokens
    short = models["gpt2"].tokens(tf.constant([text[:read]]))
    assert ids.numpy().tolist() == short[0].numpy().tolist() and lengths.numpy().tolist() == short[1].numpy().tolist()


def test_a_folder_with_other_things_is_left_alone(models, tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="preset holds something else than a pretrained text model"):
        text_scratch.save(models["bert"], tmp_path / "preset", {}, ["red"])
    assert [path.name for path in tmp_path.rglob("*")] == ["preset", "thesis.txt"]


def test_an_earlier_preset_is_replaced_and_nothing_half_written_stays(models, tmp_path, monkeypatch):
    folder = tmp_path / "preset"
    text_scratch.save(models["bert"], folder, {"origin": "first"}, ["red"])
    with monkeypatch.context() as broken:
        broken.setattr(text_models.TextModel, "vectors", lambda self, *arguments: np.random.normal(size=3))
        with pytest.raises(ValueError, match="other vectors than the trained one: nothing was kept"):
            text_scratch.save(models["bert"], folder, {"origin": "second"}, ["red"])
    assert json.loads((folder / text_scratch.ABOUT).read_text())["origin"] == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    text_scratch.save(models["bert"], folder, {"origin": "third"}, ["red"])
    assert json.loads((folder / text_scratch.ABOUT).read_text())["origin"] == "third"


def test_weights_that_were_changed_afterwards_are_refused(models, tmp_path):
    folder = tmp_path / "preset"
    text_scratch.save(models["bert"], folder, {"origin": "a test"}, ["red hat"])
    assert text_models.load(folder, max_tokens=12).width == models["bert"].width
    with open(folder / "model.weights.h5", "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=r"its model\.weights\.h5 is not the one that pretraining\.json was"):
        text_models.load(folder, max_tokens=12)
    (folder / "pretraining.json").write_text("{")
    with pytest.raises(ValueError, match=r"its pretraining\.json is damaged"):
        text_models.load(folder, max_tokens=12)
