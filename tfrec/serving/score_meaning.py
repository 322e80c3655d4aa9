"""What a score of an exported model says, for its manifest; the exports write it."""

from __future__ import annotations

from typing import Any

from tfrec.retrieval import FullSoftmax


def of_products(model: Any) -> dict[str, Any]:
    """The meaning of the scores of a two-tower model.

    Training fits a softmax, so that scores are logits: there is no number to be calibrated in an answer, which lacks
    the rest of the catalogue. What holds of a logit is said, and that nothing was fitted to make it a frequency.
    """
    whole = isinstance(model.objective, FullSoftmax)
    return {
        "is": "inner product of the vectors of embed_query and embed_item",
        "similarity": model.similarity,
        "temperature": model.temperature.value,
        "difference": "of two items of one answer: the log of how many times as likely as the other the one is",
        "probability": "softmax over all items that training events mention, seen ones too" if whole else None,
        "between_histories": "not comparable",
        "calibrated": False,
    }


def of_stages(model: Any) -> dict[str, Any]:
    """The meaning of the scores of a two-stage model, logits of its second stage."""
    return {
        "is": "logit of the second stage, of what the first one recalls",
        "recall": model.recall,
        "diverse": model.diversity is not None,
        "difference": "of two items of one answer: the log of how many times as likely as the other the one is",
        "probability": "softmax over what the first stage recalls" if model.loss_name == "softmax" else None,
        "between_histories": "not comparable",
        "calibrated": False,
    }


def of_text(model: Any, scale: float | None) -> dict[str, Any]:
    """The meaning of the scores of a text model, to which a query adds `scale` times a cosine; None where none is."""
    meaning = of_products(model)
    if scale is None:
        return {**meaning, "is": "inner product of the vectors of the history with the text, and of the item"}
    added = f"the score of the history plus {scale:.4g} times the cosine of the query's and the item's text"
    return {**meaning, "is": added, "difference": None, "probability": None}
