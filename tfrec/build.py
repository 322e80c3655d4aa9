"""The one factory: settings and a data set become models and optimizers; "attention" becomes an object here."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrec import config
from tfrec.data import Dataset, EventColumns, ItemColumns, PrepareOptions, UserColumns, prepare
from tfrec.features import EVENT_TYPE, TEXT
from tfrec.retrieval import FullSoftmax, SampledSoftmax, TFRSRetrieval, TwoTower
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower, LSTMEncoder, SelfAttentionEncoder
from tfrec.towers.text import TextEncoder, folder_hash, minilm_folder

# Events of a step times items of the catalogue, up to which the full softmax's logits (4 bytes each) are kept: 2 GiB.
FULL_SOFTMAX_LOGITS = 2**29

# The token budget where none is set: the largest that leaves an epoch this many steps. On Beauty and the simulated shop
# 2048 tokens (75 and 50 steps) learnt more an epoch than 4096 did; on MovieLens-1M (160 steps) 4096 was enough.
MOST_TOKENS, LEAST_TOKENS, STEPS_AN_EPOCH = 4096, 256, 40

# `schedule: cosine` ends at this share of the learning rate.
FINAL_RATE = 0.02


def prepare_options(data: config.Data) -> PrepareOptions:
    """What `prepare` is told by the section `data` of a pipeline."""
    events, items, users, split = data.events, data.items, data.users, data.split
    cuts: dict[str, Any] = {"validation_from": split.validation_from, "test_from": split.test_from}
    return PrepareOptions(
        events=EventColumns(**events.columns.model_dump(), context=tuple(events.context)) if events else None,
        items=ItemColumns(items.item_id, tuple(items.text), dict(items.categorical), tuple(items.numeric))
        if items
        else None,
        users=UserColumns(users.user_id, tuple(users.categorical)) if users else None,
        min_user_events=data.min_user_events,
        min_item_events=data.min_item_events,
        target_events=tuple(data.target_events or ()),
        seen=data.seen,
        candidates=data.candidates,
        split=split.kind,
        hold_out_items=_ids_table(data, data.cold_items),
        hold_out_validation_items=_ids_table(data, data.cold_items_validation),
        max_length=data.max_length,
        shards=data.shards,
        **(cuts if split.kind == "time" else {}),
    )


def simulated_options(data: config.Data) -> PrepareOptions:
    """What `prepare` is told of the simulated shop, whose columns are known, and all of whose items are on sale."""
    return dataclasses.replace(
        prepare_options(data),
        events=EventColumns(timestamp="timestamp", event_type=EVENT_TYPE, context=("device",)),
        items=ItemColumns(text=("title",), categorical={"category": None}, numeric=("price",)),
        users=UserColumns(categorical=("region", "age_band")),
        candidates="items",
    )


def oracle_applies(data: config.Data) -> bool:
    """Whether the simulated shop's oracle answers the test: each user's last event, of the whole log."""
    filtered = data.min_user_events > 1 or data.min_item_events > 1 or data.target_events
    return data.split.kind == "leave_last" and data.seen == "remove" and not filtered


def _ids_table(data: config.Data, name: str | None) -> str | tuple[str, ...]:
    return str(data.path(name)) if name else ()


def tables(data: config.Data) -> tuple[Path, Path | None, Path | None]:
    """Where the events lie, and the items and the users where there are some.

    Raises:
        ValueError: the data is simulated and lies nowhere.
    """
    if data.events is None:
        raise ValueError("data.events is missing: there are no tables to read.")
    items, users = (data.path(section.path) if section else None for section in (data.items, data.users))
    return data.path(data.events.path), items, users


def dataset(data: config.Data, folder: Path) -> Dataset:
    """Prepare the tables that the settings name; what `folder` held before is replaced."""
    return prepare(*tables(data), options=prepare_options(data), folder=folder, replace=True)


def text_mark(source: str) -> str | None:
    """A hash of a text model that lies in a local folder; None where its name says which one it is."""
    local = source not in ("none", "minilm") and Path(source).is_dir()
    return folder_hash(Path(source)) if local else None


def text_vectors(texts: Any, source: str) -> np.ndarray | None:
    """float32 [I, W]: the frozen vectors of the items' texts; None for `source: none`."""
    if source == "none":
        return None
    return TextEncoder(minilm_folder() if source == "minilm" else source).embed([str(text) for text in texts])


def two_tower(
    data: Dataset,
    settings: config.Model | None = None,
    *,
    training: config.Training | None = None,
    seed: int | None = None,
    **changes: Any,
) -> TwoTower:
    """A two-tower model for a data set, ready to be compiled.

    Args:
        data: the prepared data set; the catalogue and its features come from it.
        settings: the section `model` of a pipeline; the defaults where None.
        training: the section `training`, of which the objective and the size of a step count.
        seed: the initial weights follow from it (`keras.utils.set_random_seed`); None leaves Keras's state as it is.
        **changes: settings by name, as in YAML: `behavior=["attention", "lstm"]`, `text="minilm"`, `dim=64`.

    Raises:
        ValueError: no data set, an unknown setting or value, text that cannot be embedded.
    """
    if not isinstance(data, Dataset):
        raise ValueError(f"`data` must be a data set, as tfrec.data.prepare returns; received {type(data).__name__}.")
    settings, training = config.change(settings or config.Model(), changes), training or config.Training()
    vectors = text_vectors(data.items[TEXT], settings.text.source)
    if seed is not None:  # After the text model, whose loading draws numbers: it may or may not have been needed.
        keras.utils.set_random_seed(seed)
    with precision(training):
        return TwoTower(
            _item_tower(data, settings, vectors),
            _behavior_tower(data, settings),
            _objective(data, training),
            candidates=np.flatnonzero(data.items["candidate"].to_numpy(bool)),
            similarity=settings.similarity,
            temperature=settings.temperature,
            cutoff=monitor_cutoff(training.monitor),
            name="two_tower",
        )


