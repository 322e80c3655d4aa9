"""A stage in a process of its own: what it says is passed on, and how it ended becomes one line or none."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests import tiny_shop
from tfrec.stages import child

SAYS = "import sys; print('Epoch 1/2', file=sys.stderr); print('not this'); sys.exit({status})"


@pytest.fixture
def instead(monkeypatch):
    """Let a Python script run in the stage's place; what is returned is filled with the command and its variables."""
    seen, popen = {}, subprocess.Popen

    def put(script):
        def start(command, **options):
            seen.update(command=command, env=options["env"])
            return popen([sys.executable, "-c", script], **options)

        monkeypatch.setattr(child.subprocess, "Popen", start)
        return seen

    return put


def perform(tmp_path, stage="train"):
    return child.perform(stage, tmp_path / "p.yaml", tmp_path / "run", ["seed=2"], "lstm, seed 2")


def test_what_a_stage_says_is_passed_on_with_its_name(tmp_path, instead, caplog, monkeypatch):
    monkeypatch.setenv("TFREC_DATA", "/elsewhere")
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    seen = instead(SAYS.format(status=0))
    with caplog.at_level(logging.INFO, "tfrec"):
        assert perform(tmp_path) is None
    assert caplog.messages == ["lstm, seed 2: Epoch 1/2"]
    assert seen["command"][3:] == [
        "tfrec.cli", "train", str(tmp_path / "p.yaml"), "--out", str(tmp_path / "run"), "--set", "seed=2",
    ]  # fmt: skip
    assert not {"TFREC_DATA", "TF_CONFIG"} & set(seen["env"]) and seen["env"]["PYTHONPATH"].endswith(
        os.pathsep + "/mine"
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("import sys; sys.exit('tfrec: error: no events.csv')", "no events.csv"),
        ("raise RuntimeError('out of paper')", "`tfrec train` ended with status 1: RuntimeError: out of paper"),
        ("import os; os._exit(3)", "`tfrec train` ended with status 3: "),
        ("import os; os.kill(os.getpid(), 11)", "`tfrec train` was ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)",
         "`tfrec train` was ended by SIGKILL, which is how a system ends what takes too much memory"),
    ],
)  # fmt: skip
def test_how_a_stage_failed_is_one_line(tmp_path, instead, caplog, script, told):
    instead(script)
    with caplog.at_level(logging.INFO, "tfrec"):
        assert perform(tmp_path) == told
    assert not [message for message in caplog.messages if "tfrec: error" in message]


def test_a_stage_ends_with_this_process(tmp_path, instead):
    instead(f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")

    def end():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=end).start()
    with pytest.raises(KeyboardInterrupt):
        perform(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_command_itself_is_called_from_any_folder(tmp_path, monkeypatch):
    pipeline = tiny_shop.write(tmp_path / "shop")
    (tmp_path / "tfrec.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    reason = child.perform("prepare", pipeline, tmp_path / "run", ["seed=2", "model.dimm=1"], "lstm, seed 2")
    assert reason == f"{pipeline}: unknown key model.dimm; the nearest valid key is model.dim"
