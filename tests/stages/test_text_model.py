"""A whole run whose users have texts: trained, exported, published and asked in words, as its user does it."""

import json
import logging
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop
from tfrec import cli, serving
from tfrec.features import HISTORY
from tfrec.serving import manifest, server_config
from tfrec.towers.text import MINILM_PACKAGE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(find_spec(MINILM_PACKAGE) is None, reason="the MiniLM weights are not installed"),
]
CHANGES = ("--set", "model.text=minilm", "--set", "model.behavior=attention")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for variable in ("TFREC_DATA", "TFREC_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    level = logging.getLogger("tfrec").level
    yield
    logging.getLogger("tfrec").setLevel(level)


def call(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The pipeline's file and the folder of its run; every third user has a text."""
    folder = tmp_path_factory.mktemp("told")
    path = tiny_shop.write(folder / "shop", epochs=1)
    users = pd.DataFrame({"who": [f"{user:03d}" for user in range(0, tiny_shop.USERS, 3)]})
    users["bio"] = [f"collects thing {user % 4}" for user in range(len(users))]
    users.to_csv(folder / "shop" / "users.csv", index=False)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  split:", "  users: {path: users.csv, user_id: who, text: bio}\n  split:"), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFREC_CACHE", str(folder / "cache"))
        assert call("run", path, "--out", folder / "run", *CHANGES) == 0
        yield path, folder / "run"


def test_a_run_leaves_both_models_under_one_number(run):
    path, out = run
    root = path.parent / "saved_models"
    assert (out / "export_text" / "1" / "saved_model.pb").is_file()
    assert server_config.labels(root, "tiny") == server_config.labels(root, "tiny_text") == {"stable": 1}
    plain, told = (manifest.read(root / name / "1") for name in ("tiny", "tiny_text"))
    assert plain["signatures"]["recommend_full"]["inputs"]["user_text"] == {"dtype": "float32", "shape": [-1, 384]}
    assert told["text"]["read_as"] == "user_text"
    assert "history alone" in json.loads((out / "metrics.json").read_text())["variants"]


def test_a_finished_run_is_not_repeated(run, caplog):
    path, out = run
    before = {one: one.stat().st_mtime_ns for one in out.rglob("*")}
    with caplog.at_level(logging.INFO, "tfrec"):
        assert call("run", path, "--out", out, *CHANGES) == 0
    assert [line for line in caplog.messages if line.endswith("done before, nothing to do")][-1].startswith("publish")
    assert {one: one.stat().st_mtime_ns for one in out.rglob("*")} == before


def test_the_command_answers_words(run, capsys, caplog):
    path, out = run
    model, said = path.parent / "saved_models" / "tiny", []
    for text in ("collects thing 2", "", "🎁", "a box"):
        assert call("recommend", model, "--text", text, "--history", "003,004", "--k", 3, "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["text"], answer["history"], len(answer["recommendations"])) == (text, ["003", "004"], 3)
        said.append([row["score"] for row in answer["recommendations"]])
    assert said[2] == pytest.approx(said[1], abs=1e-6) and len({str(scores) for scores in said[:2] + said[3:]}) == 3
    assert "the text model knows no word of '🎁', which says nothing" in caplog.messages
    assert call("recommend", model, "--history", "003,004", "--k", 3, "--json") == 0
    alone = [row["score"] for row in json.loads(capsys.readouterr().out)["recommendations"]]
    assert alone == pytest.approx(said[1], abs=1e-5)
    assert call("recommend", out / "export" / "1", "--text", "collects thing 2", "--k", 3) == 0  # Of the run, too.
    assert "Thing" in capsys.readouterr().out


def test_the_text_model_is_what_full_requests_take(run):
    model = serving.load(run[0].parent / "saved_models" / "tiny")
    vector = model.text_model._signatures["embed_text"](text=["collects thing 2"])["vector"].numpy()
    ids, scores = model.answer({HISTORY: np.array(["003"], object), "user_text": vector}, np.array([1]))
    table = model.recommend([["003"]], 3, texts=["collects thing 2"])
    assert table.item_id.tolist() == ids[0, :3].tolist()
    np.testing.assert_allclose(table.score, scores[0, :3], atol=1e-4)


def test_without_the_text_model_one_line_says_so(run, capsys):
    path, out = run
    changes = [*CHANGES, "--set", "export.text_model=false"]
    assert call("export", path, "--out", out, *changes) == 0
    capsys.readouterr()
    assert call("recommend", out / "export" / "2", "--text", "thing") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tfrec: error: ") and "takes no text: its text model" in line and "export_text/2" in line
