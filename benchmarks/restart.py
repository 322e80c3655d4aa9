"""What kill -9 costs: a small run is killed at random moments, started again, and held against an undisturbed one.

    python benchmarks/restart.py [--kills 30] [--seed 0] [--out FOLDER] [--set SETTING=VALUE ...]
    python benchmarks/restart.py --stage prepare     a log of 20,000 events from a file, prepared in parts, on disk

Kills are aimed at the stages in turn. Half of them come after a random share of the time that the stage takes, the
other half at a random one of its operations on files, such as between two renames: there a run is most easily torn. A
trial is killed up to three times, in stages that are drawn anew, and then let through. Its figures and its weights must
be those of the undisturbed run to the last digit, no stage that had finished may be done again, and nothing
half-written may be left; of `prepare` alone, all bytes must be the same. The last line is the record of it. TensorFlow
is imported once, by a server that forks the runs; each is a process group of its own, which is what is killed.
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

import numpy as np
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
END = "end"  # Of all operations.
STATE = "state"  # Of a checkpoint: its figures, and the seconds of each epoch.
TABLES = ("recommendations_test.parquet", "per_user.parquet", "events_scored.csv.gz")
COMPARED = ("validation", "test", "baselines", "slices")
Ends = dict[str, tuple[float, int]]  # Stage -> second and operation on files.
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
    operations, ends = _counted(os.path.dirname(log), die_at)
    from tfrec import cli

    status = cli.main(words)
    Path(log + ".ends").write_text(json.dumps({**ends, END: operations["all"]}))
    sys.stdout.flush()
    os._exit(status)


def _counted(folder: str, die_at: int | None) -> tuple[Counter[str], dict[str, tuple[float, int]]]:
    """Count the operations that change files below a folder, from now on; the process ends before the one named.

    Returns:
        The number so far, and with which second and operation each stage came into the ledger.
    """
    operations, ends, began = Counter[str](), dict[str, tuple[float, int]](), time.monotonic()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and any(mode in arguments[1] for mode in "wax+")
        if (writes or event in CHANGES) and str(arguments[0]).startswith(folder):
            operations["all"] += 1
            if operations["all"] == die_at:
                os.killpg(0, signal.SIGKILL)
            if event == "os.rename" and Path(str(arguments[1])).name == "stages.json":
                for stage in json.loads(Path(str(arguments[0])).read_text()):
                    ends.setdefault(stage, (time.monotonic() - began, operations["all"]))

    sys.addaudithook(hook)
    return operations, ends


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
    ends: Ends,
    rng: random.Random,
    stage: str = "run",
    changes: Sequence[str] = (),
    aim: str | None = None,
) -> tuple[list[str], dict[str, int], float]:
    """Kill a run at most so many times, then let it through.

    Args:
        folder: where it goes.
        kills: how many.
        ends: of an undisturbed run, see `undisturbed`.
        rng: draws the moments.
        stage: the command.
        changes: its settings.
        aim: the stage that the first kill is to meet; the others, and this one where None, are drawn.

    Returns:
        What is wrong with what it left, in words; how many kills met each stage; seconds of the last start.
    """
    folder.mkdir(parents=True)
    words, out, log = command(folder, stage, changes), folder / "run", folder / "log"
    stages, finished, met = stages_of(stage, changes), dict[str, Any](), Counter[str]()
    problems: list[str] = []
    for kill in range(kills + 1):
        left = [each for each in stages if each not in finished]
        kills = kills if left else kill
        at_second, at_operation = 0.0, 0
        if kill < kills:
            at_second, at_operation = moment(aim if aim in left else rng.choice(left), left, ends, rng)
        by_operation, aim = rng.random() < 0.5, None
        began = time.monotonic()
        process = start(words, log, at_operation if by_operation and kill < kills else None)
        process.join(None if by_operation or kill == kills else at_second)
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):  # It has no group of its own yet.
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
        now = ledger(out)
        problems += [f"{each} was done again" for each in finished if now.get(each) != finished[each]]
        finished = now
        if process.exitcode == -signal.SIGKILL:
            met[next((each for each in stages if each not in now), "after the last stage")] += 1
        elif process.exitcode != 0:
            problems.append(f"the command failed: {log.read_text().splitlines()[-1]}")
        if process.exitcode == 0 or kill == kills:
            break
    return problems + leftovers(folder), dict(met), time.monotonic() - began


def moment(aim: str, left: Sequence[str], ends: Ends, rng: random.Random) -> tuple[float, int]:
    """A random second and a random operation of a stage, counted from where the first of those left begins."""
    begins = {stage: end for stage, end in zip([*ends][1:], [*ends.values()], strict=False)}
    start, base = (begins.get(stage, (0.0, 0)) for stage in (aim, left[0]))
    return (
        rng.uniform(start[0], ends[aim][0]) - base[0],
        rng.randint(start[1] + 1, max(start[1] + 1, ends[aim][1])) - base[1],
    )


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
    for path in (undisturbed / "checkpoints").rglob("*.npz"):
        same = run / path.relative_to(undisturbed)
        if not same.is_file() or weights(same) != weights(path):
            found.append(f"{path.relative_to(undisturbed)} differs")
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


def weights(checkpoint: Path) -> dict[str, bytes]:
    """The values of a checkpoint, without its seconds."""
    with np.load(checkpoint) as values:
        return {name: values[name].tobytes() for name in values.files if name != STATE}


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
    ends = undisturbed(root / "undisturbed", *asked)
    told_of = ", ".join(f"{stage} {second:.0f} s, {number}" for stage, (second, number) in ends.items())
    print(f"undisturbed, ends of seconds and operations on files: {told_of}", file=sys.stderr, flush=True)
    while sum(met.values()) < chosen.kills:
        folder, aim = root / f"trial_{trials + 1}", [*ends][trials % len(ends)]
        trials += 1
        wrong, where, last = trial(folder, min(MOST_KILLS, chosen.kills - sum(met.values())), ends, rng, *asked, aim)
        wrong += differences(folder / "run", root / "undisturbed" / "run")
        met.update(where)
        problems += [f"trial {trials}: {each}" for each in wrong]
        told = wrong or "as undisturbed"
        print(f"trial {trials}: killed in {where}, last start {last:.0f} s, {told}", file=sys.stderr, flush=True)
    last_end = [*ends.values()][-1]
    told = {
        "command": [chosen.stage, *chosen.changes], "seed": chosen.seed, "seconds": round(last_end[0], 1),
        "operations": last_end[1], "trials": trials, "problems": problems,
        "kills": {stage: met[stage] for stage in [*ends, *sorted(met.keys() - ends.keys())]},
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


def undisturbed(folder: Path, stage: str = "run", changes: Sequence[str] = ()) -> Ends:
    """Let a run through; with which second and with which operation on files each of its stages ended, in order."""
    imported = SERVER.Process(target=os.getpid)  # So that the seconds of the import are none of the run's.
    imported.start()
    imported.join()
    problems, _, seconds = trial(folder, 0, {}, random.Random(0), stage, changes)
    if problems:
        raise SystemExit("; ".join(problems))
    told = json.loads((folder / "log.ends").read_text())
    *stages, last = stages_of(stage, changes)
    return {**{each: tuple(told[each]) for each in stages}, last: (seconds, told[END])}


if __name__ == "__main__":
    main()
