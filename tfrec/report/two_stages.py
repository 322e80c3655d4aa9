"""What a run with two stages has to show besides its figures, and what `metrics.json` holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfrec.evaluation import Difference
from tfrec.evaluation.metrics import HALF_WIDTH

TRADE_OFF = "trade_off"


@dataclass(frozen=True)
class TwoStages:
    """What a run with two stages has to show besides its figures.

    Attributes:
        recall: items that the first stage hands on.
        found: mean over test users of the share of their relevant items among these.
        found_half_width: its 95 % half-width.
        differences: split -> figure -> both stages minus recall alone.
        curve: for each trade-off of diversity its `trade_off` and figures on validation; empty without diversity.
        trade_off: that of the pipeline; None without diversity.
    """

    recall: int
    found: float
    found_half_width: float
    differences: Mapping[str, Mapping[str, Difference]]
    curve: Sequence[Mapping[str, float]] = field(default_factory=tuple)
    trade_off: float | None = None

    def document(self) -> dict[str, Any]:
        """What `metrics.json` holds of it."""
        gaps = {
            split: {
                name: {"recall_alone": gap.theirs, "two_stages": gap.ours, "difference": gap.difference,
                       "low": gap.low, "high": gap.high}
                for name, gap in figures.items()
            }
            for split, figures in self.differences.items()
        }  # fmt: skip
        found = {f"recall@{self.recall}": self.found, f"recall@{self.recall}{HALF_WIDTH}": self.found_half_width}
        return {"recall": self.recall, **found, "against_recall_alone": gaps, "diversity": list(self.curve)}
