"""All figures of one run, and `metrics.json`, which holds them for programs as `markdown` does for people."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tfrec.evaluation import Difference, Evaluation, compare
from tfrec.report.two_stages import TwoStages

ORACLE = "oracle"
HISTORY_ALONE = "history alone"  # The variant that is asked with what a bare request holds.
AS_SERVED = "as served"  # The variant of a ranker that is not told the neutral columns, which no request holds.
# What `metrics.json` holds at least.
KEYS = ("validation", "test", "baselines", "slices", "timing", "peak_memory_mb", "environment")
TIMING_KEYS = ("prepare_seconds", "train_seconds", "epochs", "epoch_seconds", "events_per_second")


@dataclass(frozen=True)
class Results:
    """What a run has to show.

    Attributes:
        name: name of the pipeline, and of the model's row in the tables.
        validation: the chosen epoch's evaluation on the validation split.
        test: the model's evaluation on the test split.
        baselines: name -> evaluation of the same users, in the order of the tables; `oracle` is the best answer known.
        variants: the same model asked otherwise, such as "history alone" -> evaluation.
        validation_variants: those of them that settings may be chosen by, on the validation split.
        timing: seconds and counts, at least `TIMING_KEYS` where they apply; `epoch_seconds` is a median.
        peak_memory_mb: MiB.
        environment: see `environment.describe`.
        two_stages: what is to be said of a second stage; None without one.
    """

    name: str
    validation: Evaluation
    test: Evaluation
    baselines: Mapping[str, Evaluation] = field(default_factory=dict)
    variants: Mapping[str, Evaluation] = field(default_factory=dict)
    validation_variants: Mapping[str, Evaluation] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float = float("nan")
    environment: Mapping[str, str | int | float] = field(default_factory=dict)
    two_stages: TwoStages | None = None

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The rows of every table: the model, its variants, the baselines, the oracle last."""
        rows = {self.name: self.test}
        rows |= {f"{self.name}, {variant}": evaluation for variant, evaluation in self.variants.items()}
        rows |= {name: evaluation for name, evaluation in self.baselines.items() if name != ORACLE}
        return rows | ({ORACLE: self.baselines[ORACLE]} if ORACLE in self.baselines else {})

    def differences(self, metrics: list[str], *, seed: int = 0) -> dict[str, dict[str, Difference]]:
        """Paired bootstrap of the model against each baseline but the oracle: name -> figure -> difference."""
        return {
            name: compare(self.test.per_user, baseline.per_user, metrics=metrics, seed=seed)
            for name, baseline in self.baselines.items()
            if name != ORACLE
        }

    def document(self) -> dict[str, Any]:
        """The content of `metrics.json`, with at least `KEYS`."""
        document: dict[str, Any] = {
            "name": self.name,
            "validation": self.validation.metrics,
            "validation_slices": _main_figures(self.validation.slices),
            "test": self.test.metrics,
            "baselines": {name: evaluation.metrics for name, evaluation in self.baselines.items()},
            "slices": self.test.slices,
            "baseline_slices": {name: _main_figures(evaluation.slices) for name, evaluation in self.baselines.items()},
            "timing": dict(self.timing),
            "peak_memory_mb": self.peak_memory_mb,
            "environment": dict(self.environment),
        }
        if self.two_stages is not None:
            document["two_stages"] = self.two_stages.document()
        if self.variants:
            document["variants"] = {name: evaluation.metrics for name, evaluation in self.variants.items()}
        for name, evaluation in self.validation_variants.items():
            document.setdefault("validation_variants", {})[name] = evaluation.metrics
        return document


def _main_figures(slices: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The slices with their users, HR and NDCG alone, so that the file stays short."""
    wanted = ("users", "hr@", "ndcg@")
    return {
        name: {key: value for key, value in part.items() if key.startswith(wanted)} for name, part in slices.items()
    }


def load_evaluations(path: str | os.PathLike[str]) -> dict[str, Evaluation]:
    """The rows of the results table from a `metrics.json`: the model and the baselines, without slices and users."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    rows = {document["name"]: document["test"], **document["baselines"]}
    return {name: Evaluation(metrics, {}, pd.DataFrame()) for name, metrics in rows.items()}


def write_metrics(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write `metrics.json`: whole or not at all, readable by any JSON reader.

    Args:
        path: the file; an older one is replaced.
        document: at least `KEYS`; NumPy numbers are fine. NaN and infinity, which JSON lacks, become null.

    Raises:
        ValueError: a key is missing, or a value is nothing that JSON can hold.
    """
    missing = [key for key in KEYS if key not in document]
    if missing:
        raise ValueError(f"document must have the keys {list(KEYS)}; {missing} is missing from {list(document)}")
    text = json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file under a temporary name beside it, then rename it, so that no reader meets half of it."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".writing-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def plain(value: Any) -> Any:
    """The same value out of dicts, lists, text, numbers and None; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ValueError(f"document must hold dicts, lists, text, numbers and None, got {type(value).__name__}: {value!r}")
