"""Self-supervised training of a text model on texts alone: the model that `fit` takes, and its held-out figures."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.data.streaming import streamed
from tfrec.training.text_batches import IDS, LENGTHS, Batch, TextPlan, Tokens

PLACES, TRUTH = "places", "truth"
LOG_LIKELIHOOD, PERPLEXITY, SECONDS = "log_likelihood", "perplexity", "epoch_seconds"
MONITOR = f"val_{LOG_LIKELIHOOD}"


class LanguageLearner(keras.Model):
    """A text model's backbone and a loss over its tokens.

    Its figures, in training and in validation: the mean cross-entropy of a token asked for (`loss`, in nats), the
    perplexity, which is its exponential, and the log-likelihood, which is its negative: larger is better.
    """

    def __init__(self, objective: Any, **kwargs: Any) -> None:
        """Take a `MaskedLanguageModel` or a `NextTokenModel`; `kwargs` are as for any Keras model."""
        super().__init__(**kwargs)
        self.backbone, self.objective = objective.model.backbone, objective
        self.nats = keras.metrics.Mean(name="nats")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The mean over tokens, reset at each epoch."""
        return [self.nats]

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on `IDS` [B, T] and `LENGTHS` [B], tokens newly drawn."""
        examples = self.objective.examples(data[IDS], data[LENGTHS])
        with tf.GradientTape() as tape:
            losses = self.objective.losses(*examples, training=True)
            count = tf.maximum(tf.cast(tf.size(losses), tf.float32), 1.0)
            scaled = self.optimizer.scale_loss(tf.reduce_sum(losses) / count)
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        return self._figures(losses)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The figures of tokens that were drawn before: `IDS`, `LENGTHS`, `PLACES` [M], `TRUTH` [M]."""
        return self._figures(self.objective.losses(data[IDS], data[LENGTHS], data[PLACES], data[TRUTH]))

    def _figures(self, losses: Any) -> dict[str, Any]:
        self.nats.update_state(losses)
        nats = self.nats.result()
        return {"loss": nats, PERPLEXITY: tf.exp(nats), LOG_LIKELIHOOD: -nats}


class EpochSeconds(keras.callbacks.Callback):
    """Adds the seconds of an epoch, its validation included, to its figures."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop it."""
        if logs is not None:
            logs[SECONDS] = time.perf_counter() - self._start


def split(texts: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training and of the validation texts, int64 each; at least one of either.

    Raises:
        ValueError: there are fewer than two texts.
    """
    if texts < 2:
        raise ValueError(f"pretraining needs two different texts or more, one to validate on; there are {texts}.")
    held_out = min(max(1, round(share * texts)), texts - 1)
    order = np.random.default_rng([seed, 1]).permutation(texts)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


class HeldOut:
    """Validation texts with the tokens that are asked for, drawn once: every epoch answers the same questions."""

    def __init__(
        self, objective: Any, tokens: Tokens, members: np.ndarray, *, tokens_per_batch: int, seed: int
    ) -> None:
        """Draw the tokens.

        Args:
            objective: what draws; its generator is left in another state.
            tokens: all texts.
            members: int64 [M], those that validate.
            tokens_per_batch: most tokens of a batch, padding included.
            seed: of the drawing.

        Raises:
            ValueError: there is no token to ask for.
        """
        _reseed(objective, seed)
        sizes = TextPlan(tokens, members, tokens_per_batch=tokens_per_batch, seed=seed).batches(0)
        self.batches = [_asked(objective, tokens.padded(some)) for _ in range(objective.rounds) for some in sizes]
        self.truth = np.concatenate([batch[TRUTH] for batch in self.batches])
        if not len(self.truth):
            raise ValueError(
                "the validation texts hold no word that the vocabulary knows: raise pretraining.vocabulary or "
                "pretraining.validation."
            )

    def dataset(self) -> tf.data.Dataset:
        """The batches, the same at each pass."""
        spec = {name: tf.TensorSpec([None] * (1 + (name == IDS)), tf.int32) for name in (IDS, LENGTHS, PLACES, TRUTH)}
        return streamed(lambda: iter(self.batches), spec, len(self.batches))


def unigram_perplexity(objective: Any, tokens: Tokens, members: np.ndarray, truth: np.ndarray) -> float:
    """What a model gets on the tokens `truth` that knows only how often each is asked for in training (add-one).

    Args:
        objective: what asks.
        tokens: all texts.
        members: int64 [M], the training texts.
        truth: int32 [V], the tokens to predict.
    """
    counts = np.zeros(1 + max(int(tokens.values.max(initial=0)), int(truth.max(initial=0))), np.int64)
    for some in np.array_split(members, 1 + len(members) // 4096):
        batch = tokens.padded(some)
        asked = objective.targets(batch[IDS], batch[LENGTHS]).numpy()
        counts += np.bincount(batch[IDS][asked], minlength=len(counts))
    chances = (counts[truth] + 1) / (counts.sum() + objective.answers)
    return float(np.exp(-np.log(chances).mean()))


def _asked(objective: Any, batch: Batch) -> Batch:
    parts = objective.examples(tf.constant(batch[IDS]), tf.constant(batch[LENGTHS]))
    return dict(zip((IDS, LENGTHS, PLACES, TRUTH), (part.numpy() for part in parts), strict=True))


def _reseed(objective: Any, seed: int) -> None:
    for variable in objective.non_trainable_variables:
        if variable.name == "seed_generator_state":
            variable.assign(np.random.SeedSequence((seed, 2)).generate_state(2).astype(variable.dtype))
