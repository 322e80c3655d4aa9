import importlib.util

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests import tiny_shop, tiny_text
from tfrec import build, config
from tfrec.towers import text_scratch
from tfrec.towers.masked_language import MaskedLanguageModel
from tfrec.towers.next_token import NextTokenModel
from tfrec.towers.text import INSTALL_MINILM, MINILM_PACKAGE

TITLES = tiny_text.titles()


def pretraining(**changes):
    return config.Pretraining(**{"layers": 1, "width": 16, "vocabulary": 300, **changes})


def data(folder, monkeypatch, *overrides):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    return config.load(tiny_shop.write(folder), overrides).data


@pytest.mark.parametrize(
    ("architecture", "kind", "objective"),
    [("bert", "BertBackbone", MaskedLanguageModel), ("gpt2", "GPT2Backbone", NextTokenModel)],
)
def test_the_architecture_becomes_a_model_and_an_objective(architecture, kind, objective):
    settings = pretraining(architecture=architecture, width=128, max_tokens=20)
    model = build.language_model(settings, TITLES, 1)
    assert type(model.backbone).__name__ == kind
    assert (model.backbone.num_layers, model.backbone.num_heads, model.width, model.max_tokens) == (1, 2, 128, 20)
    assert type(build.language_objective(model, settings, 1)) is objective


def test_the_weights_follow_from_the_seed():
    one, same, other = (build.language_model(pretraining(), TITLES, seed) for seed in (1, 1, 2))
    batch = one.tokens(tf.constant(TITLES[:3]))
    np.testing.assert_array_equal(one.vectors(*batch), same.vectors(*batch))
    assert not np.allclose(one.vectors(*batch), other.vectors(*batch))


@pytest.mark.parametrize(("kind", "wrong"), [("bert", "gpt2"), ("gpt2", "bert")])
def test_a_source_of_the_other_kind_is_refused(tmp_path, kind, wrong):
    text_scratch.save(getattr(tiny_text, kind)(), tmp_path / "preset", {}, TITLES[:2])
    settings = config.Pretraining(source=str(tmp_path / "preset"), architecture=wrong, max_tokens=12)
    model = build.language_model(settings, TITLES, 1)
    with pytest.raises(ValueError, match=f"pretraining.source: .*pretraining.architecture is {wrong}: set") as error:
        build.language_objective(model, settings, 1)
    assert f"architecture: {kind}" in str(error.value) and "\n" not in str(error.value)


def test_a_source_keeps_its_tokenizer(tmp_path):
    text_scratch.save(tiny_text.bert(), tmp_path / "preset", {}, TITLES[:2])
    settings = config.Pretraining(source=str(tmp_path / "preset"), max_tokens=12)
    model = build.language_model(settings, ["other words altogether"], 1)
    assert model.tokenizer.get_vocabulary() == tiny_text.bert().tokenizer.get_vocabulary()


@pytest.mark.parametrize("source", ["no_such_preset_anywhere", "/no/such/folder"])
def test_a_source_that_is_not_there_is_one_line_about_this_section(source):
    with pytest.raises(ValueError, match=f"^pretraining.source: '{source}'") as error:
        build.language_model(config.Pretraining(source=source), TITLES, 1)
    assert "\n" not in str(error.value) and "model.text" not in str(error.value)


@pytest.mark.skipif(importlib.util.find_spec(MINILM_PACKAGE) is None, reason=INSTALL_MINILM)
def test_minilm_can_be_gone_on_from():
    settings = config.Pretraining(source="minilm")
    model = build.language_model(settings, TITLES, 1)
    assert isinstance(build.language_objective(model, settings, 1), MaskedLanguageModel)
    with pytest.raises(ValueError, match=r"pretraining.max_tokens must be at most 512.*received 600"):
        build.language_model(config.Pretraining(source="minilm", max_tokens=600), TITLES, 1)


def test_the_rate_rises_within_an_epoch_and_falls_to_the_end():
    optimizer = build.language_optimizer(config.Pretraining(epochs=10, learning_rate=0.1, weight_decay=0.02), 20)
    rate = [float(keras.ops.convert_to_numpy(optimizer._learning_rate(step))) for step in (0, 20, 100, 200)]
    assert rate[0] < 0.01 and rate[1] == pytest.approx(0.1) and rate[1] > rate[2] > rate[3] > 0
    assert optimizer.weight_decay == 0.02


def test_texts_are_distinct_and_not_empty(tmp_path, monkeypatch):
    shop = data(tmp_path, monkeypatch)
    items = pd.concat([tiny_shop.items(), tiny_shop.items().assign(sku=lambda table: table.sku + "b")])
    items.to_csv(tmp_path / "items.csv", index=False)
    assert build.catalogue_texts(shop) == [name for name in tiny_shop.items().name if name]


def test_the_simulated_shop_has_texts():
    assert len(build.catalogue_texts(config.Data(simulated=config.data.Simulated(items=200, users=20)))) > 100


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.items=null", "data.items is missing: tfrec pretrain learns from the texts"),
        ("data.items.text=[]", "data.items.text names no column"),
        ("data.items.text=nom", "has no column 'nom'. Its columns are: sku, name"),
        ("data.items.path=gone.csv", "gone.csv"),
    ],
)
def test_tables_without_texts_are_refused(tmp_path, monkeypatch, override, told):
    with pytest.raises((ValueError, OSError), match=told):
        build.catalogue_texts(data(tmp_path, monkeypatch, override))


def test_empty_texts_are_refused(tmp_path, monkeypatch):
    shop = data(tmp_path, monkeypatch)
    tiny_shop.items().assign(name=" ").to_csv(tmp_path / "items.csv", index=False)
    with pytest.raises(ValueError, match="data.items.text: every text is empty"):
        build.catalogue_texts(shop)
