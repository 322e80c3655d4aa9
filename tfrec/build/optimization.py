"""What the section `training` of a pipeline becomes: optimizer, schedule, precision, the size of a step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from tfrec import config
from tfrec.build.text import text_rate
from tfrec.data import Dataset
from tfrec.retrieval import FullSoftmax, TextTunedTwoTower, TwoTower
from tfrec.training import RowWiseAdamW, TwoRateAdamW

# The token budget where none is set: the largest that leaves an epoch this many steps. On Beauty and the simulated shop
# 2048 tokens (75 and 50 steps) learnt more an epoch than 4096 did; on MovieLens-1M (160 steps) 4096 was enough.
MOST_TOKENS, LEAST_TOKENS, STEPS_AN_EPOCH = 4096, 256, 40

# The epochs where none are set. Of few events an item, more passes learn them by heart: on Beauty (12 targets an item;
# validation NDCG@10 of one seed) 9 epochs gave 0.0822 and 14, best at the 8th, 0.0815. MovieLens-100K (50) and
# MovieLens-1M (191) were trained for 20 alone, and were best at 12 to 20 of them.
EPOCHS, SPARSE_EPOCHS, SPARSE = 20, 10, 25

# Rows of the catalogue from which on a sampled objective updates by row where nothing is set. A step, 64 wide, takes as
# long by row as whole at 10,000 rows, and a fifth of that at a million; docs/large_catalogues.md has figures.
ROW_WISE_ITEMS = 20_000

# `schedule: cosine` ends at this share of the learning rate.
FINAL_RATE = 0.02


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


def epochs(data: Dataset, training: config.Training) -> int:
    """The epochs of a training: what is set, else 20, or 10 where an item has few training events on average."""
    if training.epochs is not None:
        return training.epochs
    events, items = data.manifest["counts"]["train_targets"], int(data.items["trained"].sum())
    return SPARSE_EPOCHS if events < SPARSE * items else EPOCHS


def decided_training(data: Dataset, training: config.Training | None = None) -> config.Training:
    """The settings of a training, with what they leave to the data decided: epochs and the tokens of a batch."""
    training = training or config.Training()
    decided = {"epochs": epochs(data, training), "tokens_per_batch": batch_tokens(data, training)}
    return training.model_copy(update=decided)


def optimizer(
    training: config.Training,
    steps_per_epoch: int = 0,
    *,
    model: keras.Model | None = None,
    text: config.Text | None = None,
) -> keras.optimizers.Optimizer:
    """AdamW with a linear warm-up, then a constant or a decaying rate.

    Args:
        training: the settings.
        steps_per_epoch: batches of an epoch. Where it is given, the warm-up takes one epoch at most;
            `schedule: cosine` needs it, and the number of epochs.
        model: what is to be trained. Where its text model trains too, that has a rate and a decay of its own. A learnt
            temperature does not decay, nor does what a ranker names as `undecayed`. Where its items are many and its
            objective samples, they are updated by row.
        text: the section `model.text`, which says them; the defaults for the whole text model where None.

    Raises:
        ValueError: `schedule: cosine` without them; `row_wise` where a step reads all rows.
    """
    rate: Any = training.learning_rate
    warmup = training.warmup_steps
    if steps_per_epoch:
        warmup = min(warmup, steps_per_epoch)
    if training.schedule == "cosine":
        if steps_per_epoch < 1:
            raise ValueError(f"`steps_per_epoch` must be 1 or more for schedule: cosine; received {steps_per_epoch}.")
        if training.epochs is None:
            raise ValueError("`training.epochs` must be a number for schedule: cosine: `build.epochs` decides it.")
        rate = keras.optimizers.schedules.CosineDecay(
            rate / warmup if warmup else rate,
            decay_steps=max(training.epochs * steps_per_epoch - warmup, 1),
            alpha=FINAL_RATE,
            warmup_target=training.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    elif warmup:
        rate = keras.optimizers.schedules.PolynomialDecay(rate / warmup, warmup, end_learning_rate=rate)
    shared: dict[str, Any] = {
        "weight_decay": training.weight_decay,
        "global_clipnorm": training.clip_norm,
        "gradient_accumulation_steps": training.accumulate if training.accumulate > 1 else None,
    }
    by_row = isinstance(model, TwoTower) and row_wise(training, model)
    if isinstance(model, TextTunedTwoTower):
        text = text or config.Text(source="minilm", tuning="full")
        factor = text_rate(text) / training.learning_rate
        chosen = TwoRateAdamW(rate, slow_factor=factor, slow_decay=text.weight_decay, **shared)
        chosen.slow(model.backbone.trainable_variables)
    elif by_row:
        chosen = RowWiseAdamW(rate, **shared)
    else:
        chosen = keras.optimizers.AdamW(rate, **shared)
    learnt = [model.temperature.log] if isinstance(model, TwoTower) and model.temperature.learnt else []
    if undecayed := [*learnt, *getattr(model, "undecayed", ())]:
        chosen.exclude_from_weight_decay(var_list=undecayed)
    return chosen


def row_wise(training: config.Training, model: TwoTower) -> bool:
    """Whether the items' ids are updated by row: what is set, else where they can be and are 20,000 or more.

    Raises:
        ValueError: it is set, and a step of this model reads all of them.
    """
    if isinstance(model, TextTunedTwoTower):
        reason = "the text model trains"
    elif isinstance(model.objective, FullSoftmax):
        reason = "the objective is the full softmax: name one that samples in training.objective"
    elif not model.item_tower.ids:
        reason = "items have no ids: model.ids is false"
    else:
        reason = None
    if training.row_wise and reason:
        raise ValueError(f"training.row_wise is true, and {reason}.")
    if training.row_wise is not None:
        return training.row_wise
    whole = reason or training.accumulate > 1 or training.adversarial
    return not whole and model.item_tower.items >= ROW_WISE_ITEMS


def monitor(pipeline: config.Pipeline) -> tuple[str, bool]:
    """The figure of an epoch's logs that chooses the epoch, and whether less of it is better."""
    ranking = pipeline.ranking
    if ranking is None or pipeline.two_stages:
        return pipeline.training.monitor, False
    names = ranking.labels or tuple(pipeline.data.labels)
    binary = pipeline.data.labels[names[0]].range is None
    figure = ranking.monitor or ("log_loss" if binary else "rmse")
    return f"val_{names[0]}_{figure}" if len(names) > 1 else f"val_{figure}", figure != "auc"


def monitor_cutoff(monitor: str) -> int:
    """The k of a monitored figure such as `val_ndcg@10`."""
    return int(monitor.partition("@")[2])
