"""The stage `publish`: the settings of the section `export` reach the gate and the server that is waited for."""

from types import SimpleNamespace

import pytest

from tests import tiny_shop
from tfrec import config, serving
from tfrec.serving import Limits, RunningServer
from tfrec.stages.publish import publish_stage


@pytest.mark.parametrize(
    ("changes", "server", "limits"),
    [
        ([], RunningServer(None, 0.0), Limits(2.0, 2.0)),
        (
            ["export.server=https://host:8501/x", "export.settle_seconds=90", "export.max_slowdown=null"],
            RunningServer("https://host:8501/x", 90.0),
            Limits(None, 2.0),
        ),
        (["export.max_growth=5", "export.max_slowdown=1.5"], RunningServer(), Limits(1.5, 5.0)),
    ],
)
def test_settings_reach_the_gate(tmp_path, monkeypatch, changes, server, limits):
    settings, seen, finished = config.load(tiny_shop.write(tmp_path), changes), [], []
    monkeypatch.setattr(serving, "publish", lambda *given, **named: seen.append(named) or tmp_path, raising=False)
    run = SimpleNamespace(
        pipeline=settings,
        figures=lambda stage: {"version": 4, "text": True},
        path=lambda *parts: tmp_path.joinpath(*parts),
        finish=lambda *given, **named: finished.append(given),
    )
    publish_stage.perform(run, "key")
    assert (
        seen
        == [
            {
                "keep": 3,
                "label": "stable",
                "server": server,
                "limits": limits,
                "text_folder": tmp_path / "export_text" / "4",
            }
        ]
        and finished
    )


@pytest.mark.parametrize("wrong", ["export.server=localhost:8501", "export.max_slowdown=0.9", "export.max_growth=0"])
def test_settings_that_cannot_be_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=wrong.partition("=")[0]):
        config.load(tiny_shop.write(tmp_path), [wrong])
