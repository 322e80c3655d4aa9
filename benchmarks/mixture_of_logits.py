"""Whether a mixture of logits pays for its cost: it beside the dot product, which has the same towers and negatives.

python benchmarks/mixture_of_logits.py PIPELINE [--set model.dim=64] [--epochs 20] [--seed 1 --seed 2 --seed 3]

The score of arXiv:2306.04039 (equation 4): each side becomes `COMPONENTS` unit vectors, and the products of all pairs
of them are averaged with weights that follow from the query, the item and the products themselves. It is no product of
two vectors: recall needs every item scored, or two steps. Both models learn by the same sampled softmax, their
negatives shared by a step, and are measured on the validation split by the metrics of `tfrec train`, in one process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import keras
import tensorflow as tf
from keras import ops
from rich.console import Console
from rich.table import Table

from tfrec import build, config
from tfrec.data import Dataset
from tfrec.retrieval import SampledSoftmax, TwoTower
from tfrec.retrieval.objectives import no_rivals
from tfrec.retrieval.past import Past
from tfrec.retrieval.ranks import remove_seen
from tfrec.training.seeding import EpochSeeds

COMPONENTS, COMPONENT_DIM, GATE_UNITS, TEMPERATURE = 4, 32, 64, 0.05
WAYS = ("dot product", "mixture of logits")


class Mixture(keras.layers.Layer):
    """Scores of queries and items, both D wide: products of unit components, averaged by an adaptive gate."""

    def build(self, dim: int) -> None:
        """Create the weights."""
        pairs = COMPONENTS * COMPONENTS
        self.parts = [keras.layers.Dense(COMPONENTS * COMPONENT_DIM, use_bias=False) for _ in range(2)]
        widths = ((dim, GATE_UNITS), (dim, GATE_UNITS), (pairs, GATE_UNITS // 2))  # Of queries, items, products.
        self.gates = [_gate(width, units, pairs) for width, units in widths]
        for layer in self.parts:
            layer.build((None, dim))
        self.built = True

    def call(self, queries: Any, items: Any, *, paired: bool = False) -> Any:
        """Float [N, D], [C, D] -> [N, C]; of pairs, [N, D] each, [N]."""
        left, right = (_components(layer, side) for layer, side in zip(self.parts, (queries, items), strict=True))
        products = tf.einsum("nad,nbd->nab" if paired else "nad,cbd->ncab", left, right)
        products = tf.reshape(products, tf.concat([tf.shape(products)[:-2], [COMPONENTS * COMPONENTS]], axis=0))
        products = tf.ensure_shape(products, [None] * (1 if paired else 2) + [COMPONENTS * COMPONENTS])
        query, item, of_products = map(_gated, self.gates, (queries, items, products))
        gate = query + item if paired else query[:, None] + item[None]
        weights = tf.nn.softmax(gate + of_products, axis=-1)
        return tf.reduce_sum(weights * products, axis=-1) / TEMPERATURE


class MixedTower(TwoTower):
    """A two-tower model whose score is the mixture of its vectors, which no temperature scales."""

    def __init__(self, model: TwoTower, objective: SampledSoftmax) -> None:
        """Take the towers of a model."""
        super().__init__(
            model.item_tower, model.behavior_tower, objective,
            candidates=model.candidates, similarity=model.similarity, temperature=1.0,
        )  # fmt: skip
        self.mixture = Mixture()
        self.mixture.build(model.item_tower.dim)
        objective.mixture = self.mixture

    def scores(self, vectors: Any, features: Any) -> Any:
        """Float [B, I]."""
        scores = self.mixture(self.query(vectors, features), vectors)
        return remove_seen(scores, features.get("seen"), self._barred, features.get("barred"))


class MixedSoftmax(SampledSoftmax):
    """Sampled softmax of a mixture's scores."""

    mixture: Mixture

    def loss(self, queries: Any, targets: Any, vectors: Any, rows: Any, past: Past | None = None) -> Any:
        """Float [N]; arguments are those of `SampledSoftmax.loss`."""
        first = tf.shape(rows)[0] - self.negatives
        positive = self.mixture(queries, tf.gather(vectors, targets), paired=True)
        none = no_rivals(self, rows[first:], tf.gather(rows, targets), past)
        others = tf.where(none, -1e9, self.mixture(queries, vectors[first:]))
        return tf.nn.softplus(tf.reduce_logsumexp(others, axis=-1) - positive)


