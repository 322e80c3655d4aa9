"""`tfrec serve` as a process: it says where it answers, logs, and ends in good order."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.serving.server.conftest import NAME


def serving(model, *words, **environment):
    command = [sys.executable, "-m", "tfrec.cli", "serve", str(model), "--rest-port", "0", "--grpc-port", "0", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "TFREC_TOKEN": "", **environment}, **pipes)


def test_it_answers_until_it_is_told_to_stop(published, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n", "utf-8")
    process = serving(published / NAME, "--token-file", str(token), "--log-format", "json")
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


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--tls-key", "nope"], "TLS needs both"), (["--grpc-port", "99999"], "99999"), (["--token-file", "no"], "no")],
)
def test_a_mistake_is_one_line(published, words, message):
    process = serving(published / NAME, *words)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and message in errors and len(errors.strip().splitlines()) == 1
