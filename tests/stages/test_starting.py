"""A training that tunes the text model: from a frozen run's towers, resumed, saved apart, and read again."""

import shutil
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from tests import tiny_presets, tiny_shop
from tfrec import build, config, stages
from tfrec.data import Dataset
from tfrec.stages.fit import compiled
from tfrec.stages.ledger import Run
from tfrec.stages.train import open_model, text_encoder
from tfrec.towers.text import MINILM_PACKAGE

TEXT = ["model.text.max_tokens=16", "model.behavior=lstm", "model.text.source={}"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny_presets.write(folder / "bert")
    return tiny_shop.write(folder, epochs=2)


def run(shop, out, *overrides, only=("prepare", "train")):
    settings = config.load(shop, [*(line.format(shop.parent / "bert") for line in TEXT), *overrides])
    for stage in only:
        stages.run(settings, shop.parent / out, only=stage)
    return Run(settings, shop.parent / out)


def tune(shop, out, *overrides, **options):
    text = ["model.text.tuning=lora", "model.text.share=0.5", "model.text.learning_rate=0.001"]
    start = f"model.text.start={shop.parent / 'frozen'}"
    return run(shop, out, *text, start, *overrides, **options)


@pytest.fixture(scope="module")
def frozen(shop):
    return run(shop, "frozen")


def weights(model):
    return [np.asarray(weight.value) for weight in model.weights]


@pytest.mark.slow
@pytest.mark.long
def test_a_resumed_tuning_ends_as_one_that_was_never_stopped(shop, frozen):
    whole = tune(shop, "whole")
    tune(shop, "parts", "training.epochs=1")
    parts = tune(shop, "parts")
    for left, right in zip(weights(open_model(whole)), weights(open_model(parts)), strict=True):
        np.testing.assert_array_equal(left, right)
    vectors = [text_encoder(each).embed(["thing 1", "box"]) for each in (whole, parts)]
    np.testing.assert_array_equal(*vectors)
    # The towers hold the vectors that the tuned text model gives, and not those of the frozen one.
    data = Dataset.open(whole.path("dataset"))
    titled = np.flatnonzero(data.items["text"] != "")
    table, before = (open_model(each).item_tower.text.numpy()[titled] for each in (whole, frozen))
    np.testing.assert_allclose(text_encoder(whole).embed(data.items["text"][titled].tolist()), table, atol=1e-5)
    assert np.abs(table - before).max() > 1e-4
    # What was tuned can be used elsewhere, frozen.
    used = config.Text(source=str(shop.parent / "bert"), max_tokens=16, tuned=str(whole.path("checkpoints", "text")))
    np.testing.assert_allclose(build.text_vectors(data.items["text"][titled], used), table, atol=1e-5)


@pytest.mark.skipif(find_spec(MINILM_PACKAGE) is None, reason="the MiniLM weights are not installed")
def test_a_run_that_left_its_text_model_to_the_data_is_one_of_minilm(shop):
    left_open = run(shop, "open", "model.text.source=auto", "training.epochs=1")
    settings = [TEXT[0], TEXT[1], "model.text.source=minilm", f"model.text.start={left_open.out}"]
    model = compiled(Run(config.load(shop, settings), shop.parent / "next"), Dataset.open(left_open.path("dataset")), 3)
    assert model.item_tower.text_width == 384
    for left, right in zip(model.trainable_weights, open_model(left_open).trainable_weights, strict=True):
        np.testing.assert_array_equal(left, right)


def test_tuning_begins_with_the_towers_of_the_frozen_run(shop, frozen):
    settings = [*(line.format(shop.parent / "bert") for line in TEXT), "model.text.tuning=adapter"]
    pipeline = config.load(shop, [*settings, f"model.text.start={frozen.out}"])
    data = Dataset.open(frozen.path("dataset"))
    model = compiled(Run(pipeline, shop.parent / "new"), data, 3)
    model.lend_ids()
    table = pd.Index(data.items["text"] != "")
    assert table.any()
    for left, right in zip(weights(model.without_text), weights(open_model(frozen)), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    assert model.optimizer.slow_factor == pytest.approx(1e-4 / 0.02)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.text.start=nowhere", "model.text.start is 'nowhere', which holds no trained model"),
        ("data.max_length=5", "was trained on other data than this pipeline prepares"),
        ("model.dim=4", "was trained with another model.dim"),
        ("model.text.max_tokens=12", "was trained with another model.text.max_tokens"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(shop, frozen, override, told):
    with pytest.raises(ValueError, match=told):
        tune(shop, "refused", override)
    shutil.rmtree(shop.parent / "refused", ignore_errors=True)


def test_a_frozen_run_goes_on_from_another(shop, frozen):
    more = run(shop, "more", f"model.text.start={frozen.out}", "training.learning_rate=0.000001")
    for left, right in zip(weights(open_model(more)), weights(open_model(frozen)), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-3)


def test_a_text_model_that_was_replaced_is_another(shop, frozen, monkeypatch):
    kept = {path: path.read_bytes() for path in (shop.parent / "bert").rglob("*") if path.is_file()}
    try:
        tiny_presets.write(shop.parent / "bert", seed=5)
        with pytest.raises(
            ValueError, match="was trained on other vectors of the texts: its text model, .* has changed"
        ):
            tune(shop, "refused")
        monkeypatch.setitem(tiny_presets.SIZES, "hidden_dim", 16)
        tiny_presets.write(shop.parent / "bert")
        with pytest.raises(ValueError, match="was trained on other vectors of the texts"):
            tune(shop, "refused")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    shutil.rmtree(shop.parent / "refused", ignore_errors=True)


def test_what_the_run_is_told_later_does_not_say_what_its_model_is(shop, frozen):
    settings = frozen.path("config.yaml").read_text(encoding="utf-8")
    frozen.path("config.yaml").write_text(settings.replace("dim: 8", "dim: 4"), encoding="utf-8")
    try:
        text = [*(line.format(shop.parent / "bert") for line in TEXT), f"model.text.start={frozen.out}"]
        model = compiled(Run(config.load(shop, text), shop.parent / "new"), Dataset.open(frozen.path("dataset")), 3)
    finally:
        frozen.path("config.yaml").write_text(settings, encoding="utf-8")
    trained = open_model(frozen).trainable_variables
    for left, right in zip(model.trainable_variables, trained, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_run_cannot_start_from_itself(shop, frozen):
    before = frozen.path("checkpoints", "model.keras").read_bytes()
    with pytest.raises(ValueError, match="which this training would overwrite: give it another --out"):
        tune(shop, "frozen")
    assert frozen.path("checkpoints", "model.keras").read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.text=none", "model.text.tuning=lora"], "tuning: lora needs a text model; source is none"),
        (["model.text.mask_weight=0.2"], "mask_weight is for joint; tuning is frozen"),
        (["model.text.tuning=full", "model.text.tuned=x"], "tuned goes with tuning: frozen; tuning is full"),
        (["model.text.tuning=joint", "model.text.size=3"], "size is for lora, adapter, prefix and partial"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(shop, overrides, told):
    with pytest.raises(ValueError, match=told):
        run(shop, "refused", *overrides, only=())
