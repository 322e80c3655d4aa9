"""The two-tower model that the section `model` of a pipeline describes; names of encoders become layers here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfrec import config
from tfrec.build import starting
from tfrec.build.optimization import batch_tokens, monitor_cutoff, precision
from tfrec.build.text import ReadTexts, decided_text, read_texts, text_tuned, text_vectors
from tfrec.data import Dataset
from tfrec.ranking import Ranker
from tfrec.retrieval import GBCE, FullSoftmax, NewItems, SampledSoftmax, TFRSRetrieval, TwoTower
from tfrec.towers import (
    BehaviorTower,
    ConvolutionEncoder,
    HSTUBlock,
    ItemTower,
    LiGRBlock,
    LSTMEncoder,
    SASRecBlock,
    SelfAttentionEncoder,
)
from tfrec.towers.attention_block import AttentionBlock
from tfrec.towers.text_variants import TextVariants

# Events of a step times items of the catalogue, up to which the full softmax is taken where nothing is set: 2 GiB of
# logits, of which it holds a part at a time, but whose time grows with both. docs/large_catalogues.md has figures.
FULL_SOFTMAX_LOGITS = 2**29
# Rows of the catalogue, trained or not, up to which it is taken as well: it encodes and updates every one at each step.
# That takes, without the logits, at so many rows as long as a whole step of the sampled softmax by row.
FULL_SOFTMAX_ROWS = 100_000

# The uniform negatives of a step where none are set. On Beauty (12,101 items; validation NDCG@10, one seed; the full
# softmax 0.0822) a sampled softmax of 2,048 reached 0.0798, of 512 0.0744, and TFRS's retrieval with 512 and those
# of the batch 0.0755, at more seconds.
SAMPLED_NEGATIVES, NEGATIVES = 2048, 512


def two_tower(
    data: Dataset,
    settings: config.Model | None = None,
    *,
    training: config.Training | None = None,
    seed: int | None = None,
    **changes: Any,
) -> TwoTower:
    """A two-tower model for a data set, ready to be compiled; with its text model, where the settings tune that.

    Where the users have texts and the model reads them, the batches of `data` carry their vectors from then on.

    Args:
        data: the prepared data set; the catalogue and its features come from it.
        settings: the section `model` of a pipeline; the defaults where None.
        training: the section `training`, of which the objective, the size of a step and what is done to texts count.
        seed: the initial weights follow from it (`keras.utils.set_random_seed`); None leaves Keras's state as it is.
        **changes: settings by name, as in YAML: `behavior=["attention", "lstm"]`, `text="minilm"`, `dim=64`.

    Raises:
        ValueError: no data set, an unknown setting or value, text that cannot be embedded.
    """
    if not isinstance(data, Dataset):
        raise ValueError(f"`data` must be a data set, as tfrec.data.prepare returns; received {type(data).__name__}.")
    settings, training = config.change(settings or config.Model(), changes), training or config.Training()
    settings = settings.model_copy(update={"text": decided_text(settings.text, data, tell=True)})
    augmentation = training.text_augmentation
    read = read_texts(data, settings, augmentation)
    if seed is not None:  # After the text model, whose loading draws numbers: it may or may not have been needed.
        keras.utils.set_random_seed(seed)
    with precision(training):
        model = TwoTower(
            item_tower(data, settings, read),
            behavior_tower(data, settings, read.user_width),
            _objective(data, training),
            candidates=np.flatnonzero(data.items["candidate"].to_numpy(bool)),
            similarity=settings.similarity,
            temperature=settings.temperature,
            cutoff=monitor_cutoff(training.monitor),
            new_items=NewItems(settings.new_items.neighbours, settings.new_items.bonus),
            name="two_tower",
        )
    start_user_texts(model, data, read, settings)
    if settings.text.start is not None:
        starting.take_over(model, settings.text.start, data, settings)
    if settings.text.tuning == "frozen":
        return model
    return text_tuned(model, data, settings.text, seed=seed, augmentation=augmentation)


def start_user_texts(model: TwoTower | Ranker, data: Dataset, read: ReadTexts, settings: config.Model) -> None:
    """Let the users' texts begin as the items' do, where both are read."""
    if not read.user_width or read.vectors is None:
        return
    projection = model.behavior_tower.text_projection
    projection.start_as(model.item_tower.text_projection)
    if np.any(read.vectors, axis=1).sum() < 2:  # Too few items have texts: what users say is all that there is.
        said = text_vectors(data.user_texts, settings.text)
        assert said is not None
        projection.fit(said)


def item_tower(data: Dataset, settings: config.Model, read: ReadTexts) -> ItemTower:
    """The item tower with its catalogue, and what training reads of the texts."""
    vectors = read.vectors
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
        delta=settings.text.delta,
        name="item_tower",
    )
    if vectors is not None and read.variants is not None:
        tower.text_variants = TextVariants(vectors, read.variants, name="text_variants")
    tower.build()
    if vectors is not None:
        tower.text_projection.fit(vectors)
    trained = data.items["trained"].to_numpy(bool)
    tower.set_features(
        trained=trained, text=vectors, categories=categories, numbers=numbers if numbers.shape[1] else None
    )
    return tower


def behavior_tower(data: Dataset, settings: config.Model, text_width: int) -> BehaviorTower:
    """The behaviour tower; `text_width` is that of the vectors of the users' texts, 0 where they are not read."""
    return BehaviorTower(
        settings.dim,
        [_ENCODERS[name](settings, data) for name in settings.behavior],
        event_columns=data.event_columns if settings.event_features else {},
        user_columns=data.user_columns if settings.user_features else {},
        timestamps=_reads_times(settings, data),
        text_width=text_width,
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
        name="behavior_tower",
    )


