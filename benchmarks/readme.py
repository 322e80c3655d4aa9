"""Writes the tables of the README from the records of benchmarks/results.

python benchmarks/readme.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import results
from compare import SEEDS_OF_A_CLAIM

from tfrec.evaluation import against_published

README = results.ROOT / "README.md"
MARK, MORE = "results", "more results"
HEAD = "| pipeline | reads | HR@10 | NDCG@10 | best published | best baseline (NDCG@10) | seeds | trained | memory |"


def table(found: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The README's table, of some records or of all."""
    lines, known = [HEAD, "| --- | --- | ---: | ---: | --- | --- | ---: | ---: | ---: |"], results.rows()
    for name, one in (results.records() if found is None else found).items():
        lines.append("| " + " | ".join([name, *_cells(one, known.get(name, {}))]) + " |")
    return "\n".join(lines)


def _cells(found: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """What the table says of a record; `row` is what rows.yaml does."""
    known = {name: figures for name, figures in found["baselines"].items() if name != "oracle"}
    best = max(known, key=lambda name: known[name]["ndcg@10"])
    verdict = found["differences"][best]["ndcg@10"]["verdict"]
    minutes = np.median([_seconds_to_best(timing) for timing in found["timing"]]) / 60
    machines = found.get("environments") or [found["environment"]]
    cores = "/".join(map(str, sorted({machine["cores"] for machine in machines})))
    return [
        row.get("reads", ""),
        *(_figure(found, name) for name in results.FIGURES[:2]),
        _beside_published(found, row.get("published")),
        f"{best} {known[best]['ndcg@10']:.4f} ({verdict})",
        str(len(found["seeds"])),
        f"{minutes:.0f} min, {cores} core(s)",
        f"{found['peak_memory_mb'] / 1024:.1f} GiB",
    ]


def _figure(found: Mapping[str, Any], name: str) -> str:
    """Mean ± half-width over users (spread over seeds)."""
    return f"{found['test'][name]['mean']:.4f} ± {found['half_width'][name]:.4f} ({found['test'][name]['spread']:.4f})"


def _seconds_to_best(timing: Mapping[str, Any]) -> float:
    """Seconds of the epochs up to the best one; of records that lack them, by the median epoch."""
    return timing.get("seconds_to_best", timing["epoch_seconds"] * timing["best_epoch"])


def _beside_published(found: Mapping[str, Any], published: Mapping[str, Any] | None) -> str:
    """The best published figures of a protocol, whose they are, and the word for ours, which takes three seeds."""
    if not published:
        return "none"
    figures = f"{' / '.join(f'{published[figure]:.4f}' for figure in results.FIGURES[:2])}, {published['by']}"
    if len(found["seeds"]) < SEEDS_OF_A_CLAIM:
        return figures
    words = [
        against_published(found["test"][figure]["mean"], found["half_width"][figure], published[figure])
        for figure in results.FIGURES[:2]
    ]
    return f"{figures} ({words[0] if words[0] == words[1] else ' / '.join(words)})"


def more(found: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The README's lines on slices of rows and on differences of two rows, of some records or of all."""
    lines, known = [], results.rows()
    for name, one in (results.records() if found is None else found).items():
        for part, published in known.get(name, {}).get("slices", {}).items():
            lines.append(_slice(name, part, one, published))
        for other, gaps in one.get("beside", {}).items():
            told = "; ".join(
                f"{figure.upper()} {gap['difference']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}): {gap['verdict']}"
                for figure, gap in gaps.items()
            )
            lines.append(f"- `{name}` less `{other}`: {told}.")
    return "\n".join(lines)


def _slice(name: str, part: str, found: Mapping[str, Any], published: Mapping[str, Any] | None) -> str:
    """A line on the users of a slice; `published` is of HR@10."""
    mean, half = found["slices"][part]["hr@10"]["mean"], found["slice_half_width"][part]["hr@10"]
    told = f"- `{name}`, users in `{part}`: HR@10 {mean:.4f} ± {half:.4f}"
    if not published:
        return f"{told}."
    told += f"; {published['hr@10']:.4f} by {published['by']}"
    word = against_published(mean, half, published["hr@10"])
    return f"{told} ({word})." if len(found["seeds"]) >= SEEDS_OF_A_CLAIM else f"{told}."


def write_tables() -> None:
    """Write what the records say into the pages."""
    results.fill(README, MARK, table())
    results.fill(README, MORE, more())


if __name__ == "__main__":
    write_tables()
