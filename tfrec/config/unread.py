"""Settings that a ranker of labels never reads: changed from their defaults, they are refused, not ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfrec.config.values import Settings

if TYPE_CHECKING:
    from tfrec.config.schema import Pipeline

_BY_RANKING = "candidates are judged by ranking.interactions"
_BY_HEADS = "its heads have losses of their own: cross-entropy of yes and no, squared error of a rating"
_NOTHING_RANKED = "it ranks no catalogue"
_ASKED = "it is asked about the candidates that a request names"

# Of a ranker of labels: sections and settings that only a model that recommends reads -> why not.
OF_RECOMMENDATION = {
    "data.seen": _NOTHING_RANKED,
    "model.similarity": _BY_RANKING,
    "model.temperature": _BY_RANKING,
    "model.new_items": "an item without a trained id is judged by its text and features",
    "model.text.start": "it starts from no other run",
    "training.objective": _BY_HEADS,
    "training.row_wise": "its steps read all items",
    "training.monitor": "ranking.monitor names the figure that chooses the epoch",
    "evaluation.cutoffs": _NOTHING_RANKED,
    "evaluation.depth": _NOTHING_RANKED,
    "export.k_max": _ASKED,
    "export.text_model": _ASKED,
    "export.text_weight": _ASKED,
    "export.recall": "there is no index",
}


def unread(pipeline: Pipeline) -> str | None:
    """The first setting of a ranker of labels that was changed and is not read, in words; None where there is none."""
    for path, reason in OF_RECOMMENDATION.items() if pipeline.predicts_labels else ():
        found = _changed(path, _at(pipeline, path))
        if found is not None:
            name, value = found
            return f"{name} is {value}, which a ranker of labels does not read, since {reason}: leave it out"
    return None


def _at(pipeline: Pipeline, path: str) -> tuple[Any, Any]:
    """What a pipeline has at a dotted key, and the default there."""
    section: Any = pipeline
    *sections, last = path.split(".")
    for name in sections:
        section = getattr(section, name)
    return getattr(section, last), type(section).model_fields[last].get_default(call_default_factory=True)


def _changed(path: str, values: tuple[Any, Any]) -> tuple[str, Any] | None:
    """Dotted key and value of the first setting that differs from its default, of a section its own settings."""
    value, default = values
    if value == default:
        return None
    if not isinstance(value, Settings):
        return path, value
    parts = ((f"{path}.{name}", (getattr(value, name), getattr(default, name))) for name in type(value).model_fields)
    return next(found for part, pair in parts if (found := _changed(part, pair)) is not None)
