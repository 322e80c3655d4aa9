"""The watch over the start of TensorFlow's cluster: it says who is gone and ends the wait, and lets others begin."""

import socket
import subprocess
import sys
import textwrap

import pytest

from tests.benchmark_scripts import ROOT
from tfrec.training import Cluster

WAITS = """
    import ctypes, sys, time
    from importlib.util import module_from_spec, spec_from_file_location
    spec = spec_from_file_location("start_watch", {path!r})
    watch = module_from_spec(spec)
    spec.loader.exec_module(watch)
    with watch.watched({others!r}, {seconds}):
        ctypes.PyDLL(None).sleep({sleep})  # PyDLL keeps Python's lock, as TensorFlow's wait does.
    print("began", flush=True)
"""


def waiting(others, *, seconds, sleep):
    path = str(ROOT / "tfrec" / "training" / "start_watch.py")
    code = textwrap.dedent(WAITS).format(path=path, others=others, seconds=seconds, sleep=sleep)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_wait_without_end_is_ended_and_says_who_never_listened():
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as closing:
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (there, closing)]
        closing.close()
        cluster = Cluster(("127.0.0.1:1", *addresses), 0, {"worker": ["127.0.0.1:1", *addresses]})
        ended = waiting(cluster.others, seconds=2, sleep=30)
    assert ended.returncode == -9 and "began" not in ended.stdout
    assert ended.stderr == (
        f"tfrec: error: worker 2 ({addresses[1]}) has gone before the training began. Start the same command again on "
        "every worker.\n"
    )


@pytest.mark.parametrize("others", [{}, {"127.0.0.1:1": "worker 1 (127.0.0.1:1)"}])
def test_what_begins_in_time_is_left_alone(others):
    ended = waiting(others, seconds=20, sleep=1)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "began\n", "")


def test_who_listened_once_is_not_named():
    with socket.create_server(("127.0.0.1", 0)) as there:
        ended = waiting({f"127.0.0.1:{there.getsockname()[1]}": "worker 1"}, seconds=2, sleep=30)
    assert ended.returncode == -9 and "tfrec: error: a worker has gone before the training began" in ended.stderr
