"""A tiny ranker with every kind of input and label, untrained but with weights that tell items apart."""

import keras
import numpy as np

from tests.serving.conftest import DIM, IDS, MAX_LENGTH, make_data
from tfrec.data.vocabulary import Vocabulary
from tfrec.ranking import (
    BinaryHead,
    CandidateContext,
    CrossNetwork,
    Perceptron,
    Ranker,
    RatingHead,
    TargetAttention,
    WordAttention,
)
from tfrec.towers import BehaviorTower, ItemTower, LiGRBlock, LSTMEncoder, SelfAttentionEncoder

# One label has the name of another output, one a name that no output can have.
WIDTH, WORDS = 6, 3  # of the words of an item's text
OUTPUTS = {"click": "click", "known": "known_", "5-stars": "5_stars"}


def make_ranker() -> Ranker:
    keras.utils.set_random_seed(3)
    encoders = [SelfAttentionEncoder([LiGRBlock(DIM, 2, max_length=MAX_LENGTH, timestamps=True)]), LSTMEncoder(DIM)]
    words = WordAttention(DIM, len(IDS) + 1, WIDTH, WORDS)
    words.set_words(item_words())
    model = Ranker(
        ItemTower(DIM, len(IDS) + 1),
        BehaviorTower(DIM, encoders, {"event_type": 3, "my device": 4}, {"country": 3}, timestamps=True, text_width=5),
        [BinaryHead(2.0, name="click"), BinaryHead(name="known"), RatingHead(1, 5, name="5-stars")],
        interactions=[Perceptron((12, 8)), CrossNetwork(1, 4)],
        target_attention=TargetAttention(DIM, 2),
        word_attention=words,
        context=CandidateContext(DIM, {"my device": 4, "slot": 3}, neutral=["slot"], heads=3),
    )
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.2, weight.shape))
    return model


def item_words() -> np.ndarray:
    """Each item has up to `WORDS` words, the first none."""
    rng = np.random.default_rng(1)
    held = np.arange(WORDS) < (np.arange(len(IDS) + 1) % (WORDS + 1))[:, None]
    return rng.normal(size=(len(IDS) + 1, WORDS, WIDTH)) * held[:, :, None]


def ranker_data(**changes):
    data = make_data(**changes)
    data.vocabularies["event_slot"] = Vocabulary(["first", "later"])
    data.items["candidate"] = [False, *(item != "item3" for item in IDS)]
    return data
