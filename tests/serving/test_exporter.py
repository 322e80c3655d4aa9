import json
import logging
import os
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.serving.conftest import IDS, K_MAX, make_data, make_model
from tfrec.retrieval import FullSoftmax, TwoTower
from tfrec.serving import operations, prediction_logs, stored_answers
from tfrec.serving.exporter import export
from tfrec.serving.publisher import publish
from tfrec.serving.selfcheck import Check
from tfrec.serving.session import open_session
from tfrec.serving.versions import remove
from tfrec.towers import (
    BehaviorTower,
    HSTUBlock,
    ItemTower,
    LiGRBlock,
    LSTMEncoder,
    SASRecBlock,
    SelfAttentionEncoder,
)


def weights_of(folder):
    """Every stored variable's name, and the bytes of them all."""
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    kinds = reader.get_variable_to_dtype_map()
    names = [name for name in shapes if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert all(kinds[name] == tf.float32 for name in names)
    return names, sum(4 * int(np.prod(shapes[name])) for name in names)


def test_a_version_holds_what_serving_needs_and_nothing_else(exported):
    found = sorted(path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file())
    assert found == [
        "assets.extra/items.parquet",
        "assets.extra/manifest.json",
        "assets.extra/stored_answers",
        "assets.extra/tf_serving_warmup_requests",
        "assets/item_ids.txt",
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    assert exported.name == "1"
    assert [path.name for path in exported.parent.iterdir()] == ["1"]


def test_titles_and_manifest_are_inside(exported):
    items = pd.read_parquet(exported / "assets.extra" / "items.parquet")
    assert items.item_id.tolist() == IDS
    assert items.title.tolist() == [f"Title of {item}" for item in IDS]
    manifest = json.loads((exported / "assets.extra" / "manifest.json").read_text("utf-8"))
    assert manifest["settings"] == {"dim": 8}
    assert manifest["metrics"] == {"hr@10": 0.5}
    assert manifest["data_hash"] == "abc"
    assert manifest["k_max"] == K_MAX
    assert manifest["self_check"]["largest_difference"] < 1e-5
    assert manifest["signatures"]["serving_default"]["inputs"] == {"history": {"dtype": "string", "shape": [-1, -1]}}
    assert manifest["inputs"]["event_my_device"] == "my device"


def test_each_variable_is_stored_once_and_only_what_serving_reads(tmp_path):
    keras.utils.set_random_seed(0)
    rows, dim = 1500, 32
    tower = ItemTower(dim, rows, text_width=64)
    model = TwoTower(tower, BehaviorTower(dim, [LSTMEncoder(dim, dropout=0.5)]), FullSoftmax(np.arange(1, rows)))
    model.compile(optimizer=keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    items = pd.DataFrame({"item_id": ["", *map(str, range(1, rows))], "title": "t"})
    folder = export(model, make_data(items=items, vocabularies={}), tmp_path)
    expected = 4 * (rows * dim + sum(int(np.prod(weight.shape)) for weight in model.behavior_tower.weights))
    names, stored = weights_of(folder)
    assert stored == expected + 4 * rows  # The length of each item's vector, for `similar_items`.
    assert len(names) == 2 + len(model.behavior_tower.weights)
    on_disk = sum(path.stat().st_size for path in (folder / "variables").iterdir())
    assert on_disk < 1.1 * expected


def test_a_moved_export_answers_without_what_it_was_made_from(exported, tmp_path):
    before = tmp_path / "before"
    shutil.copytree(exported, before / "1")
    os.rename(before, tmp_path / "after")
    request = {"history": np.array([["007", "商品"]], object)}
    with open_session(exported) as old, open_session(tmp_path / "after" / "1") as new:
        expected, answer = old.run("serving_default", request), new.run("serving_default", request)
    assert answer["item_ids"].tolist() == expected["item_ids"].tolist()


def test_stock_operations_are_all_it_has(exported):
    ops = {name for part, _ in operations.parts(exported) for name in part}
    assert "LookupTableFindV2" in ops and ops <= set(dir(tf.raw_ops))
    assert not [op for op in ops if "PyFunc" in op or "Cudnn" in op or "Wordpiece" in op or "XlaCallModule" in op]


def test_a_graph_that_needs_a_python_process_is_not_exported(model, data, tmp_path, monkeypatch):
    def shown(self, scores, rows):
        return tf.ensure_shape(tf.numpy_function(lambda values: values, [scores], tf.float32), scores.shape)

    monkeypatch.setattr("tfrec.serving.signatures.ServingGraph._shown", shown)
    with pytest.raises(ValueError, match="holds operations that a server may lack: PyFunc"):
        export(model, data, tmp_path / "models")
    assert not list((tmp_path / "models").glob("[0-9]*"))


def test_versions_count_on(data, tmp_path):
    published, model = tmp_path / "published", make_model(rich=False)
    (published / "4").mkdir(parents=True)
    assert export(model, data, tmp_path / "new", base_path=published).name == "5"
    with pytest.raises(ValueError, match="exists already"):
        export(model, data, tmp_path / "new", version=5)
    assert sorted(os.listdir(tmp_path / "new")) == ["5"]


def test_a_failed_check_leaves_nothing(data, tmp_path):
    model = make_model(rich=False)
    model.item_tower.embedding.assign(np.full(model.item_tower.embedding.shape, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        export(model, data, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_export_is_quiet_and_leaves_the_model_as_it_was(data, tmp_path, caplog):
    model = make_model()
    features = {"history": np.array([[1, 2, 3]], np.int32)}
    before = model(features).numpy()
    with caplog.at_level(logging.INFO):
        export(model, data, tmp_path)
    np.testing.assert_array_equal(model(features), before)
    assert {record.name.partition(".")[0] for record in caplog.records} == {"tfrec"}


def test_real_histories_of_the_data_set_are_asked(tmp_path, monkeypatch):
    rows, offsets = np.array([3, 1, 2, 2]), np.array([0, 3, 3, 4])
    data, asked = make_data(), []
    data.histories = lambda split: SimpleNamespace(user_ids=np.array(["a", "b", "c"]), rows=rows, offsets=offsets)
    run = Check.run
    monkeypatch.setattr(Check, "run", lambda check, folder, histories: asked.extend(histories) or run(check, folder))
    folder = export(make_model(rich=False), data, tmp_path)
    assert asked == [[IDS[2], IDS[0], IDS[1]], [], [IDS[1]]]
    real = {name: inputs for name, inputs, _ in prediction_logs.read(stored_answers.real_file(folder))}
    assert real["serving_default"]["history"][0].tolist() == [item.encode() for item in asked[0]]
    del data.histories
    monkeypatch.undo()
    shutil.rmtree(folder)
    assert export(make_model(rich=False), data, tmp_path) == folder
    assert not stored_answers.real_file(folder).exists()


def test_the_gate_asks_real_histories_and_publishes_none(tmp_path):
    data = make_data()
    lists = SimpleNamespace(user_ids=np.array(["a"]), rows=np.array([3, 1, 2]), offsets=np.array([0, 3]))
    data.histories = lambda split: lists
    folder = export(make_model(rich=False), data, tmp_path / "exports")
    real = stored_answers.real_file(folder)
    published = publish(folder, tmp_path / "models", "shop")
    assert json.loads((published / "assets.extra" / "manifest.json").read_text())["gate"]["real"] == 1
    beside = export(make_model(rich=False), data, tmp_path / "models" / "shop")
    assert not stored_answers.real_file(beside).exists()
    assert not list((tmp_path / "models").rglob("*real*")) and not stored_answers.real_file(published).exists()
    [*kept] = prediction_logs.read(real)
    name, inputs, outputs = kept[0]
    prediction_logs.write(real, [(name, inputs, {**outputs, "scores": outputs["scores"] + 1})])
    with pytest.raises(ValueError, match="answers otherwise than the model did at its export, row 1"):
        publish(folder, tmp_path / "models", "shop")
    remove(folder)
    assert not real.exists()


def test_every_block_and_a_learnt_temperature_are_exported_as_they_compute(tmp_path):
    blocks = [block(8, 2, dropout=0.0, max_length=5, timestamps=True) for block in (HSTUBlock, SASRecBlock, LiGRBlock)]
    columns = {"event_columns": {"event_type": 3}, "timestamps": True}
    tower = BehaviorTower(8, [SelfAttentionEncoder(blocks)], **columns)
    model = TwoTower(
        ItemTower(8, len(IDS) + 1), tower, FullSoftmax(np.arange(1, len(IDS) + 1), unseen=True),
        similarity="cosine", temperature="learnt",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight.numpy() + 0.3 * rng.normal(size=weight.shape))
    folder = export(model, make_data(), tmp_path, k_max=K_MAX)
    found = json.loads((folder / "assets.extra" / "manifest.json").read_text())
    assert found["self_check"]["largest_difference"] < 1e-5
    assert found["score"]["temperature"] == pytest.approx(model.temperature.value)


@pytest.mark.parametrize("k_max", [0, True, 2.5])
def test_k_max_is_a_positive_number(model, data, tmp_path, k_max):
    with pytest.raises(ValueError, match="`k_max`"):
        export(model, data, tmp_path, k_max=k_max)


@pytest.mark.parametrize("version", [0, -1, "2", True])
def test_a_version_is_a_positive_number(model, data, tmp_path, version):
    with pytest.raises(ValueError, match="`version`"):
        export(model, data, tmp_path, version=version)


def test_half_precision_is_exported_as_it_computes(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy("float32")
    folder = export(model, make_data(), tmp_path)
    assert json.loads((folder / "assets.extra" / "manifest.json").read_text())["self_check"]["tolerance"] > 1e-5
    assert weights_of(folder)[1] > 0
