"""tfrec beside other libraries on the same work: seconds an epoch and to a validation figure, memory, recommending.

python benchmarks/speed/run.py [--data movielens_1m] [--rounds 3] [--out runs/speed] [--others PYTHON]
python benchmarks/speed/run.py --page      writes the table of docs/speed.md from the record alone

The libraries train a SASRec of the same width, blocks, heads and length on the same events, by a softmax over all
items, with as many steps an epoch, on the same cores, in turn: rounds of `EPOCHS` epochs, of which the first one, that
has what happens once in it, is not counted. Then one training each says how many epochs take it to the validation
NDCG@10 of `WORK`; they count as long as the first and the middle epoch of the rounds, so that this part needs no idle
machine, and may be added to the rounds of the record (`--ways-only`). A measurement is a process of its own and a file
under --out: a benchmark that was stopped goes on where it was, and who stops a way by Ctrl-C has in the record what it
takes at least. RecTools lives in an environment of its own, which `make benchmark-speed` makes. RecBole lives there too
and has rounds alone, which may be added to those of the record (`--recbole-only`); where it is not installed, the
benchmark runs without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import results  # noqa: E402
from summary import EPOCHS, figures, ratios, table, way_ratios, with_way  # noqa: E402

from tfrec import build, config  # noqa: E402
from tfrec.data import Dataset  # noqa: E402
from tfrec.features import ITEM_ID, USER_ID  # noqa: E402
from tfrec.report import describe  # noqa: E402
from tfrec.report.environment import cores  # noqa: E402

LIBRARIES = ("tfrec", "rectools")  # RecBole beside them is optional.
RECORD, PAGE = results.RESULTS / "speed.json", results.ROOT / "docs" / "speed.md"
OTHERS = results.ROOT / ".venv-rectools" / "bin" / "python"
# Of both: 64 wide, two blocks, two heads, 128 sequences a step. `rates` are of tfrec and RecTools, whose own default is
# 0.001. `target` is a validation NDCG@10 that both reach, and `most` the epochs after which a training gives up.
SHARED = {"dim": 64, "blocks": 2, "heads": 2, "dropout": 0.2, "sequences": 128}
WORK: dict[str, dict[str, Any]] = {
    "amazon_beauty": {"target": 0.04, "most": 20},
    "movielens_1m": {"target": 0.16, "most": 40},
}
RATES = {"tfrec": 0.002, "rectools": 0.001}
RECBOLE_STEPS = {"movielens_1m": 30}  # Timed of an epoch where a whole one takes hours.


@click.command()
@click.option("--data", "names", type=click.Choice(sorted(WORK)), multiple=True, default=sorted(WORK))
@click.option("--rounds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=results.ROOT / "runs" / "speed")
@click.option("--others", default=str(OTHERS), help="The interpreter that has RecTools, and RecBole if any.")
@click.option("--rounds-only", is_flag=True, help="Leave the way to the validation figure for a later call.")
@click.option("--ways-only", is_flag=True, help="Measure only that, beside the rounds that are recorded.")
@click.option("--recbole-only", is_flag=True, help="Measure only its rounds, beside those that are recorded.")
@click.option("--page", is_flag=True, help="Write the page from the record, and measure nothing.")
def main(
    names: Sequence[str],
    rounds: int,
    out: Path,
    others: str,
    *,
    rounds_only: bool,
    ways_only: bool,
    recbole_only: bool,
    page: bool,
) -> None:
    """Measure what is not measured yet, and write record and page."""
    if not page:
        if not Path(others).exists():
            raise click.ClickException(
                f"{others} is not there: `make benchmark-speed` makes it, --others names another."
            )
        if rounds_only + ways_only + recbole_only > 1:
            raise click.ClickException("--rounds-only, --ways-only and --recbole-only exclude one another: give one.")
        told = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"data": {}}
        asked = {} if ways_only else recbole_of(others, needed=recbole_only)
        if not recbole_only:
            asked = {"tfrec": sys.executable, "rectools": others, **asked}
        try:
            if ways_only or recbole_only:
                rounds_of(told, names)
            out = out.absolute()  # A library may work in a folder of its own.
            works = {name: prepared(name, out / name) for name in names}
            if not ways_only:
                add_rounds(told, works, out, rounds, asked)
            if not recbole_only:
                add_ways(told, works, out, {} if rounds_only else asked)
        except (OSError, ValueError) as error:  # Tables that are not there, say.
            raise click.ClickException(str(error)) from error
        told["data"] = dict(sorted(told["data"].items()))
        RECORD.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    results.fill(PAGE, "speed", table(json.loads(RECORD.read_text(encoding="utf-8"))))


def recbole_of(interpreter: str, *, needed: bool) -> dict[str, str]:
    """The interpreter of RecBole; none, and a line that says so, where that one lacks it."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('recbole') is None)"
    if not subprocess.run([interpreter, "-c", look], check=False).returncode:
        return {"recbole": interpreter}
    lacking = f"{interpreter} has no RecBole (benchmarks/speed/requirements-recbole.txt)"
    if needed:
        raise click.ClickException(f"{lacking}: install it there, or name another interpreter by --others.")
    click.echo(f"{lacking}: the benchmark runs without it.")
    return {}


