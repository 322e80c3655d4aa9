"""Records what pipelines with the section `ranking` gave; the tables of the README and of docs/ come from the records.

python benchmarks/rankers.py NAME RUN [RUN ...] [--record]    a row of rankers.yaml, and its runs: a seed each, or the
                                           folder of one cross-validation -> results/rankers/NAME.json, and the tables
python benchmarks/rankers.py --page                           the tables alone
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import click_baselines
import compare
import numpy as np
import pandas as pd
import results
import yaml
from declared import alike, fewer_seeds, finished, held_to
from inputs import plain
from scipy import stats

from tfrec import config
from tfrec.evaluation import Difference, against_published, compare_predictions, measured
from tfrec.features import MODEL_ROW, PER_USER

FOLDER, ROWS = results.RESULTS / "rankers", results.ROOT / "benchmarks" / "rankers.yaml"
README = results.ROOT / "README.md"
MARK = "rankers"
NAMES = {"auc": "AUC", "log_loss": "log loss", "calibration_error": "calibration error", "rmse": "RMSE", "mae": "MAE"}
PAIRED = ("auc", "user_auc", "log_loss", "calibration_error")


@click.command()
@click.argument("name", required=False)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--page", is_flag=True, help="Write the tables from the records, and record nothing.")
@click.option("--record", "fewer", is_flag=True, help="Write the record with fewer seeds than it has, too.")
def main(name: str | None, runs: tuple[Path, ...], *, page: bool, fewer: bool) -> None:
    """Record finished runs of a row, and write the tables."""
    if not page:
        if name not in rows() or not runs:
            raise click.ClickException(f"give a row, one of {', '.join(rows())}, and its runs; or --page")
        try:
            document = recorded(rows()[name], runs)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        path = FOLDER / f"{name}.json"
        told = fewer_seeds(path, document["seeds"])
        if told and not fewer:
            raise click.ClickException(told)
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    results.fill(README, MARK, table(records()))


def rows() -> dict[str, dict[str, Any]]:
    """The rows by name."""
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def records() -> dict[str, dict[str, Any]]:
    """The records by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def recorded(row: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """The record of the runs of a row.

    Raises:
        ValueError: a run is not finished under its settings, which are not those of the row, or the runs differ in
            more than their seed.
    """
    found: Callable[[Mapping[str, Any], Sequence[Path]], dict[str, Any]]
    found = {"seeds": _of_seeds, "folds": _of_folds, "stages": _of_stages}[row["runs"]]
    folds = [sorted(run.glob("fold_[0-9]*")) for run in runs] if row["runs"] == "folds" else [[run] for run in runs]
    parts = [part for run in folds for part in run]
    if not parts or (row["runs"] == "folds" and len(runs) != 1):
        raise ValueError("give the folder of one cross-validation")
    pipelines = [finished(part) for part in parts]
    held_to(row, pipelines)
    seeds = alike(pipelines, folds=row["runs"] == "folds")
    documents = [_metrics(part) for part in parts]
    return {
        "pipeline": pipelines[0].name,
        "recorded_with": results.commit(),  # The code that reads the runs; they may be of earlier code.
        "seeds": seeds,
        "settings": _settings(pipelines[0]),
        **found(row, runs),
        "timing": [each["timing"] for each in documents],
        "peak_memory_mb": max(each["peak_memory_mb"] for each in documents),
        "environments": [each["environment"] for each in documents],
    }


def _metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def _settings(pipeline: config.Pipeline) -> dict[str, Any]:
    """The settings of a pipeline as a record holds them, of no fold."""
    settings = plain(pipeline)
    settings["data"]["split"]["fold"] = None
    return settings


def _of_seeds(row: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """Rankers of labels: each seed's figures, and those of the baselines."""
    documents = [_metrics(run) for run in runs]
    found = {
        "test": [each["test"] for each in documents],
        "validation": [each["validation"] for each in documents],
        "baselines": documents[0]["baselines"],
        "variants": documents[0]["variants"],
    }
    return found | (_hand_made(runs) if row.get("hand_made") else {})


def _hand_made(runs: Sequence[Path]) -> dict[str, Any]:
    """Models on hand-made features beside the runs, on all test users, on new and on known ones."""
    told: dict[str, Any] = {}
    for part, baselines, ours in click_baselines.parts(runs):
        told[part] = {"runs": measured(list(ours.values()))}
        for name, each in baselines.items():
            gaps = compare_predictions(list(ours.values()), each)
            told[part][name] = {**measured(each), "difference": {figure: _told(gaps[figure]) for figure in PAIRED}}
    return {"hand_made": told}


def _told(gap: Difference) -> dict[str, Any]:
    return {key: getattr(gap, key) for key in ("ours", "theirs", "difference", "low", "high", "verdict")}


def _of_folds(row: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """What a cross-validation says of the model and of the baselines."""
    return {"folds": json.loads((runs[0] / "cross_validation.json").read_text(encoding="utf-8"))}


def _of_stages(row: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """Two stages beside recall alone, paired over users, the seeds averaged."""
    tables = [pd.read_parquet(run / PER_USER) for run in runs]
    sides = [[compare.by_user(table, name) for table in tables] for name in (MODEL_ROW, row["beside"])]
    gaps = compare.compare(*sides, metrics=["hr@10", "ndcg@10", "mrr@10"])
    documents = [_metrics(run) for run in runs]
    return {
        "test": [each["test"] for each in documents],
        "validation": [each["validation"] for each in documents],
        "recall": [{key: value for key, value in each["two_stages"].items() if "@" in key} for each in documents],
        "difference": {figure: _told(gap) for figure, gap in gaps.items()},
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The README's table of records."""
    lines = ["| pipeline | predicts | test | beside it |", "| --- | --- | --- | --- |"]
    known = rows()
    for name, one in found.items():
        row = known[name]
        say = {"seeds": _say_seeds, "folds": _say_folds, "stages": _say_stages}[row["runs"]]
        lines.append("| " + " | ".join([name, row["predicts"], *say(row, one)]) + " |")
    return "\n".join(lines)


def _say_seeds(row: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, str]:
    told = [f"{_name(figure)} {_mean(one['test'], figure)}" for figure in row["figures"]]
    first, beside = row["figures"][0], []
    for name, each in one.get("hand_made", {}).get("all", {}).items():
        if name != "runs":
            gap = each["difference"][first]
            beside.append(f"{name} {each[first]:.4f} ({_gap(gap)})")
    if "beside" in row:
        beside.append(f"{row['beside'].replace('_', ' ')} {one['baselines'][row['beside']][first]:.4f}")
    seeds = f"; {len(one['test'])} seed(s)"
    return ", ".join(told) + seeds, ", ".join(beside)


def _say_folds(row: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, str]:
    figures, first = one["folds"], row["figures"][0]
    model = figures[one["pipeline"]]
    told = [
        f"{_name(each)} {model[each]['mean']:.4f} ± {model[each]['spread']:.4f} over folds" for each in row["figures"]
    ]
    beside = [f"{row['beside'].replace('_', ' ')} {figures[row['beside']][first]['mean']:.4f}"]
    published = row.get("published")
    if published:
        half = _half_width(model[first]["folds"])
        word = against_published(-model[first]["mean"], half, -published[first])  # Less is better.
        beside.insert(0, f"{published['by']} {published[first]:.3f} ({word})")
    return ", ".join(told), ", ".join(beside)


def _say_stages(row: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, str]:
    gaps = one["difference"]
    told = ", ".join(f"{_name(figure)} {gaps[figure]['ours']:.4f}" for figure in row["figures"])
    first = row["figures"][0]
    beside = f"{row['beside'].replace('_', ' ')} {gaps[first]['theirs']:.4f} ({_gap(gaps[first])})"
    if "control" in row:
        found = json.loads((results.RESULTS / f"{row['control']}.json").read_text(encoding="utf-8"))
        control = found["against_the_control"]["two stages"][first]
        beside += f", with the second stage's events {control['theirs']:.4f} ({_gap(control)})"
    return f"{told}; {len(one['test'])} seed(s)", beside


def _half_width(folds: Sequence[float]) -> float:
    """95 % half-width of the mean over folds, by Student's t."""
    return float(stats.t.ppf(0.975, len(folds) - 1) * np.std(folds, ddof=1) / np.sqrt(len(folds)))


def _name(figure: str) -> str:
    return NAMES.get(figure, figure.upper())


def _mean(seeds: Sequence[Mapping[str, float]], figure: str) -> str:
    """The mean over seeds, the mean of their half-widths over users, and the least and the most."""
    values, half = [each[figure] for each in seeds], np.mean([each[f"{figure}_half_width"] for each in seeds])
    spread = f" ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else ""
    return f"{np.mean(values):.4f} ± {half:.4f}{spread}"


def _gap(gap: Mapping[str, Any]) -> str:
    return f"{gap['difference']:+.4f}, {gap['low']:+.4f} to {gap['high']:+.4f}: {gap['verdict']}"


if __name__ == "__main__":
    main()