@contextlib.contextmanager
def precision(training: config.Training) -> Iterator[None]:
    """Let layers that are made meanwhile compute in bfloat16, where the settings say so; else in Keras's own way."""
    before = keras.config.dtype_policy()
    if training.mixed_precision:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def batch_tokens(data: Dataset, training: config.Training) -> int:
    """The token budget of a batch: what is set, else 4096, halved while an epoch has too few steps to learn in."""
    if training.tokens_per_batch is not None:
        return training.tokens_per_batch
    tokens, events = MOST_TOKENS, data.manifest["counts"]["train_targets"]
    while tokens > LEAST_TOKENS and events < tokens * STEPS_AN_EPOCH:
        tokens //= 2
    return tokens


def optimizer(training: config.Training, steps_per_epoch: int = 0) -> keras.optimizers.Optimizer:
    """AdamW with a linear warm-up, then a constant or a decaying rate.

    Args:
        training: the settings.
        steps_per_epoch: batches of an epoch. Where it is given, the warm-up takes one epoch at most;
            `schedule: cosine` needs it.

    Raises:
        ValueError: `schedule: cosine` without it.
    """
    rate: Any = training.learning_rate
    warmup, steps = training.warmup_steps, training.epochs * steps_per_epoch
    if steps_per_epoch:
        warmup = min(warmup, steps_per_epoch)
    if training.schedule == "cosine":
        if steps_per_epoch < 1:
            raise ValueError(f"`steps_per_epoch` must be 1 or more for schedule: cosine; received {steps_per_epoch}.")
        rate = keras.optimizers.schedules.CosineDecay(
            rate / warmup if warmup else rate,
            decay_steps=max(steps - warmup, 1),
            alpha=FINAL_RATE,
            warmup_target=training.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    elif warmup:
        rate = keras.optimizers.schedules.PolynomialDecay(rate / warmup, warmup, end_learning_rate=rate)
    return keras.optimizers.AdamW(rate, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm)


def monitor_cutoff(monitor: str) -> int:
    """The k of a monitored figure such as `val_ndcg@10`."""
    return int(monitor.partition("@")[2])


def _item_tower(data: Dataset, settings: config.Model, vectors: np.ndarray | None) -> ItemTower:
    categories = data.item_categories if settings.item_features else {}
    numbers = data.item_numbers if settings.item_features else np.zeros((len(data.items), 0), "float32")
    tower = ItemTower(
        settings.dim,
        len(data.items),
        ids=settings.ids,
        text_width=0 if vectors is None else vectors.shape[1],
        categories={name: (data.category_sizes[name], codes.shape[1]) for name, codes in categories.items()},
        numbers=numbers.shape[1],
        id_dropout=settings.id_dropout,
        name="item_tower",
    )
    tower.build()
    trained = data.items["trained"].to_numpy(bool)
    tower.set_features(
        trained=trained, text=vectors, categories=categories, numbers=numbers if numbers.shape[1] else None
    )
    return tower


def _behavior_tower(data: Dataset, settings: config.Model) -> BehaviorTower:
    times = data.has_timestamps if settings.time_features is None else settings.time_features
    if times and not data.has_timestamps:
        raise ValueError("model.time_features is true, and the events have no timestamp column: map one, or say false.")
    return BehaviorTower(
        settings.dim,
        [_ENCODERS[name](settings, data.max_length) for name in settings.behavior],
        event_columns=data.event_columns if settings.event_features else {},
        user_columns=data.user_columns if settings.user_features else {},
        timestamps=times,
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
        name="behavior_tower",
    )


def _attention(settings: config.Model, max_length: int) -> SelfAttentionEncoder:
    blocks, heads, expansion = settings.attention.blocks, settings.attention.heads, settings.attention.expansion
    return SelfAttentionEncoder(settings.dim, blocks, heads, expansion, settings.dropout, max_length, name="attention")


def _lstm(settings: config.Model, max_length: int) -> LSTMEncoder:
    return LSTMEncoder(settings.dim, settings.lstm.layers, settings.lstm.units, settings.dropout, name="lstm")


def _convolution(settings: config.Model, max_length: int) -> ConvolutionEncoder:
    blocks, kernel = settings.convolution.blocks, settings.convolution.kernel
    return ConvolutionEncoder(settings.dim, blocks, kernel, settings.dropout, name="convolution")


_ENCODERS: dict[str, Callable[[config.Model, int], keras.layers.Layer]] = {
    "attention": _attention,
    "lstm": _lstm,
    "convolution": _convolution,
}


def _objective(data: Dataset, training: config.Training) -> Any:
    """The objective by its name; the default is the full softmax, and TFRS Retrieval where its logits would not fit."""
    trained, counts = data.items["trained"].to_numpy(bool), data.items["count"].to_numpy()
    name, negatives = training.objective.name, training.objective.negatives
    if name == "auto":
        small = batch_tokens(data, training) * int(trained.sum()) <= FULL_SOFTMAX_LOGITS
        name = "softmax" if small else "retrieval"
    if name == "softmax":
        return FullSoftmax(trained)
    if name == "sampled_softmax":
        return SampledSoftmax(trained, negatives)
    return TFRSRetrieval(trained, counts, negatives)
