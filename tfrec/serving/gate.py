"""The gate before publishing: a version is held to what it promises, and to what the one before it costs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrec.features import CANDIDATES, HISTORY, ITEM_ID, TEXT
from tfrec.serving import c_runner, manifest, operations, stored_answers
from tfrec.serving.names import SERVING_DEFAULT
from tfrec.serving.session import SessionModel, load_text_ops, open_session
from tfrec.serving.versions import version_of

logger = logging.getLogger(__name__)

LENGTHS, ROUNDS = 5, 8  # histories of so many lengths, each asked so often
JUDGED = 200  # candidates that a ranker is asked for beside each
# Less than this is noise, or nothing that anybody would notice, however many times the figure of before it is.
UNNOTICED_SECONDS, UNNOTICED_BYTES = 0.002, 32 * 2**20
_TEXT = "something like what I had, in blue"


@dataclass(frozen=True)
class Limits:
    """What a new version may cost beside the one that is served.

    Attributes:
        max_slowdown: how many times as long a request may take; None: any time. Up to 2 ms more are always let through.
        max_growth: how many times as large its files may be; None: any size. Up to 32 MiB more are always let through.

    Raises:
        ValueError: a limit is below 1.
    """

    max_slowdown: float | None = 2.0
    max_growth: float | None = 2.0

    def __post_init__(self) -> None:
        """Refuse what would let nothing through."""
        for name in ("max_slowdown", "max_growth"):
            value = getattr(self, name)
            if value is not None and not value >= 1:
                raise ValueError(f"`{name}` must be at least 1, or None for no limit; received {value!r}.")


def verify(folder: Path, *, answers: bool = True) -> dict[str, Any]:
    """Hold a version to its manifest, its operations to what servers have, load it as they do, and ask it something.

    Its answers must be those that the Keras model gave when it was exported (see `stored_answers`), in a session and,
    where there is a C compiler, in a process without Python (see `c_runner`).

    Args:
        folder: the version.
        answers: whether an answer that is not the model's refuses the version; else it is a warning. A version that was
            served already may have to come back on a machine that computes otherwise.

    Returns:
        `asked_in`: `session`, and `c` where it was asked there too; `made_up` and `real`, the histories.

    Raises:
        ValueError: a file is missing or changed, an operation is foreign, it does not load, or its answer is not one.
    """
    promised = manifest.verify(folder)
    reads_text = _reads_text(promised)
    operations.check(folder, text=reads_text)
    if reads_text:
        load_text_ops()
    with open_session(folder) as bundle:
        if bundle.signatures != promised["signatures"]:
            raise ValueError(f"{folder}: its signatures are not those of its manifest; export the model again.")
        _check_empty_histories(folder, bundle, promised)
        try:
            return _asked_again(folder, bundle, promised)
        except ValueError as error:
            if answers:
                raise
            logger.warning("%s", error)
            return {"asked_in": []}


def _asked_again(folder: Path, bundle: SessionModel, promised: Mapping[str, Any]) -> dict[str, Any]:
    """Hold the answers of a version, loaded and in a process without Python, to the stored ones; see `verify`."""
    told = promised["self_check"]
    limits = told["tolerance"], told.get("recall_floor", 1.0)
    asked = stored_answers.compare(folder, bundle, *limits)
    counts = {kind: asked[kind] for kind in ("made_up", "real")}
    try:
        libraries = operations.text_libraries() if _reads_text(promised) else ()
        with c_runner.open_runner(folder, libraries) as model:
            stored_answers.compare(folder, model, *limits)
    except c_runner.NotBuilt as reason:
        logger.debug("%s was not asked in a process without Python: %s", folder, reason)
        return {"asked_in": ["session"], **counts}
    return {"asked_in": ["session", "c"], **counts}


def _check_empty_histories(folder: Path, bundle: SessionModel, promised: Mapping[str, Any]) -> None:
    for shape in ((2, 3), (1, 0)):
        request = {HISTORY: np.full(shape, "", object)}
        if _reads_text(promised):
            request[TEXT] = np.full(shape[:1], "", object)
        if _judges(promised):
            request[CANDIDATES] = np.full((shape[0], 2), "", object)
        answer = bundle.run(SERVING_DEFAULT, request)
        if _judges(promised):
            if not all(np.isfinite(values).all() for values in answer.values()):
                raise ValueError(f"{folder}: what is predicted after an empty history is not finite; export again.")
            continue
        if answer["scores"].shape != (shape[0], promised["answer_size"]) or not np.isfinite(answer["scores"]).all():
            raise ValueError(f"{folder}: the answer to an empty history is not finite; export the model again.")
        if not answer["item_ids"][0, 0]:
            raise ValueError(f"{folder}: there is no answer to an empty history; export the model again.")


def compare(new: Path, old: Path, limits: Limits) -> dict[str, Any]:
    """Hold what a version costs to what the served one does, both loaded and asked in turn in this process.

    Args:
        new: a verified version.
        old: the version that has the label.
        limits: what is let through.

    Returns:
        `compared_with`, the number of the old version; `bytes` and `milliseconds` of one request (the median of 40
        of one user each), of both: new, old. Empty where the old one cannot be loaded, which a warning says.

    Raises:
        ValueError: the new one is too large or too slow.
    """
    try:
        report = _measured(new, old)
        if _too_slow(report, limits):  # Another program may have had the machine: two of two count.
            again = _measured(new, old)
            report = min(report, again, key=lambda one: one["milliseconds"][0] / one["milliseconds"][1])
    except (OSError, ValueError) as error:
        logger.warning("%s is not compared with %s, which cannot be asked: %s", new, old, error)
        return {}
    if _times_more(report["bytes"], limits.max_growth, UNNOTICED_BYTES):
        sizes = [f"{size / 2**20:.1f} MiB" for size in report["bytes"]]
        raise ValueError(_refusal(new, old, sizes, report["bytes"], "as large as", "max_growth"))
    if _too_slow(report, limits):
        took = [f"{milliseconds:.1f} ms a request" for milliseconds in report["milliseconds"]]
        raise ValueError(_refusal(new, old, took, report["milliseconds"], "as slow as", "max_slowdown"))
    return report


def _refusal(new: Path, old: Path, shown: Sequence[str], pair: Sequence[float], what: str, setting: str) -> str:
    times = pair[0] / pair[1]
    return (
        f"{new} is {times:.1f} times {what} version {old.name} of {old.parent.name}, which is served: {shown[0]}, "
        f"before {shown[1]}. It was not published. Where that is meant, allow it: --set export.{setting}="
        f"{np.ceil(times * 1.2 * 2) / 2:g}"
    )


def _too_slow(report: Mapping[str, Any], limits: Limits) -> bool:
    return _times_more(report["milliseconds"], limits.max_slowdown, 1000 * UNNOTICED_SECONDS)


def _times_more(pair: Sequence[float], limit: float | None, unnoticed: float) -> bool:
    new, old = pair
    return limit is not None and new > limit * old and new - old > unnoticed


def _measured(new: Path, old: Path) -> dict[str, Any]:
    """What both cost; see `compare`."""
    told = [manifest.read(folder) for folder in (new, old)]
    if any(map(_reads_text, told)):
        load_text_ops()
    requests = [_requests(folder, about) for folder, about in zip((new, old), told, strict=True)]
    with ExitStack() as stack:
        bundles = [stack.enter_context(open_session(folder)) for folder in (new, old)]
        seconds = _seconds(bundles, requests)
    return {
        "compared_with": version_of(old),
        "bytes": [sum(file["bytes"] for file in about["files"].values()) for about in told],
        "milliseconds": [round(1000 * each, 3) for each in seconds],
    }


def _requests(folder: Path, about: Mapping[str, Any]) -> list[dict[str, np.ndarray]]:
    """Requests of one made-up user each, with histories of one event up to all that the model reads."""
    ids = pd.read_parquet(folder / manifest.ITEMS, columns=[ITEM_ID])[ITEM_ID].to_numpy(object)
    rng = np.random.default_rng(0)
    lengths = np.linspace(1, about["max_length"], LENGTHS).astype(int)
    beside = {TEXT: np.array([_TEXT], object)} if _reads_text(about) else {}
    if _judges(about):
        beside[CANDIDATES] = rng.choice(ids, (1, JUDGED))
    return [{HISTORY: rng.choice(ids, (1, length)), **beside} for length in lengths]


def _seconds(bundles: Sequence[SessionModel], requests: Sequence[Sequence[Mapping[str, np.ndarray]]]) -> list[float]:
    """The median time of a request to each, asked in turn, the first round left out."""
    took: list[list[float]] = [[] for _ in bundles]
    for turn in range(ROUNDS + 1):
        for place in range(LENGTHS):
            for which in range(len(bundles))[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                bundles[which].run(SERVING_DEFAULT, requests[which][place])
                took[which] += [time.perf_counter() - start] if turn else []
    return [float(np.median(each)) for each in took]


def _judges(about: Mapping[str, Any]) -> bool:
    return about.get(manifest.KIND) == manifest.RANKER


def _reads_text(about: Mapping[str, Any]) -> bool:
    return about.get(manifest.KIND) == manifest.TEXT_MODEL
