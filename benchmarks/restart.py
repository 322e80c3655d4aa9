"""What kill -9 costs: a small run is killed at random moments, started again, and held against an undisturbed one.

    python benchmarks/restart.py [--kills 30] [--seed 0] [--out FOLDER] [--set SETTING=VALUE ...]
    python benchmarks/restart.py --stage prepare     a log of 20,000 events from a file, prepared in parts, on disk

Half of the kills come after a random share of the time that a whole run takes, the other half at a random one of its
operations on files, such as between two renames: there a run is most easily torn. A trial is killed up to three times
and then let through. Its figures must be those of the undisturbed run to the last digit, no stage that had finished may
be done again, and nothing half-written may be left; of `prepare` alone, all bytes must be the same. The last line is
the record of it. TensorFlow is imported once, by a server that forks the runs; each is a process group of its own,
which is what is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import results

from tfrec.data.synthetic_log import write_log

PIPELINE = """\
name: small
data:
  simulated: {{users: 300, items: 200, mean_events: 10}}
  max_length: 20
model:
  {{dim: 16, text: none, behavior: [attention], attention: {{blocks: 1, heads: 2}}}}
training:
  {{epochs: 3, patience: null}}
export:
  base_path: {published}
"""
LOG = """\
name: small
data:
  events: {{path: {log}, columns: {{user_id: user_id, item_id: item_id, timestamp: timestamp}}}}
  memory: 0.002
