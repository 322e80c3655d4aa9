"""What TensorBoard reads: the Projector's answers, and scalars and text in the event files."""

import json
import os

import keras
import numpy as np
import pytest

from tests.report.runs import make_results
from tfrec.report import summaries, tables

IDS = np.array(["", "007", "b", "c"], object)
TITLES = ["", "Tab\there\nand break", "电影 🎬", ""]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def events_of(folder):
    """Tag -> list of (step, tensor) of the event files of one run."""
    import tensorflow as tf

    found = {}
    for name in sorted(os.listdir(folder)):
        if "tfevents" in name:
            for event in tf.compat.v1.train.summary_iterator(os.path.join(folder, name)):
                for value in event.summary.value:
                    found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return found


def projector_of(log_dir):
    """The answers of TensorBoard's Projector for a log folder, by route."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector import projector_plugin
    from werkzeug import test, wrappers

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(log_dir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(log_dir))
    plugin = projector_plugin.ProjectorPlugin(base_plugin.TBContext(data_provider=provider, logdir=str(log_dir)))
    apps = plugin.get_plugin_apps()
    return lambda route, **query: test.Client(apps[route], wrappers.Response).get("/", query_string=query)


def test_the_projector_shows_every_item_with_its_title(tmp_path):
    summaries.write_scalars(tmp_path / "train", {"loss": 1.0}, step=0)
    folder = summaries.ProjectorWriter(tmp_path).write(VECTORS, IDS, TITLES, {"sold": [0, 5, 6, 7]})
    assert folder == str(tmp_path / "item_vectors")
    get = projector_of(tmp_path)
    assert json.loads(get("/runs").data) == ["item_vectors"]
    (embedding,) = json.loads(get("/info", run="item_vectors").data)["embeddings"]
    assert embedding["tensorShape"] == [3, 3]
    query = {"run": "item_vectors", "name": embedding["tensorName"]}
    assert np.frombuffer(get("/tensor", **query).data, np.float32).tolist() == VECTORS[1:].ravel().tolist()
    lines = get("/metadata", **query).data.decode().splitlines()
    assert lines == ["title\titem_id\tsold", "Tab here and break\t007\t5", "电影 🎬\tb\t6", "c\tc\t7"]


def test_a_moved_log_folder_still_shows_them(tmp_path):
    summaries.ProjectorWriter(tmp_path / "here").write(VECTORS, IDS, TITLES)
    os.rename(tmp_path / "here", tmp_path / "there")
    get = projector_of(tmp_path / "there")
    (embedding,) = json.loads(get("/info", run="item_vectors").data)["embeddings"]
    answer = get("/tensor", run="item_vectors", name=embedding["tensorName"])
    assert len(answer.data) == 3 * 3 * 4


def test_writing_again_replaces_and_the_limit_keeps_the_first(tmp_path):
    summaries.ProjectorWriter(tmp_path).write(VECTORS, IDS, TITLES)
    summaries.ProjectorWriter(tmp_path, limit=2).write(VECTORS * 2, IDS, TITLES)
    get = projector_of(tmp_path)
    (embedding,) = json.loads(get("/info", run="item_vectors").data)["embeddings"]
    answer = get("/tensor", run="item_vectors", name=embedding["tensorName"])
    assert np.frombuffer(answer.data, np.float32).tolist() == (VECTORS[1:3] * 2).ravel().tolist()
    assert len((tmp_path / "item_vectors" / "metadata.tsv").read_text().splitlines()) == 3


def test_vectors_that_do_not_fit_are_refused(tmp_path):
    writer = summaries.ProjectorWriter(tmp_path)
    with pytest.raises(ValueError, match=r"vectors must have shape \[I, D\] .*got \(3, 3\)"):
        writer.write(VECTORS[1:], IDS, TITLES)
    with pytest.raises(ValueError, match="item_ids must hold an id that is not empty"):
        writer.write(VECTORS, [""] * 4, TITLES)
    with pytest.raises(ValueError, match="limit must be at least 1 item, got 0"):
        summaries.ProjectorWriter(tmp_path, limit=0)
    assert not list(tmp_path.iterdir())


def test_throughput_by_epoch_leaves_validation_out(tmp_path, monkeypatch):
    # The clock: an epoch begins, two batches end, and validation follows before the epoch ends.
    clock = iter([0.0, 3.0, 4.0, 100.0, 101.0, 102.0])
    monkeypatch.setattr(summaries.time, "perf_counter", lambda: next(clock))
    callback = summaries.ThroughputSummary(tmp_path, events_per_epoch=80)
    callback.on_train_begin()
    logs = {"loss": 1.0}
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_end(0)
        callback.on_train_batch_end(1)
        callback.on_epoch_end(epoch, logs)
    assert callback.epoch_seconds == [4.0, 2.0]
    assert logs == {"loss": 1.0, "epoch_seconds": 2.0, "events_per_second": 40.0}
    events = events_of(tmp_path / "throughput")
    assert [(step, float(value)) for step, value in events["events_per_second"]] == [(0, 20.0), (1, 40.0)]


def test_throughput_of_a_real_fit(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    callback = summaries.ThroughputSummary(tmp_path, events_per_epoch=8)
    features = np.ones((8, 2), np.float32)
    history = model.fit(features, features[:, :1], epochs=3, batch_size=4, verbose=0, callbacks=[callback])
    assert len(callback.epoch_seconds) == 3 and min(callback.epoch_seconds) > 1e-6
    assert history.history["epoch_seconds"] == callback.epoch_seconds
    model.fit(features, features[:, :1], epochs=1, verbose=0, callbacks=[callback])
    assert len(callback.epoch_seconds) == 1


def test_throughput_of_no_events(tmp_path):
    with pytest.raises(ValueError, match="events_per_epoch must be at least 1, got 0"):
        summaries.ThroughputSummary(tmp_path, 0)


def test_the_final_figures_as_scalars_and_the_table_as_text(tmp_path):
    results = make_results()
    table = tables.markdown(*tables.results_table(results.evaluations))
    figures = results.test.metrics | {"diversity@10": float("nan")}
    summaries.write_test(tmp_path, figures, table, step=7)
    events = events_of(tmp_path / "test")
    assert [(step, float(value)) for step, value in events["test/hr@10"]] == [
        (7, np.float32(results.test.metrics["hr@10"]))
    ]
    assert not [tag for tag in events if "half_width" in tag or "diversity" in tag]
    assert events["results"][0][1].item().decode() == table


def hparams_of(log_dir):
    """What TensorBoard's HParams tab shows of a log folder: session -> settings and figures."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import hparams_plugin
    from werkzeug import test, wrappers

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(log_dir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(log_dir))
    context = base_plugin.TBContext(logdir=str(log_dir), multiplexer=multiplexer, data_provider=provider)
    application = hparams_plugin.HParamsPlugin(context).get_plugin_apps()["/session_groups"]
    query = {
        "startIndex": 0,
        "sliceSize": 50,
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
    }
    answer = test.Client(application, wrappers.Response).post("/", json=query)
    groups = json.loads(answer.get_data())["sessionGroups"]
    return {
        group["name"]: (
            group["hparams"], {value["name"]["tag"]: value["value"] for value in group.get("metricValues", [])}
        )
        for group in groups
    }  # fmt: skip


def test_hyperparameters_are_a_session_a_model(tmp_path):
    sessions = {
        "ids-seed_1": ({"model.dim": 64, "model.text": "none", "model.behavior": ["lstm", "attention"], "x": None},
                       {"all/ndcg@10": 0.25, "cold/ndcg@10": float("nan")}),
        "wide-seed_1": ({"model.dim": 128, "model.text": "minilm", "model.behavior": ["lstm"], "x": 0.5},
                        {"all/ndcg@10": 0.5}),
    }  # fmt: skip
    summaries.write_hparams(tmp_path / "logs", {"old": sessions["ids-seed_1"]})
    summaries.write_hparams(tmp_path / "logs", sessions)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir() if path.is_dir()) == ["ids-seed_1", "wide-seed_1"]
    found = sorted(hparams_of(tmp_path / "logs").values(), key=lambda pair: pair[0]["model.dim"])
    assert found[0][0] == {"model.dim": 64, "model.text": "none", "model.behavior": "lstm, attention", "x": "null"}
    assert found[1][0] == {"model.dim": 128, "model.text": "minilm", "model.behavior": "lstm", "x": "0.5"}
    assert [figures["all/ndcg@10"] for _, figures in found] == [0.25, 0.5]