def _reads_times(settings: config.Model, data: Dataset) -> bool:
    if settings.time_features and not data.has_timestamps:
        raise ValueError("model.time_features is true, and the events have no timestamp column: map one, or say false.")
    return data.has_timestamps if settings.time_features is None else settings.time_features


def _attention(settings: config.Model, data: Dataset) -> SelfAttentionEncoder:
    chosen = settings.attention
    made = [
        _BLOCKS[chosen.kind](
            settings.dim,
            chosen.heads,
            chosen.expansion,
            settings.dropout,
            data.max_length if chosen.position_bias else 1,  # One number for all distances tells none from another.
            timestamps=_reads_times(settings, data) and chosen.time_bias,
            name=f"block_{place}",
        )
        for place in range(chosen.blocks)
    ]
    return SelfAttentionEncoder(made, name="attention")


def _lstm(settings: config.Model, data: Dataset) -> LSTMEncoder:
    return LSTMEncoder(settings.dim, settings.lstm.layers, settings.lstm.units, settings.dropout, name="lstm")


def _convolution(settings: config.Model, data: Dataset) -> ConvolutionEncoder:
    blocks, kernel = settings.convolution.blocks, settings.convolution.kernel
    return ConvolutionEncoder(settings.dim, blocks, kernel, settings.dropout, name="convolution")


_BLOCKS: dict[str, type[AttentionBlock]] = {"ligr": LiGRBlock, "hstu": HSTUBlock, "sasrec": SASRecBlock}

_ENCODERS: dict[str, Callable[[config.Model, Dataset], keras.layers.Layer]] = {
    "attention": _attention,
    "lstm": _lstm,
    "convolution": _convolution,
}


def _objective(data: Dataset, training: config.Training) -> Any:
    """The objective by its name; the default is the full softmax, a sampled one where the catalogue is too large."""
    trained, counts = data.items["trained"].to_numpy(bool), data.items["count"].to_numpy()
    name, negatives, unseen = training.objective.name, training.objective.negatives, training.objective.unseen
    unseen = data.seen == "remove" if unseen is None else unseen
    if name == "auto":
        logits = batch_tokens(data, training) * int(trained.sum())
        small = logits <= FULL_SOFTMAX_LOGITS and len(trained) <= FULL_SOFTMAX_ROWS
        name = "softmax" if small else "sampled_softmax"
    if negatives is None:
        negatives = SAMPLED_NEGATIVES if name == "sampled_softmax" else NEGATIVES
    if name == "softmax":
        return FullSoftmax(trained, unseen=unseen)
    if name == "sampled_softmax":
        return SampledSoftmax(trained, negatives, unseen=unseen)
    if name == "gbce":
        return GBCE(trained, negatives, training.objective.calibration, unseen=unseen)
    return TFRSRetrieval(trained, counts, negatives)
