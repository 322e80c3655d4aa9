"""The `tfrec` command in processes of its own, for tests that kill it or start several; TensorFlow is imported once.

A server imports it and forks: each process is as fresh as one that a shell starts, without the seconds of the import.
"""

import multiprocessing
import os
import sys
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tensorflow", "keras", "matplotlib", "pandas", "pyarrow.parquet", "pydantic", "click"])


def start(arguments, log: Path, before=None, **variables):
    """`tfrec ARGUMENTS` as the first of a group of processes, after `before()`; what it says goes to `log`."""
    process = _SERVER.Process(target=_call, args=([*map(str, arguments)], str(log), before, variables))
    process.start()
    return process


def _call(arguments, log, before, variables):
    os.setsid()
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    for name in [name for name in os.environ if name.startswith(("TF_CONFIG", "TFREC"))]:
        del os.environ[name]
    os.environ.update(variables)
    from tfrec import cli

    if before is not None:
        before()
    status = cli.main(arguments)
    sys.stdout.flush()
    os._exit(status)  # What is exported in C++ is torn down by the system.