def rounds_of(told: Mapping[str, Any], names: Sequence[str]) -> None:
    """ValueError where the record lacks rounds of the work as it is, beside which more could be told."""
    for name in names:
        if name not in told["data"] or (told["shared"], told["rates"]) != (SHARED, RATES):
            raise ValueError(f"{RECORD.name} has no rounds of {name} with these settings: measure them first.")


def add_rounds(
    told: dict[str, Any], works: Mapping[str, Mapping[str, Any]], out: Path, rounds: int, asked: Mapping[str, str]
) -> None:
    """Measure the rounds of the libraries of `asked`, and tell of them beside what is told of the others."""
    for name, work in works.items():
        timed(work, out / name, rounds, asked)
        if "tfrec" in asked:
            told["data"][name] = told_of_rounds(work, out / name, rounds)
            told |= {"commit": results.commit(), "environment": describe(), "shared": SHARED, "rates": RATES}
        if "recbole" in asked:
            told["data"][name] |= told_of_recbole(told["data"][name]["tfrec"], out / name, rounds)


def add_ways(told: dict[str, Any], works: Mapping[str, Mapping[str, Any]], out: Path, asked: Mapping[str, str]) -> None:
    """Measure the ways to the targets where libraries are asked, and tell of those that are measured."""
    for name, work in works.items():
        if asked:
            try:
                reached(work, out / name, asked)
            except KeyboardInterrupt:
                click.echo(f"{name}: stopped before the target; the record has how far it came.")
        told["data"][name] |= told_of_ways(told["data"][name], out / name, work["target"])


def timed(work: Mapping[str, Any], folder: Path, rounds: int, interpreters: Mapping[str, str]) -> None:
    """Measure the rounds of a data set, the libraries in turn."""
    for turn in range(1, rounds + 1):
        for library, interpreter in interpreters.items():
            more: dict[str, Any] = {"epochs": EPOCHS, "target": None}
            if library == "recbole":
                more["steps"] = RECBOLE_STEPS.get(folder.name)
            measure(library, interpreter, {**work, **more}, folder / f"{library}_round_{turn}")


def reached(work: Mapping[str, Any], folder: Path, interpreters: Mapping[str, str]) -> None:
    """Measure in how many epochs each library reaches the target."""
    for library in LIBRARIES:
        measure(library, interpreters[library], {**work, "epochs": work["most"]}, folder / f"{library}_quality")


def told_of_rounds(work: Mapping[str, Any], folder: Path, rounds: int) -> dict[str, Any]:
    """What the rounds say: of each library its figures, and the ratios of the two."""
    ours, theirs = (measured(library, folder, rounds) for library in LIBRARIES)
    return {
        **{field: work[field] for field in ("users", "items", "events", "max_length", "target")},
        "tfrec": ours,
        "rectools": theirs,
        **ratios(ours, theirs),
    }