def _gate(width: int, units: int, pairs: int) -> list[keras.layers.Dense]:
    gate = [keras.layers.Dense(units, activation="silu"), keras.layers.Dense(pairs)]
    gate[0].build((None, width))
    gate[1].build((None, units))
    return gate


def _gated(gate: list[keras.layers.Dense], x: Any) -> Any:
    return gate[1](gate[0](x))


def _components(layer: keras.layers.Dense, side: Any) -> Any:
    """Float [N, D] -> unit vectors [N, K, d]."""
    parts = ops.reshape(layer(side), (-1, COMPONENTS, COMPONENT_DIM))
    return parts * tf.math.rsqrt(tf.reduce_sum(tf.square(parts), axis=-1, keepdims=True) + 1e-9)


@click.command()
@click.argument("pipeline", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--set", "changes", multiple=True, help="A setting of the pipeline: model.dim=64.")
@click.option("--epochs", default=20, show_default=True)
@click.option("--negatives", default=256, show_default=True, help="Rows that all positions of a step share.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(1,), show_default=True)
def main(pipeline: Path, changes: tuple[str, ...], epochs: int, negatives: int, seeds: tuple[int, ...]) -> None:
    """Print the best epoch's validation figures of both, and the seconds of an epoch and of a validation."""
    objective = f"training.objective={{name: sampled_softmax, negatives: {negatives}}}"
    settings = config.load(pipeline, [*changes, objective, f"training.epochs={epochs}"])
    table = Table("score", "seed", "NDCG@10", "HR@10", "epoch", "s an epoch", "s a validation", "weights")
    with tempfile.TemporaryDirectory() as scratch:
        data = build.dataset(settings.data, Path(scratch) / "dataset")
        for seed in seeds:
            for way in WAYS:
                table.add_row(way, str(seed), *trained(settings, data, seed, mixed=way == WAYS[1]))
    Console(width=100).print(table)


def trained(settings: config.Pipeline, data: Dataset, seed: int, *, mixed: bool) -> list[str]:
    """The cells of a row."""
    model, plan = _model(settings, data, seed, mixed=mixed), data.train_plan(4096, seed)
    model.compile(build.optimizer(settings.training, len(plan)))
    clock = Clock()
    told = model.fit(
        plan.dataset(), validation_data=data.validation(), epochs=settings.training.epochs,
        callbacks=[EpochSeeds(plan, seed), clock], verbose=2,
    ).history  # fmt: skip
    best = max(range(len(told["val_ndcg@10"])), key=told["val_ndcg@10"].__getitem__)
    figures = [f"{told[name][best]:.4f}" for name in ("val_ndcg@10", "val_hr@10")]
    validation = statistics.median(clock.validation[1:])
    epoch = statistics.median(clock.epochs[1:]) - validation
    weights = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    return [*figures, str(best + 1), f"{epoch:.1f}", f"{validation:.1f}", f"{weights:,}"]


def _model(settings: config.Pipeline, data: Dataset, seed: int, *, mixed: bool) -> TwoTower:
    model = build.two_tower(data, settings.model, training=settings.training, seed=seed)
    if not mixed:
        return model
    own = model.objective
    return MixedTower(model, MixedSoftmax(own.trained_rows, own.negatives, unseen=own.unseen))


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch, its validation included, and of each validation."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.epochs: list[float] = []
        self.validation: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Look at the clock."""
        self._epoch = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        """Look at the clock."""
        self._validation = time.perf_counter()

    def on_test_end(self, logs: Any = None) -> None:
        """Note a validation."""
        self.validation.append(time.perf_counter() - self._validation)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note an epoch."""
        self.epochs.append(time.perf_counter() - self._epoch)


if __name__ == "__main__":
    main()
