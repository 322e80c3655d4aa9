"""`tfrec prepare --runner`: what is handed on to Beam, and calls that are wrong."""

import importlib.util
import re
import sys
import types

import pytest

import tfrec
import tfrec.data
from tfrec import cli


@pytest.fixture
def calls(monkeypatch):
    """What `stages.run` is called with, and what runners are made of."""
    seen = []
    module = types.SimpleNamespace(run=lambda settings, out, **options: seen.append(options))
    monkeypatch.setitem(sys.modules, "tfrec.stages", module)
    monkeypatch.setattr(tfrec, "stages", module, raising=False)
    return seen


@pytest.fixture
def pipeline(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text("name: shop\ndata: {simulated: {users: 10}}\n", encoding="utf-8")
    return str(path)


def test_a_runner_gets_its_options_as_they_are(monkeypatch, calls, pipeline):
    monkeypatch.setattr(tfrec.data, "BeamRunner", lambda *given: given)
    given = ["flink_master=host:8081", "experiments=a", "experiments=b=c", "save_main_session=true", "empty="]
    options = [part for option in given for part in ("--runner-option", option)]
    assert cli.main(["prepare", pipeline, "--runner", "flink", *options]) == 0
    expected = {"flink_master": "host:8081", "experiments": ["a", "b=c"], "save_main_session": True, "empty": ""}
    assert calls == [{"only": "prepare", "runner": ("flink", expected)}]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--runner-option", "a=b"], "--runner-option goes with --runner"),
        (["--runner", "direct", "--runner-option", "a"], "--runner-option takes KEY=VALUE, .*; received 'a'"),
        (["--runner", "direct", "--runner-option", "=b"], "--runner-option takes KEY=VALUE, .*; received '=b'"),
        (["--runner", "direct", "--runner-option", "runner=flink"], "of an option of Beam's; received 'runner=flink'"),
        (["--runner", "direct"], r"Apache Beam, which is not installed: pip install 'tfrec\[beam\]'"),
        (["--runner"], "Option '--runner' requires an argument"),
    ],
)
def test_wrong_calls_are_one_line(monkeypatch, capsys, calls, pipeline, options, told):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["prepare", pipeline, *options]) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert re.search(told, line) and printed.out == "" and not calls


@pytest.mark.parametrize("stage", ["run", "train"])
def test_no_other_stage_takes_a_runner(capsys, calls, pipeline, stage):
    assert cli.main([stage, pipeline, "--runner", "direct"]) == 1
    assert "No such option" in capsys.readouterr().err and not calls