def told_of_recbole(ours: Mapping[str, Any], folder: Path, rounds: int) -> dict[str, Any]:
    """What RecBole's rounds say: its figures, and their ratios to `ours`."""
    theirs = measured("recbole", folder, rounds)
    return {"recbole": theirs, **{f"{name}_recbole": ratio for name, ratio in ratios(ours, theirs).items()}}


def measured(library: str, folder: Path, rounds: int) -> dict[str, Any]:
    """A library's figures by the files of its rounds."""
    paths = (folder / f"{library}_round_{turn}.json" for turn in range(1, rounds + 1))
    return figures([json.loads(path.read_text()) for path in paths])


def told_of_ways(found: Mapping[str, Any], folder: Path, target: float) -> dict[str, Any]:
    """The figures of `found` with the ways to the target, as far as they were gone, and what the ratio is at least."""
    told: dict[str, Any] = {"target": target}
    for library in LIBRARIES:
        files = [folder / f"{library}_quality{end}" for end in (".json", ".partial.json")]
        ways = [json.loads(path.read_text())["ndcg"] for path in files if path.exists()]
        recorded = found[library].get("validation_ndcg@10")  # None with rounds that have just been measured.
        told[library] = with_way(found[library], ways[0] if ways else recorded, target)
    return {**told, **way_ratios(*(told[library] for library in LIBRARIES))}


def prepared(name: str, folder: Path) -> dict[str, Any]:
    """What both libraries are told: the table of events, tfrec's data set and settings, the shape of the model."""
    pipeline = results.ROOT / "pipelines" / f"{name}.yaml"
    changes = [
        "model.text=none", "model.behavior=attention", f"model.dim={SHARED['dim']}",
        f"model.attention={{kind: sasrec, blocks: {SHARED['blocks']}, heads: {SHARED['heads']}}}",
        f"model.dropout={SHARED['dropout']}", "training.objective=softmax", "training.schedule=constant",
        f"training.learning_rate={RATES['tfrec']}",
    ]  # fmt: skip
    settings = config.load(pipeline, changes)
    folder.mkdir(parents=True, exist_ok=True)
    data = build.dataset(settings.data, folder / "dataset")
    _write_table(data, folder / "events.csv")
    counts = data.manifest["counts"]
    return {
        **SHARED, **WORK[name], "rates": RATES, "seed": 1, "threads": cores(), "pipeline": str(pipeline),
        "changes": changes, "dataset": str(folder / "dataset"), "table": str(folder / "events.csv"),
        "max_length": data.max_length, "users": counts["train_users"], "items": counts["items"],
        "events": counts["train_events"],
    }  # fmt: skip


def _write_table(data: Dataset, path: Path) -> None:
    """The training events and the validation's targets, each with its place in its user's order."""
    lists, truth = data.training_sequences(), data.truth("validation")
    ids = data.items[ITEM_ID].to_numpy(dtype=object)
    table = truth.assign(place=1 << 30, validates=True)
    events = {USER_ID: lists.user_ids[lists.owners], ITEM_ID: ids[lists.rows], "place": np.arange(len(lists.rows))}
    table = pd.concat([pd.DataFrame(events).assign(validates=False), table])
    table.to_csv(path, index=False)


def measure(library: str, interpreter: str, work: Mapping[str, Any], path: Path) -> None:
    """One measurement in a process of its own; none where its result is there and of the same work."""
    asked, result = path.with_suffix(".work.json"), path.with_suffix(".json")
    if result.exists() and asked.exists() and json.loads(asked.read_text()) == work:
        return
    result.unlink(missing_ok=True)
    asked.write_text(json.dumps(work))
    print(f"{path.parent.name}: {path.name}", flush=True)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(work["threads"])}
    if library == "tfrec":
        environment["PYTHONPATH"] = os.pathsep.join([str(results.ROOT), environment.get("PYTHONPATH", "")])
    command = [interpreter, str(HERE / f"with_{library}.py"), str(asked), str(result)]
    ended = subprocess.run(command, env=environment, check=False, cwd=results.ROOT)
    if ended.returncode or not result.exists():
        raise click.ClickException(f"{path.name} ended with status {ended.returncode}")


if __name__ == "__main__":
    main()
