"""Tuning: what trains and how much of it, that it starts where the model was, and that it is saved apart."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_presets
from tfrec.towers import text_models, text_weights
from tfrec.towers.text import TextEncoder, minilm_folder
from tfrec.towers.text_tuning import KINDS, Tuning, share_of, tune

TEXTS = ["thing box", "a", "box thing thing 1"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    return {family: tiny_presets.write(folder / family, family) for family in tiny_presets.FAMILIES}


def loaded(folder):
    return text_models.load(folder, max_tokens=16)


def vectors(model):
    return model.vectors(*model.tokens(TEXTS)).numpy()


def shaken(model):
    """The model after a training of sorts: everything that may change has changed."""
    for variable in model.backbone.trainable_variables:
        variable.assign_add(RNG.normal(0, 0.3, variable.shape))
    return model


# ALBERT has one block that all layers share, and DeBERTa's take no prefix.
CASES = [(family, kind) for family in tiny_presets.FAMILIES for kind in ("lora", "adapter")]
CASES += [(family, kind) for family in ("Bert", "GPT2") for kind in ("prefix", "partial", "full")]
CASES += [("Albert", "prefix"), ("DebertaV3", "partial")]


@pytest.mark.long
@pytest.mark.parametrize(("family", "kind"), CASES)
def test_every_family_is_tuned_from_where_it_was(presets, family, kind):
    before = vectors(loaded(presets[family]))
    model = tune(loaded(presets[family]), Tuning(kind, 2))
    if kind != "prefix":
        np.testing.assert_allclose(vectors(model), before, atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.vectors(*model.tokens(TEXTS), True)[:, :3])
    gradients = tape.gradient(loss, model.backbone.trainable_variables)
    assert gradients
    assert all(gradient is not None for gradient in gradients)
    assert np.abs(vectors(shaken(model)) - before).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_named_trains(presets, kind):
    model = tune(loaded(presets["Bert"]), Tuning(kind, 1))
    paths = {variable.path for variable in model.backbone.trainable_variables}
    ours = {"lora": "lora", "adapter": "bottleneck_adapter", "prefix": "prefix", "partial": "transformer_layer_1"}
    assert paths
    if kind == "full":
        assert share_of(model.backbone) > 0.95
    else:
        assert all(ours[kind] in path or "lora" in path for path in paths)
        assert share_of(model.backbone) < 0.5


@pytest.mark.parametrize("kind", ["lora", "adapter", "prefix"])
def test_added_weights_are_less_than_two_percent_of_minilm(kind):
    try:
        folder = minilm_folder()
    except ValueError as error:
        pytest.skip(str(error))
    model = tune(text_models.load(folder), Tuning(kind, {"lora": 4, "adapter": 32, "prefix": 8}[kind]))
    assert 0 < share_of(model.backbone) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_tuned_weights_are_saved_apart_and_put_on_again(presets, tmp_path, kind):
    tuning = Tuning(kind, 2)
    model = shaken(tune(loaded(presets["Bert"]), tuning))
    folder = text_weights.save(model, tuning, tmp_path / "tuned")
    again = text_weights.load(loaded(presets["Bert"]), folder)
    np.testing.assert_array_equal(vectors(again), vectors(model))
    encoder = TextEncoder(presets["Bert"], max_tokens=16, tuned=folder, cache=tmp_path / "cache")
    np.testing.assert_allclose(encoder.embed(TEXTS), vectors(model), atol=1e-5)
    frozen = TextEncoder(presets["Bert"], max_tokens=16, cache=tmp_path / "cache").embed(TEXTS)
    assert np.abs(frozen - vectors(model)).max() > 1e-4  # The cache does not mix them up.


def test_factors_are_stored_unmerged(presets, tmp_path):
    tuning = Tuning("lora", 2)
    text_weights.save(shaken(tune(loaded(presets["Bert"]), tuning)), tuning, tmp_path / "tuned")
    with np.load(tmp_path / "tuned" / text_weights.WEIGHTS) as stored:
        assert {name.partition(":")[2] for name in stored.files} == {"lora_kernel_a", "lora_kernel_b"}
        assert all(stored[name].any() for name in stored.files)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(presets, tmp_path):
    tuning = Tuning("adapter", 2)
    return text_weights.save(shaken(tune(loaded(presets["Bert"]), tuning)), tuning, tmp_path / "tuned")


def test_another_backbone_is_refused(tuned, presets, tmp_path):
    other = tiny_presets.write(tmp_path / "other", seed=1)
    for folder in (other, presets["DistilBert"]):
        with pytest.raises(ValueError, match="was tuned on the text model .*another one"):
            text_weights.load(loaded(folder), tuned)


def test_damaged_weights_are_refused(tuned, presets):
    path = tuned / text_weights.WEIGHTS
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"no whole tuned text weights \(the SHA-256 of weights.npz is not the one"):
        text_weights.load(loaded(presets["Bert"]), tuned)


def test_a_folder_of_something_else_is_refused(presets, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("not to be lost")
    tuning = Tuning("lora", 2)
    with pytest.raises(ValueError, match="holds something else than tuned text weights"):
        text_weights.save(tune(loaded(presets["Bert"]), tuning), tuning, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "not to be lost"
    with pytest.raises(ValueError, match="there is no such file"):
        text_weights.load(loaded(presets["Bert"]), tmp_path / "mine")


def test_another_format_is_refused(tuned, presets):
    about = json.loads((tuned / text_weights.ABOUT).read_text())
    (tuned / text_weights.ABOUT).write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(ValueError, match="of format 99"):
        text_weights.load(loaded(presets["Bert"]), tuned)


@pytest.mark.parametrize(
    ("family", "tuning", "told"),
    [
        ("Bert", Tuning("partial", 3), "model.text.size is 3 blocks, and 'bert_backbone.*' has 2"),
        ("DebertaV3", Tuning("prefix", 2), "prefix needs blocks of the kind TransformerEncoder"),
    ],
)
def test_what_a_family_does_not_allow_is_said(presets, family, tuning, told):
    with pytest.raises(ValueError, match=told):
        tune(loaded(presets[family]), tuning)


@pytest.mark.parametrize(
    ("arguments", "told"), [(("merge",), "`kind` must be one of"), (("lora", 0), "`size` must be 1")]
)
def test_a_tuning_that_there_is_not_is_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        Tuning(*arguments)
