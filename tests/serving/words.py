"""Small text models with random weights, one of each family of tokenizers, and two-tower models that read them."""

from types import SimpleNamespace

import keras
import numpy as np

from tests.serving.conftest import DIM, IDS, MAX_LENGTH, NOT_CANDIDATES
from tfrec.retrieval import FullSoftmax, TwoTower
from tfrec.towers import BehaviorTower, ItemTower, LiGRBlock, SelfAttentionEncoder
from tfrec.towers.text import Embedder
from tfrec.towers.text_models import TextModel

WIDTH, MAX_TOKENS = 16, 8
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "nail",
    "polish",
    "title",
    "of",
    "item",
    "##0",
    "##1",
    "商",
    "品",
]


def bert() -> TextModel:
    """A BERT of one block: WordPiece, a mean over the tokens."""
    import keras_nlp

    keras.utils.set_random_seed(5)
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary=PIECES, lowercase=True)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": WIDTH, "intermediate_dim": 8, "max_sequence_length": 16}
    backbone = keras_nlp.models.BertBackbone(vocabulary_size=len(PIECES), dropout=0.1, **sizes)
    return TextModel("tiny", tokenizer, _spread(backbone), "mean", MAX_TOKENS)


def gpt2() -> TextModel:
    """A GPT-2 of one block: byte pairs, the last token."""
    import keras_nlp

    keras.utils.set_random_seed(5)
    letters = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", "na", "il", "nail", "Ġp", "<|endoftext|>"]
    vocabulary = {piece: place for place, piece in enumerate(letters)}
    tokenizer = keras_nlp.models.GPT2Tokenizer(vocabulary=vocabulary, merges=["n a", "i l", "na il", "Ġ p"])
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": WIDTH, "intermediate_dim": 8, "max_sequence_length": 16}
    backbone = keras_nlp.models.GPT2Backbone(vocabulary_size=len(vocabulary), **sizes)
    return TextModel("tiny", tokenizer, _spread(backbone), "last", MAX_TOKENS)


def _spread(backbone):
    """Weights large enough that texts differ."""
    rng = np.random.default_rng(2)
    for weight in backbone.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape))
    return backbone


def encoder(text: TextModel) -> SimpleNamespace:
    """What `export_text` needs of a text encoder."""
    return SimpleNamespace(model=text, preset=text.source)


def embed(text: TextModel, *texts: str) -> np.ndarray:
    """float32 [N, W]."""
    return Embedder(text).encode(*(part.numpy() for part in text.tokens(list(texts))))


def two_tower(text: TextModel, *, user_text: bool = False) -> TwoTower:
    """A model of the catalogue of these tests that reads titles, and the users' texts where it is said so."""
    keras.utils.set_random_seed(3)
    rows, width = len(IDS) + 1, text.width
    tower = ItemTower(DIM, rows, text_width=width)
    tower.build()
    tower.set_features(text=np.concatenate([np.zeros((1, width)), embed(text, *(f"Title of {one}" for one in IDS))]))
    inputs = {"text_width": width, "user_columns": {"country": 3}} if user_text else {}
    encoders = [SelfAttentionEncoder([LiGRBlock(DIM, 2, max_length=MAX_LENGTH)])]
    candidates = [row for row in range(1, rows) if row not in NOT_CANDIDATES]
    model = TwoTower(tower, BehaviorTower(DIM, encoders, **inputs), FullSoftmax(candidates), candidates=candidates)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    return model
