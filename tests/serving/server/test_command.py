"""`tfrec serve` as a process: it says where it answers, logs, and ends in good order."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.serving.server.conftest import NAME

_CONFIG = """model_config_list {{ config {{ name: "{0}" base_path: "{0}" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 1 versions: 2 versions: 3 versions: 4 versions: 5 versions: 6
  versions: 7 }} }} }} }}
"""


def serving(model, *words, **environment):
    command = [sys.executable, "-m", "tfrec.cli", "serve", str(model), "--rest-port", "0", "--grpc-port", "0", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    inherited = {name: value for name, value in os.environ.items() if name != "TFREC_TOKEN"}
    return subprocess.Popen(command, env={**inherited, **environment}, **pipes)


def test_it_answers_until_it_is_told_to_stop(published, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n", "utf-8")
    process = serving(published / NAME, "--token-file", str(token), "--log-format", "json", "--log-requests")
    try:
        port = re.search(r"REST: port (\d+)", process.stdout.readline())[1]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/models/{NAME}:predict",
            data=json.dumps({"instances": [["007"]]}).encode(),
            headers={"Authorization": "Bearer s3cret"},
        )
        assert json.load(urllib.request.urlopen(request, timeout=30))["predictions"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["message"] for line in lines][-1] == "stopped"
    assert {"time", "level", "name"} <= set(lines[0])
    (told,) = [line for line in lines if "method" in line]
    assert (told["protocol"], told["method"], told["model"], told["code"]) == ("rest", "predict", NAME, "OK")
    assert told["message"].startswith(f"rest predict of {NAME}: OK in ") and 0 < told["seconds"] < 30


def test_a_signal_ends_it_before_it_has_started(tmp_path, published):
    folder = tmp_path / NAME
    shutil.copytree(published / NAME, folder)
    for number in range(2, 8):  # That many versions take their time to load.
        shutil.copytree(folder / "1", folder / str(number))
    (tmp_path / "models.config").write_text(_CONFIG.format(NAME), "utf-8")
    process = serving(tmp_path)
    try:
        for line in process.stderr:
            if "/1 answers" in line:
                break
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "REST" not in printed, errors
    assert "stopped before it had started" in errors and "/7 answers" not in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tls-key", "nope"], "TLS needs both"),
        (["--grpc-port", "99999"], "99999"),
        (["--token-file", "no"], "no"),
        (["--token-file", "/usr/bin/env"], "/usr/bin/env is no text, and must hold the token"),
    ],
)
def test_a_mistake_is_one_line(published, words, message):
    process = serving(published / NAME, *words)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and message in errors and len(errors.strip().splitlines()) == 1
