"""The programs of benchmarks/ as modules, and what their tests give them: a pipeline, and what a run leaves."""

import importlib.util
import json
import sys
from pathlib import Path

import pandas as pd

from tfrec import config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))  # Where they find one another, as they do when they are run.
PIPELINE = (
    "name: small\nseed: {seed}\ndata: {{events: {{path: e.csv, columns: {{position: n}}}}, max_length: {length}}}\n"
)
EMPTY = "before\n<!-- {0} -->\n<!-- end of {0} -->\nafter\n"


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_rows(results, monkeypatch, folder: Path) -> None:
    """Make every row, and a row `small`, one of the small pipeline that `run` is of; each run counts as finished."""
    (folder / "small.yaml").write_text(PIPELINE.format(seed=1, length=50))
    named = {name: {**row, "pipeline": "small", "set": []} for name, row in results.rows().items()}
    monkeypatch.setattr(results, "rows", lambda: {"small": {"pipeline": "small"}, **named})
    monkeypatch.setattr("declared.PIPELINES", folder)
    monkeypatch.setattr(results, "finished", lambda run: config.load(run / "config.yaml"))


def experiments_in(folder: Path, results, monkeypatch):
    """The command that keeps experiments, with a log and a page of its own, where each commit is the same one."""
    monkeypatch.setitem(sys.modules, "results", results)
    monkeypatch.setattr(results, "_git", lambda *words: "0123456789abcdef")
    module = script("experiments")
    monkeypatch.setattr(module, "LOG", folder / "experiments.jsonl")
    monkeypatch.setattr(module, "PAGE", folder / "page.md")
    module.PAGE.write_text(EMPTY.format(module.MARK))
    return module


def dataset(folder: Path, last: str = "a") -> None:
    """What `prepare` leaves, as far as a record reads it: two users and two items; `last` is the last event's."""
    folder.mkdir(parents=True, exist_ok=True)
    events = pd.DataFrame({"user_id": ["2", "1", "1"], "item_id": ["b", "a", last], "position": [0, 0, 1]})
    events.to_csv(folder / "events_scored.csv.gz", index=False)
    items = pd.DataFrame({"item_id": ["b", "a"], "text": ["Bee", "Ay"], "genres": ["x", "y"]})
    items.assign(candidate=True, trained=True, held_out=0).to_parquet(folder / "items.parquet")


def run(folder: Path, *, seed: int, hit: float, length: int = 50, last: str = "a") -> Path:
    """What a finished run leaves, as far as a record reads it."""
    dataset(folder / "dataset", last)
    (folder / "config.yaml").write_text(config.dump(config.parse(PIPELINE.format(seed=seed, length=length))))
    figures = {f"{name}@10": hit for name in ("hr", "ndcg", "mrr", "coverage")} | {"hr@10_half_width": 0.1}
    metrics = {
        "test": figures | {"ndcg@10_half_width": 0.1},
        "validation": figures,
        "slices": {"few_events": figures},
        "baselines": {"popularity": dict.fromkeys(figures, 0.25)},
        "timing": {"epoch_seconds": 90.0, "epochs": 3, "best_epoch": 2},
        "peak_memory_mb": 1024.0,
        "environment": {"cores": 2, "seed": seed},
    }
    history = [{"epoch_seconds": seconds} for seconds in (60.0 * seed, 120.0, 300.0)]
    stages = {"train": {"history": history, "best_epoch": 2}}
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    users = [f"u{number}" for number in range(40)]
    rows = [("tfrec", user, hit, hit) for user in users] + [("popularity", user, 0.25, 0.25) for user in users]
    pd.DataFrame(rows, columns=["model", "user_id", "hr@10", "ndcg@10"]).to_parquet(folder / "per_user.parquet")
    few = pd.DataFrame({"user_id": users, "few_events": [number < 4 for number in range(40)]})
    few.to_parquet(folder / "slices_test.parquet")
    return folder


def results_in(folder, monkeypatch):
    """The command that records runs of a row: into a folder, where all rows are of one small pipeline."""
    module = script("results")
    monkeypatch.setattr("scorer.SCORER", folder / "none")
    monkeypatch.setattr(module, "RESULTS", folder / "results")
    small_rows(module, monkeypatch, folder)
    return module