"""
EVENTS = 20_000  # Of that log.
RECORD, PAGE = results.RESULTS / "restart.json", results.ROOT / "docs" / "restart.md"
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
MOST_KILLS = 3  # In one trial.
TABLES = ("recommendations_test.parquet", "per_user.parquet", "events_scored.csv.gz")
COMPARED = ("validation", "test", "baselines", "slices")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tensorflow", "keras", "matplotlib", "pandas", "pyarrow.parquet", "pydantic", "click"])


def start(words: list[str], log: Path, die_at: int | None = None) -> Any:
    """The command in a process group of its own, which kills itself at an operation on files where one is named."""
    process = SERVER.Process(target=_run, args=(words, str(log), die_at))
    process.start()
    return process


def _run(words: list[str], log: str, die_at: int | None) -> None:
    os.setsid()
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    operations = _counted(os.path.dirname(log), die_at)
    from tfrec import cli

    status = cli.main(words)
    Path(log + ".operations").write_text(str(operations["all"]))
    sys.stdout.flush()
    os._exit(status)


def _counted(folder: str, die_at: int | None) -> Counter[str]:
    """Count the operations that change files below a folder, from now on; the process ends before the one named."""
    operations: Counter[str] = Counter()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and any(mode in arguments[1] for mode in "wax+")
        if (writes or event in CHANGES) and str(arguments[0]).startswith(folder):
            operations["all"] += 1
            if operations["all"] == die_at:
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(hook)
    return operations


def command(folder: Path, stage: str, changes: Sequence[str]) -> list[str]:
    """What is to be run in a folder, whose pipeline is written to it."""
    pipeline, log = folder / "small.yaml", folder.parent / "log.parquet"
    told = (LOG if stage == "prepare" else PIPELINE).format(published=folder / "published", log=log)
    pipeline.write_text(told, encoding="utf-8")
    settings = [word for change in changes for word in ("--set", change)]
    return [stage, str(pipeline), "--out", str(folder / "run"), *settings]


def trial(
    folder: Path,
    kills: int,
    whole: tuple[float, int],
    rng: random.Random,
    stage: str = "run",
    changes: Sequence[str] = (),
) -> tuple[list[str], dict[str, int], float]:
    """Kill a run at most so many times, then let it through.

    Args:
        folder: where it goes.
        kills: how many.
        whole: seconds and operations of an undisturbed run.
        rng: draws the moments.
        stage: the command.
        changes: its settings.

    Returns:
        What is wrong with what it left, in words; how many kills met each stage; seconds of the last start.
    """
    folder.mkdir(parents=True)
    words, out, log = command(folder, stage, changes), folder / "run", folder / "log"
    finished: dict[str, Any] = {}
    met: Counter[str] = Counter()
    problems: list[str] = []
    for kill in range(kills + 1):
        by_operation = rng.random() < 0.5
        at_operation, at_second = rng.randint(1, whole[1]), rng.uniform(0, whole[0])
        began = time.monotonic()
        process = start(words, log, at_operation if by_operation and kill < kills else None)
        process.join(None if by_operation or kill == kills else at_second)
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):  # It has no group of its own yet.
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
        now = ledger(out)
        problems += [f"{stage} was done again" for stage in finished if now.get(stage) != finished[stage]]
        finished = now
        if process.exitcode == -signal.SIGKILL:
            met[next((each for each in stages_of(stage, changes) if each not in now), "after the last stage")] += 1
        elif process.exitcode != 0:
            problems.append(f"the command failed: {log.read_text().splitlines()[-1]}")
        elif kill < kills:
            break
    return problems + leftovers(folder), dict(met), time.monotonic() - began


def stages_of(stage: str, changes: Sequence[str]) -> list[str]:
    """The stages of the command, in order."""
    ranks = any(change.startswith("ranking") for change in changes)
    stages = ["prepare", "train", *(["rank"] if ranks else []), "evaluate", "export", "publish"]
    return stages if stage == "run" else [stage]


def ledger(out: Path) -> dict[str, Any]:
    """What the run says is finished."""
    path = out / "stages.json"
    return json.loads(path.read_text()) if path.exists() else {}


def leftovers(folder: Path) -> list[str]:
    """Half-written files and folders of a run, by their temporary names."""
    found = [path for path in (folder / "run").rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    return [f"{path.relative_to(folder)} is left" for path in found]


def differences(run: Path, undisturbed: Path) -> list[str]:
    """What of a run differs from the undisturbed one: figures, recommendations, files."""
    found = []
    if (undisturbed / "metrics.json").exists():
        one, other = (json.loads((each / "metrics.json").read_text()) for each in (run, undisturbed))
        found = [f"{name} differs" for name in COMPARED if one.get(name) != other.get(name)]
    tables = [undisturbed / name for name in TABLES if (undisturbed / name).exists()]
    for path in [*tables, *(undisturbed / "dataset").rglob("*")]:
        same = run / path.relative_to(undisturbed)
        if path.is_file() and (not same.is_file() or same.read_bytes() != path.read_bytes()):
            found.append(f"{path.relative_to(undisturbed)} differs")
    names = [
        {str(path.relative_to(each)) for path in each.rglob("*") if path.is_file() and path.parts[-2] != "export"}
        for each in (run, undisturbed)
    ]
    kept = [{name for name in each if not name.startswith(("tensorboard", "export"))} for each in names]
    return found + [f"{name} is in one of them alone" for name in sorted(kept[0] ^ kept[1])]


def main() -> None:
    """Run the trials and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--stage", choices=("run", "prepare"), default="run")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a setting of the pipeline")
    parser.add_argument("--record", action="store_true", help="write record and page")
    chosen = parser.parse_args()
    asked = chosen.stage, chosen.changes
    root = chosen.out or Path(tempfile.mkdtemp(prefix="tfrec_restart_"))
    rng, met, problems, trials = random.Random(chosen.seed), Counter[str](), list[str](), 0
    if chosen.stage == "prepare":
        root.mkdir(parents=True, exist_ok=True)
        write_log(root / "log.parquet", events=EVENTS)
    whole = undisturbed(root / "undisturbed", *asked)
    print(f"undisturbed: {whole[0]:.0f} s, {whole[1]} operations on files", file=sys.stderr, flush=True)
    while sum(met.values()) < chosen.kills:
        trials += 1
        folder = root / f"trial_{trials}"
        wrong, where, last = trial(folder, min(MOST_KILLS, chosen.kills - sum(met.values())), whole, rng, *asked)
        wrong += differences(folder / "run", root / "undisturbed" / "run")
        met.update(where)
        problems += [f"trial {trials}: {each}" for each in wrong]
        told = wrong or "as undisturbed"
        print(f"trial {trials}: killed in {where}, last start {last:.0f} s, {told}", file=sys.stderr, flush=True)
    told = {
        "command": [chosen.stage, *chosen.changes], "seed": chosen.seed, "seconds": round(whole[0], 1),
        "operations": whole[1], "trials": trials, "kills": dict(met), "problems": problems,
    }  # fmt: skip
    print(json.dumps(told))
    if chosen.record:
        held = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
        held = [each for each in held if each["command"] != told["command"]]
        held.append({**told, "commit": results.commit()})
        RECORD.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
        results.fill(PAGE, "kills", table(held))


def table(held: Sequence[dict[str, Any]]) -> str:
    """The page's table of the records."""
    heading = ["command", "undisturbed, s", "operations on files", "trials", "killed in", "ended otherwise"]
    rows = []
    for each in held:
        stage, *changes = each["command"]
        name = " ".join([stage, *(f"`{change}`" for change in changes)])
        where = ", ".join(f"{stage} {count}" for stage, count in each["kills"].items())
        rows.append([name, each["seconds"], each["operations"], each["trials"], where, len(each["problems"])])
    return results.markdown(heading, rows, words=["killed in"])


def undisturbed(folder: Path, stage: str = "run", changes: Sequence[str] = ()) -> tuple[float, int]:
    """Let a run through; its seconds, and its operations on files."""
    imported = SERVER.Process(target=os.getpid)  # So that the seconds of the import are none of the run's.
    imported.start()
    imported.join()
    problems, _, seconds = trial(folder, 0, (0.0, 1), random.Random(0), stage, changes)
    if problems:
        raise SystemExit("; ".join(problems))
    return seconds, int((folder / "log.operations").read_text())


if __name__ == "__main__":
    main()
