"""A tiny two-stage model, untrained but with weights that tell items apart, whose second stage changes the order."""

import keras
import numpy as np

from tests.serving.conftest import DIM, IDS, NOT_CANDIDATES, make_model
from tfrec.ranking import Diversity, Evidence, Perceptron, TargetAttention, TwoStage, VectorInputs
from tfrec.towers import ItemTower

RECALL, RANK, NEAR, WIDTH = 9, 4, 3, 6


def make_two_stage(*, diverse: bool = False) -> TwoStage:
    first, rows = make_model(), len(IDS) + 1
    rng = np.random.default_rng(1)
    if not diverse:  # With texts, of which the second stage reads a table of its own.
        tower = ItemTower(DIM, rows, text_width=WIDTH)
        tower.set_features(text=np.concatenate([np.zeros((1, WIDTH)), rng.normal(size=(rows - 1, WIDTH))]))
        config = {**first.get_config(), "item_tower": keras.saving.serialize_keras_object(tower)}
        first, trained = type(first).from_config(config), first
        for weight, other in zip(first.behavior_tower.weights, trained.behavior_tower.weights, strict=True):
            weight.assign(other)
        first.item_tower.set_features(text=np.asarray(tower.text))
        first.item_tower.embedding.assign(trained.item_tower.embedding)
    evidence = Evidence(rows, NEAR, text=not diverse)
    evidence.build()
    evidence.set_tables(rng.integers(0, 50, rows), rng.integers(0, rows, (rows, NEAR)), rng.random((rows, NEAR)))
    vectors = VectorInputs(DIM, products=True, attention=TargetAttention(DIM, 2))
    chosen = {"recall": RECALL, "rank": RANK, "diversity": _diversity(rng) if diverse else None}
    model = TwoStage(first, evidence, [Perceptron((8,))], vectors=vectors, **chosen)
    evidence.adapt(rng.normal(1, 2, (100, evidence.width)))
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    return model


def _diversity(rng) -> Diversity:
    layer = Diversity(0.5, most=1, shape=(len(IDS) + 1, 2))
    layer.set_categories(rng.integers(0, 4, (len(IDS) + 1, 2)))
    return layer


def candidates() -> list[str]:
    return [item for row, item in enumerate(IDS, 1) if row not in NOT_CANDIDATES]
