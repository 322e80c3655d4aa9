"""Text models small enough for a test: preset folders of each family that the text tower reads, weights random."""

import io
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "thing",
    "box",
]
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 32}
FAMILIES = ("Bert", "DistilBert", "Roberta", "XLMRoberta", "Albert", "DebertaV3", "GPT2", "OPT")


def write(folder: Path, family: str = "Bert", seed: int = 0) -> Path:
    """Write a preset; the folder."""
    import keras
    import keras_nlp

    keras.utils.set_random_seed(seed)
    tokenizer = _tokenizer(family)
    sizes = dict(SIZES, vocabulary_size=tokenizer.vocabulary_size())
    if family == "Albert":
        sizes["embedding_dim"] = 8
    backbone = getattr(keras_nlp.models, f"{family}Backbone")(**sizes)
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def _tokenizer(family: str) -> Any:
    import keras_nlp  # Not above: tfrec has a variable to set before Keras is touched.

    kind = getattr(keras_nlp.models, f"{family}Tokenizer")
    if family in ("Bert", "DistilBert"):
        return kind(PIECES, lowercase=True)
    if family in ("XLMRoberta", "Albert", "DebertaV3"):
        return kind(_sentence_pieces(family))
    marks = {"GPT2": ["<|endoftext|>"], "Roberta": ["<s>", "<pad>", "</s>", "<mask>"], "OPT": ["<pad>", "</s>"]}[family]
    return kind(vocabulary={token: place for place, token in enumerate([*marks, *LETTERS, "Ġ", "th"])}, merges=["t h"])


def _sentence_pieces(family: str) -> bytes:
    import sentencepiece

    written = io.BytesIO()
    marks = {"pad_id": 0, "bos_id": 2, "eos_id": 3, "unk_id": 1, "pad_piece": "<pad>", "unk_piece": "<unk>"}
    marks |= {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "user_defined_symbols": "[MASK]"}
    if family == "DebertaV3":
        marks |= {"pad_piece": "[PAD]"}
    if family == "XLMRoberta":
        marks = {"user_defined_symbols": ""}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS), LETTERS, "thing box"]), model_writer=written,
        vocab_size=50, model_type="CHAR", hard_vocab_limit=False, minloglevel=2, **marks,
    )  # fmt: skip
    return written.getvalue()
