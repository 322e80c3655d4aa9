"""Asks a program of its own whether the figures of runs are right; the library is not its own judge."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tfrec.features import EVENTS_SCORED, RECOMMENDATIONS_TEST

# Beside the checkout, or where `TFREC_SCORER` says.
SCORER = Path(os.environ.get("TFREC_SCORER", Path(__file__).resolve().parents[2] / "shared" / "tools" / "score.py"))
TOLERANCE = 1e-6
FIGURES = ("hr@10", "ndcg@10", "mrr@10")
COLD = "cold_items"


def scored(folders: Sequence[Path]) -> dict[str, Any] | None:
    """The SHA-256 of the independent scorer, and how far its figures are from the runs' at most; None without one.

    Raises:
        ValueError: it finds a rule broken, or a figure that differs.
    """
    if not SCORER.exists():
        print(
            f"no independent scorer looked at the figures: {SCORER} is not there, TFREC_SCORER names one",
            file=sys.stderr,
        )
        return None
    gaps = []
    for folder in folders:
        theirs = _scores(folder)
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        parts = [(theirs["all"], metrics["test"])]
        parts += [(theirs["cold"], metrics["slices"][COLD])] if "cold" in theirs else []
        gaps += [abs(one[figure] - other[figure]) for one, other in parts for figure in FIGURES]
    if max(gaps) > TOLERANCE:
        raise ValueError(f"{SCORER.name} and the runs differ by {max(gaps):.2g}, and may by {TOLERANCE}")
    return {"sha256": hashlib.sha256(SCORER.read_bytes()).hexdigest(), "largest_difference": max(gaps)}


def _scores(folder: Path) -> dict[str, Any]:
    """What the independent scorer says of a run, of the users with a cold target too where items are held out.

    Raises:
        ValueError: it finds a rule broken.
    """
    items = pd.read_parquet(folder / "dataset" / "items.parquet", columns=["item_id", "held_out"])
    cold = items.loc[items["held_out"] == 1, ["item_id"]]
    words = ["--events", folder / EVENTS_SCORED, "--recs", folder / RECOMMENDATIONS_TEST, "--cutoffs", "10"]
    with tempfile.TemporaryDirectory() as scratch:
        if len(cold):
            cold.to_csv(Path(scratch) / "cold.csv", index=False)
            words += ["--cold", Path(scratch) / "cold.csv"]
        done = subprocess.run([sys.executable, SCORER, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{SCORER.name} refuses {folder}: {(done.stdout + done.stderr).strip()[-300:]}")
    return json.loads(done.stdout)
