"""`training.text_augmentation` of a model: its variants follow from the texts, and training alone reads them."""

import numpy as np
import pytest

from tests import tiny_shop
from tests.tiny_text import Hashed
from tfrec import build, config
from tfrec.data import Dataset
from tfrec.features import CANDIDATES, HISTORY

AUGMENTED = config.Training(text_augmentation={"drop": 0.4, "swap": 0.3, "variants": 3})
MODEL = config.Model(text=config.Text(source="words"), dim=8, behavior=("lstm",), dropout=0.0, input_dropout=0.0)


@pytest.fixture(scope="module", autouse=True)
def no_weights_are_loaded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfrec.build.text.TextEncoder", Hashed)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    pipeline = config.load(tiny_shop.write(folder), [
        "data.events.labels={buy: {column: kind, at_least: 1}}", "data.items.text=[name, family]",
    ])  # fmt: skip
    (folder / "events.csv").write_text(
        (folder / "events.csv").read_text().replace(",buy", ",1").replace(",view", ",0"), encoding="utf-8"
    )
    return build.dataset(pipeline.data, folder / "dataset")


def test_the_variants_follow_from_each_text_alone():
    texts, settings = ["red running shoes", "blue coat of wool", ""], MODEL.text
    variants = build.text.text_variants(texts, settings, AUGMENTED.text_augmentation)
    assert variants.shape == (3, 3, 8)
    assert not variants[:, 2].any()
    for place in (0, 1):
        alone = build.text.text_variants(texts[place : place + 1], settings, AUGMENTED.text_augmentation)
        np.testing.assert_array_equal(alone[:, 0], variants[:, place])
    assert len(np.unique(variants[:, :2].reshape(6, 8), axis=0)) > 3
    assert build.text.text_variants(texts, settings, None) is None
    four = config.TextAugmentation(drop=0.4)
    assert len(build.text.text_variants(texts, settings, four)) == 4


@pytest.mark.parametrize("kind", ["two_tower", "ranker"])
def test_only_training_reads_the_variants(data, kind):
    make = getattr(build, kind)
    plain, varied = (make(data, MODEL, training=training, seed=1) for training in (config.Training(), AUGMENTED))
    if kind == "two_tower":
        batch = next(iter(data.train()))
    else:
        batch = next(iter(build.ranking_data(data).train_plan().dataset()))
        assert CANDIDATES in batch
    assert HISTORY in batch
    for training, same in ((False, True), (True, False)):
        losses = [float(model.compute_loss(batch, training=training)) for model in (plain, varied, varied)]
        assert (losses[0] == pytest.approx(losses[1], abs=1e-6)) is same
        assert (losses[1] == pytest.approx(losses[2], abs=1e-6)) is same
    assert len(varied.get_weights()) == len(plain.get_weights())


def test_where_no_text_is_read_it_is_refused(data, monkeypatch):
    monkeypatch.setattr("tfrec.build.text.minilm_is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"text_augmentation is set, and no text is read: .* Name a text model"):
        build.two_tower(Dataset.open(data.folder), training=AUGMENTED)
