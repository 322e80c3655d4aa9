"""Predictions of a ranker for the candidates of a split, as arrays; what evaluation and reports read."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import CANDIDATES, PAD
from tfrec.ranking.ensemble import RankerEnsemble
from tfrec.ranking.ranker import Ranker


def predict(model: Ranker | RankerEnsemble, batches: tf.data.Dataset) -> dict[str, np.ndarray]:
    """What the model says of each candidate.

    Args:
        model: the trained model.
        batches: batches of candidates; see `RankingData.judged`.

    Returns:
        The label's name -> float32 [C], probabilities or ratings, candidates in the order of the batches.
    """
    spec = {name: batches.element_spec[name] for name in model.input_spec_dict if name in batches.element_spec}

    @tf.function(input_signature=[spec])  # One trace for every batch, whatever its length.
    def traced(features: dict[str, Any]) -> dict[str, Any]:
        return model.predictions(features)

    asked = traced.get_concrete_function()
    found: dict[str, list[np.ndarray]] = {head.name: [] for head in model.heads}
    for batch in batches:
        there = batch[CANDIDATES].numpy() != PAD
        for name, values in asked({name: batch[name] for name in spec}).items():
            found[name].append(values.numpy()[there])
    return {name: np.concatenate(values) if values else np.zeros(0, np.float32) for name, values in found.items()}
