"""What a text model's version holds, and that a wrong one never gets its name."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import words
from tests.serving.conftest import K_MAX, make_data
from tfrec.serving import operations
from tfrec.serving.exporter import export
from tfrec.serving.options import ExportOptions
from tfrec.serving.text_exporter import export_text
from tfrec.serving.text_signatures import TextGraph


@pytest.fixture(scope="module")
def text():
    return words.bert()


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    about = {"settings": {"name": "shop"}}
    place = tmp_path_factory.mktemp("export") / "shop_text"
    return export_text(words.two_tower(text), make_data(), words.encoder(text), place, version=3, about=about)


def test_the_manifest_says_what_it_is(folder, text):
    manifest = json.loads((folder / "assets.extra" / "manifest.json").read_text("utf-8"))
    assert folder.name == "3"
    assert (manifest["kind"], manifest["inputs"], manifest["settings"]) == ("text", {}, {"name": "shop"})
    assert manifest["text"].keys() == {"source", "width", "scale", "read_as"}
    assert (manifest["text"]["source"], manifest["text"]["read_as"]) == ("tiny", "query")
    inputs = manifest["signatures"]["serving_default"]["inputs"]
    assert inputs == {"history": {"dtype": "string", "shape": [-1, -1]}, "text": {"dtype": "string", "shape": [-1]}}
    assert manifest["self_check"]["largest_difference"] < 1e-4


def test_each_variable_is_stored_once(folder, text):
    model = words.two_tower(text)
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    rows = model.item_tower.items
    weights = [*model.behavior_tower.weights, *text.backbone.weights]
    expected = rows * (model.item_tower.dim + words.WIDTH) + sum(int(np.prod(weight.shape)) for weight in weights)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == expected


def test_the_model_beside_it_stays_free_of_foreign_operations(folder, text, tmp_path):
    plain = export(words.two_tower(text, user_text=True), make_data(), tmp_path)
    operations.check(plain, text=False)
    operations.check(folder, text=True)
    with pytest.raises(ValueError, match="holds operations that a server may lack: .*Wordpiece"):
        operations.check(folder, text=False)


def test_a_graph_that_reads_otherwise_is_refused(text, tmp_path, monkeypatch):
    embedded = TextGraph._embedded
    monkeypatch.setattr(TextGraph, "_embedded", lambda graph, given: embedded(graph, given) * 1.01)
    with pytest.raises(ValueError, match="differ from the"):
        export_text(words.two_tower(text), make_data(), words.encoder(text), tmp_path, k_max=K_MAX)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_ignores_the_text_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.setattr(TextGraph, "_scores", super(TextGraph, TextGraph)._scores)
    with pytest.raises(ValueError, match="serving_default, .*differ from the model's"):
        export_text(words.two_tower(text), make_data(), words.encoder(text), tmp_path, k_max=K_MAX)


@pytest.mark.parametrize("weight", [0, -1.0])
def test_a_weight_is_positive(weight):
    with pytest.raises(ValueError, match="`text_weight` must be above 0"):
        ExportOptions(text_weight=weight)


def test_items_and_their_texts_are_stored_in_eight_bits(text, tmp_path):
    options = ExportOptions("int8", "ivf")
    folder = export_text(
        words.two_tower(text), make_data(), words.encoder(text), tmp_path, k_max=K_MAX, options=options
    )
    told = json.loads((folder / "assets.extra" / "manifest.json").read_text("utf-8"))
    for table in ("item_vectors", "item_texts"):
        assert told[table]["kind"] == "int8" and told[table]["bytes"] < 0.4 * told[table]["float32_bytes"]
    assert "index" not in told and told["self_check"]["largest_difference"] < told["self_check"]["tolerance"]


def test_a_moved_text_model_answers(folder, tmp_path):
    from tfrec.serving import load

    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "1")
    before = load(folder).recommend([["007"]], 5, texts=["nail polish"])
    assert load(moved).recommend([["007"]], 5, texts=["nail polish"]).equals(before)
