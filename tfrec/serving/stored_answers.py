"""Requests that lie in a version with the Keras model's answers: the export writes them, the gate asks them again.

The model is gone where a version is published. What it answered goes along, so that whoever loads the version, under
another TensorFlow, on another machine, can be held to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tfrec.serving import prediction_logs, server_config
from tfrec.serving.manifest import EXTRA
from tfrec.serving.names import ITEM_IDS, SCORES
from tfrec.serving.session import open_session
from tfrec.serving.versions import real_file

if TYPE_CHECKING:
    from tfrec.serving.selfcheck import Check  # It needs Keras, which the gate does not.

FILE = f"{EXTRA}/stored_answers"


class Asked(Protocol):
    """A loaded version: a `SessionModel`, or a `CModel`."""

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature by name."""


def write(folder: Path, check: Check) -> None:
    """Write what the model of a check answers to made-up users into the version that is built in `folder`.

    An approximate index answers otherwise by design, and its recall on other histories is another one. Of such a
    version, which the check has just held to its recall, its own answers are kept: it shall go on finding these.
    """
    _write(folder / FILE, folder, check)


def write_real(version: Path, check: Check, histories: Sequence[Sequence[str]]) -> None:
    """Write what the model answers to people beside an exported version: their histories are never published."""
    real_file(version).unlink(missing_ok=True)
    if histories and not (version.parent.parent / server_config.FILE).exists():
        _write(real_file(version), version, check, histories)


def _write(path: Path, folder: Path, check: Check, histories: Sequence[Sequence[str]] | None = None) -> None:
    if getattr(check, "recall_floor", 1.0) == 1:
        prediction_logs.write(path, check.answered(histories))
        return
    with open_session(folder) as bundle:
        prediction_logs.write(path, check.answered(histories, bundle))


def compare(folder: Path, bundle: Asked, tolerance: float, recall_floor: float = 1.0) -> dict[str, Any]:
    """Ask a loaded version again: made-up histories, and real ones where it lies where it was exported.

    Args:
        folder: the version.
        bundle: what was loaded of it.
        tolerance: by how much scores may differ, relative to a user's largest score where that is above 1.
        recall_floor: the share of the stored items that the answers must show; below 1 for an approximate index alone.

    Returns:
        `largest_difference` of a score, and how many histories of each kind were asked: `made_up` and `real`.

    Raises:
        ValueError: an answer is not the model's; the message says which.
    """
    if not (folder / FILE).is_file():
        raise ValueError(f"{folder}: {FILE} is missing; export the model again.")
    worst, made_up = _compare(folder / FILE, folder, bundle, tolerance, recall_floor)
    found, real = 0.0, 0
    if real_file(folder).is_file():
        found, real = _compare(real_file(folder), folder, bundle, tolerance, recall_floor)
    return {"largest_difference": max(worst, found), "made_up": made_up, "real": real}


def _compare(path: Path, folder: Path, bundle: Asked, tolerance: float, recall_floor: float) -> tuple[float, int]:
    """The largest difference of a score, and the most histories that a signature was asked."""
    worst, shares, histories = 0.0, [], 0
    for signature, inputs, expected in prediction_logs.read(path):
        given = bundle.run(signature, inputs)
        if any(name not in given or given[name].shape != values.shape for name, values in expected.items()):
            raise ValueError(f"{folder}: {signature} answers in another shape than the model; export the model again.")
        rows = len(next(iter(inputs.values())))
        histories = max(histories, rows)
        for row in range(rows):
            answers = [{name: values[name][row] for name in expected} for values in (expected, given)]
            ranked = ITEM_IDS in expected
            off, share = _difference(*answers, exact=recall_floor >= 1) if ranked else _off(*answers)
            if not off <= tolerance:
                what, others = ("scores", "left") if ranked else ("predictions", "known")
                how = f"{what} differ by {off:.2g} of their scale, not {tolerance}"
                raise ValueError(
                    f"{folder}: {signature} answers otherwise than the model did at its export, row {row + 1}: "
                    f"{f'other items are {others}' if np.isinf(off) else how}. Export the model again, with the "
                    "TensorFlow that is to serve it."
                )
            worst = max(worst, off)
            shares.append(share)
    if not shares:
        raise ValueError(f"{path} is damaged: it holds no request; export the model again.")
    if recall_floor < 1 and not np.mean(shares) >= recall_floor:
        raise ValueError(
            f"{folder}: the index finds {np.mean(shares):.3f} of what it found before, not {recall_floor}."
        )
    return worst, histories


def _off(expected: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> tuple[float, float]:
    """How far a ranker's predictions are off, of their scale, and 1; infinitely where it knows other items."""
    off = [0.0]
    for name, values in expected.items():
        if values.dtype == np.float32:
            scale = max(1.0, float(np.abs(values).max(initial=0.0)))
            off.append(float(np.abs(given[name] - values).max(initial=0.0)) / scale)
        elif not np.array_equal(values, given[name]):
            return float("inf"), 0.0
    return float(np.max(off)), 1.0


def _difference(expected: dict[str, np.ndarray], given: dict[str, np.ndarray], *, exact: bool) -> tuple[float, float]:
    """How far an answer's scores are off, of the scale of the row, and the share of the model's items that it shows.

    Ids may swap as far as scores may differ: an item of one answer alone has a score like the last one of the other.
    """
    shown = expected[ITEM_IDS] != b""
    scale = max(1.0, float(np.abs(expected[SCORES][shown]).max(initial=0.0)))
    sides = [dict(zip(side[ITEM_IDS].tolist(), side[SCORES].tolist(), strict=True)) for side in (expected, given)]
    model, answer = ({item: score for item, score in side.items() if item} for side in sides)
    off = [abs(answer[item] - score) for item, score in model.items() if item in answer]
    found = len(off)
    if exact:
        if len(answer) != len(model) or len(answer) != np.count_nonzero(given[ITEM_IDS] != b""):
            return float("inf"), 0.0
        off += np.abs(given[SCORES] - expected[SCORES]).tolist()
        last = min(model.values(), default=0.0)
        off += [abs(score - last) for item, score in answer.items() if item not in model]
    return float(np.max(off, initial=0.0)) / scale, found / max(1, len(model))
