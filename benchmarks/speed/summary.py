"""What the measurements of speed say: figures of rounds and ways, ratios, and the table of docs/speed.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

EPOCHS = 3  # Of a round.
OTHERS = {"rectools": "RecTools", "recbole": "RecBole"}


def figures(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is told of one library's rounds; of an epoch told from some steps nothing that takes whole epochs."""
    whole = "extrapolated_from_steps" not in rounds[0]
    extras = ("padding", "steps", "batch", "samples", "extrapolated_from_steps", "versions")
    return {
        "epoch_seconds": _spread([second for part in rounds for second in part["epoch_seconds"][1 if whole else 0 :]]),
        "first_epoch_seconds": _spread([part["epoch_seconds"][0] for part in rounds]) if whole else None,
        "peak_memory_mb": max(part["peak_memory_mb"] for part in rounds),
        "recommend_seconds": _spread([part["recommend_seconds"] for part in rounds]),
        "recommended_users": rounds[0]["users"],
        "ndcg_after_a_round": statistics.fmean(part["ndcg"][-1] for part in rounds) if whole else None,
        **{name: rounds[0][name] for name in extras if name in rounds[0]},
    }


def with_way(told: Mapping[str, Any], way: Sequence[float] | None, target: float) -> dict[str, Any]:
    """A library's figures with its way to the target: validation NDCG@10 by epoch, and the seconds.

    The seconds are those of a first epoch, and of the middle one of the others for each after it.

    A way that was given up or stopped before the target takes at least one epoch more; so does one of which there are
    rounds alone, if they end before it.
    """
    after = told["ndcg_after_a_round"]

    def seconds(epochs: int) -> float:
        return told["first_epoch_seconds"]["median"] + told["epoch_seconds"]["median"] * (epochs - 1)

    if way is None:
        least = seconds(EPOCHS + 1) if after is not None and after < target else None
        return {**told, "validation_ndcg@10": None, "seconds_to_target": None, "least_seconds_to_target": least}
    reached, epochs = way[-1] >= target, len(way)
    return {
        **told,
        "validation_ndcg@10": list(way),
        "seconds_to_target": seconds(epochs) if reached else None,
        "least_seconds_to_target": seconds(epochs + (not reached)),
    }


def way_ratios(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float | None]:
    """How many times as long the other library's way takes; at least, where it did not come to the target."""
    mine = ours["seconds_to_target"]
    wholly, least = theirs["seconds_to_target"], theirs["least_seconds_to_target"]
    return {
        "quality_ratio": None if None in (mine, wholly) else wholly / mine,
        "quality_ratio_at_least": None if None in (mine, least) else least / mine,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "count": len(values)}


def ratios(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """How many times as much the other library takes."""
    return {
        "epoch_ratio": theirs["epoch_seconds"]["median"] / ours["epoch_seconds"]["median"],
        "memory_ratio": theirs["peak_memory_mb"] / ours["peak_memory_mb"],
        "recommend_ratio": theirs["recommend_seconds"]["median"] / ours["recommend_seconds"]["median"],
    }


def table(record: Mapping[str, Any]) -> str:
    """The page's table of a record; RecBole has its columns where some data set has its rounds."""
    others = [other for other in OTHERS if any(other in found for found in record["data"].values())]
    lines = [
        "| data | | tfrec |" + "".join(f" {OTHERS[other]} | times |" for other in others),
        "| --- | --- | ---: |" + " ---: | ---: |" * len(others),
    ]
    for name, found in record["data"].items():
        shown = {library: _cells(found.get(library)) for library in ("tfrec", *others)}
        what = (
            ("an epoch, s", "epoch_ratio"),
            (f"to validation NDCG@10 {found['target']}, s", "quality_ratio"),
            ("most memory, MiB", "memory_ratio"),
            (f"10 items for each of {found['tfrec']['recommended_users']:,} users, s", "recommend_ratio"),
        )
        for row, (title, ratio) in enumerate(what):
            beside = "".join(
                f" {shown[other][row]} | {_times(found, ratio if other == 'rectools' else f'{ratio}_{other}')} |"
                for other in others
            )
            lines.append(f"| {name} | {title} | {shown['tfrec'][row]} |{beside}")
    return "\n".join(lines)


def _cells(told: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    """What the rows say of a library."""
    if told is None:
        return ("-",) * 4
    steps = told.get("extrapolated_from_steps")
    return (
        _cell(told["epoch_seconds"]) + (f", from {steps} steps" if steps else ""),
        _reached(told),
        f"{told['peak_memory_mb']:,.0f}",
        _cell(told["recommend_seconds"]),
    )


def _times(found: Mapping[str, Any], ratio: str) -> str:
    if found.get(ratio) is not None:
        return f"{found[ratio]:.1f}"
    least = found.get(f"{ratio}_at_least")
    return "-" if least is None else f"at least {least:.1f}"


def _cell(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.1f} ({spread['least']:.1f} to {spread['most']:.1f})"


def _reached(told: Mapping[str, Any]) -> str:
    """The way to the target; after a round, where it was not measured."""
    if told.get("validation_ndcg@10") is None:
        after = told["ndcg_after_a_round"]
        return "-" if after is None else f"{after:.4f} after {EPOCHS} epochs"
    epochs = len(told["validation_ndcg@10"])
    if told["seconds_to_target"] is None:
        return f"{max(told['validation_ndcg@10']):.4f} in {epochs} epochs"
    return f"{told['seconds_to_target']:.0f} ({epochs} epochs)"
