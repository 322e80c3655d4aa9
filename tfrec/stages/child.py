"""One stage of a run in a process of its own: what it says is passed on, and why it failed is told in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tfrec
from tfrec.training.cluster import VARIABLE

_ERROR = "tfrec: error: "
STOPPED = "ended before its time"

logger = logging.getLogger(__name__)


def perform(
    stage: str,
    pipeline: Path,
    out: Path,
    overrides: Sequence[str],
    label: str,
    *,
    watch: Callable[[], bool] | None = None,
) -> str | None:
    """Run `tfrec STAGE PIPELINE --out OUT`; a stage that fails is no exception.

    If this process is interrupted or told to end, so is the stage, which goes on from there when it is run again.

    Args:
        stage: one of `config.STAGES`.
        pipeline: the YAML file, in which `data.root` is final: `TFREC_DATA` does not go before it.
        out: folder of the run.
        overrides: `key.path=value` each.
        label: goes before each line that the stage says.
        watch: asked whenever it has said one; where the answer is true the stage is ended.

    Returns:
        None, or in one line why the stage failed; `STOPPED` where `watch` ended it.
    """
    command = [sys.executable, "-P", "-m", "tfrec.cli", stage, str(pipeline), "--out", str(out)]
    command += [part for override in overrides for part in ("--set", override)]
    last = ""
    with _ended(_start(command)) as process:
        for line in process.stderr or ():
            if line.strip():
                last = line.strip()
                if not last.startswith(_ERROR):  # That is for the caller to say.
                    logger.info("%s: %s", label, line.rstrip())
            if watch is not None and watch():
                process.terminate()
                return STOPPED
        status = process.wait()
    return None if status == 0 else _reason(stage, status, last)


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("TFREC_DATA", VARIABLE)}
    ours, theirs = str(Path(tfrec.__file__).resolve().parents[1]), variables.get("PYTHONPATH")
    variables["PYTHONPATH"] = os.pathsep.join([ours, *([theirs] if theirs else [])])
    return subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Leave no process behind: it ends when this one is interrupted, or asked to end."""
    before: Any = signal.SIG_DFL
    main = threading.current_thread() is threading.main_thread()
    if main:
        before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield process
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        if main:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _reason(stage: str, status: int, last: str) -> str:
    """Why a stage failed: its own line where it gave one, else how it ended."""
    if last.startswith(_ERROR):
        return last.removeprefix(_ERROR)
    if status < 0:
        memory = ", which is how a system ends what takes too much memory" if status == -signal.SIGKILL else ""
        return f"`tfrec {stage}` was ended by {signal.Signals(-status).name}{memory}"
    return f"`tfrec {stage}` ended with status {status}: {last}"
