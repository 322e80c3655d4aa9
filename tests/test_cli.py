"""The command: what it hands on, what it prints, and that a user's mistake is one line and status 1."""

import json
import logging
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest

import tfrec
from tfrec import cli

PIPELINE = "name: shop\ndata: {simulated: {users: 10}}\n"
STAGES = ("prepare", "train", "rank", "evaluate", "export", "publish")


def stand_in(monkeypatch, parent, name, module):
    """Put `module` in the place of a submodule, imported before or not."""
    monkeypatch.setitem(sys.modules, f"{parent.__name__}.{name}", module)
    monkeypatch.setattr(parent, name, module, raising=False)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for variable in ("TFREC_DATA", "TFREC_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    level = logging.getLogger("tfrec").level
    yield
    logging.getLogger("tfrec").setLevel(level)


@pytest.fixture
def pipeline(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    return str(path)


@pytest.fixture
def calls(monkeypatch):
    """What `stages.run` is called with; there are no results to show."""
    seen = []
    monkeypatch.setattr(cli.pipelines, "_print_results", lambda folder, ranker: None)
    run = lambda settings, out, **options: seen.append((settings, out, options))  # noqa: E731
    stand_in(monkeypatch, tfrec, "stages", types.SimpleNamespace(run=run))
    return seen


@pytest.fixture
def answers(monkeypatch):
    """A model that answers with what it is asked, and remembers the files it is asked for."""

    class Model:
        items = pd.Series("a title", index=["a", "b", "c", " padded ", "all"])

        def recommend(self, histories, k, texts=None):
            if texts is not None:
                k = len(texts[0].split())
            last = 0 if histories == [["all"]] else k
            rows = [(0, rank, f"i{rank}", f"鞋 👟 [{rank}]", 1 / rank) for rank in range(1, last + 1)]
            return pd.DataFrame(rows, columns=["row", "rank", "item_id", "title", "score"]).astype({"score": "float32"})

    module = types.SimpleNamespace(load=lambda path: Model(), files=[])
    module.recommend_file = lambda *arguments, **options: module.files.append((arguments, options))
    import tfrec.serving

    stand_in(monkeypatch, tfrec.serving, "answers", module)
    stand_in(monkeypatch, tfrec.serving, "opening", types.SimpleNamespace(judges=lambda path: False))
    return module


def error_of(capsys, *arguments: object) -> str:
    """The one line that a wrong call prints, without its head."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tfrec: error: ")
    return lines[0].removeprefix("tfrec: error: ")


def test_run_does_every_stage_into_the_default_folder(pipeline, calls):
    assert cli.main(["run", pipeline]) == 0
    ((settings, out, options),) = calls
    assert (settings.name, out, options) == ("shop", Path("runs/shop"), {"only": None})


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_can_be_asked_for_alone(pipeline, calls, tmp_path, stage):
    assert cli.main([stage, pipeline, "--out", str(tmp_path / "out"), "--set", "model.dim=32", "--set", "seed=3"]) == 0
    ((settings, out, options),) = calls
    assert (settings.model.dim, settings.seed, out, options) == (32, 3, tmp_path / "out", {"only": stage})


def test_an_export_takes_a_table_of_items(pipeline, calls):
    assert cli.main(["export", pipeline, "--items", "new.csv"]) == 0
    assert calls[0][2] == {"only": "export", "items": Path("new.csv")}


@pytest.mark.parametrize("stage", ["run", *(stage for stage in STAGES if stage != "export")])
def test_no_other_stage_takes_a_table_of_items(pipeline, calls, capsys, stage):
    assert "No such option" in error_of(capsys, stage, pipeline, "--items", "new.csv")
    assert not calls


def test_answers_are_shown_with_titles(answers, capsys):
    assert cli.main(["recommend", "model", "--history", "a, b,,c", "--k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "item", "title", "score"]
    assert lines[2].split() == ["2", "i2", "鞋", "👟", "[2]", "0.5000"]


def test_answers_as_json(answers, capsys):
    assert cli.main(["recommend", "model", "--history", "a, b,,c", "--k", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["history"] == ["a", "b", "c"]
    assert answer["recommendations"][1] == {"rank": 2, "item_id": "i2", "title": "鞋 👟 [2]", "score": 0.5}


def test_an_empty_history_is_a_new_user(answers, capsys):
    assert cli.main(["recommend", "model", "--history", "", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["history"] == []


def test_ids_keep_the_blanks_that_the_model_knows(answers, capsys):
    assert cli.main(["recommend", "model", "--history", "a , padded , new ,  ,b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["history"] == ["a", " padded ", "new", "b"]


def test_an_exhausted_catalogue_is_said(answers, capsys):
    assert cli.main(["recommend", "model", "--history", "all"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "nothing is left to recommend: the history holds all that the model may show\n"
    assert cli.main(["recommend", "model", "--history", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"history": ["all"], "recommendations": []}


@pytest.mark.parametrize(("options", "history"), [([], []), (["--history", "a"], ["a"])])
def test_a_text_is_asked_alone_or_beside_a_history(answers, capsys, options, history):
    assert cli.main(["recommend", "model", "--text", "warm dry shoes", "--json", *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["text"], answer["history"], len(answer["recommendations"])) == ("warm dry shoes", history, 3)


def test_a_whole_file_is_answered(answers):
    assert cli.main(["recommend", "model", "--events", "e.csv", "--output", "o.parquet", "--k", "5"]) == 0
    assert answers.files == [((Path("model"), Path("e.csv"), Path("o.parquet")), {"k": 5})]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "give --history, --text or both, or --events"),
        (["--history", "a", "--events", "e.csv"], "--events goes without --history and --text"),
        (["--text", "a", "--events", "e.csv", "--output", "o.parquet"], "--events goes without --history and --text"),
        (["--events", "e.csv"], "--events and --output go together"),
        (["--history", "a", "--output", "o.parquet"], "--events and --output go together"),
        (["--events", "e.csv", "--output", "o.parquet", "--json"], "--json shows the answer to --history"),
        (["--history", "a", "--k", "0"], "Invalid value for '--k': 0 is not in the range x>=1."),
        (["--history", "a", "--k", "ten"], "Invalid value for '--k': 'ten' is not a valid"),
    ],
)
def test_questions_that_cannot_be_answered(answers, capsys, options, told):
    assert told in error_of(capsys, "recommend", "model", *options)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "Missing argument 'PIPELINE'"),
        (["fly"], "No such command 'fly'"),
        (["run", "nowhere.yaml"], "no pipeline file nowhere.yaml"),
        (["run", "PIPELINE", "--st", "a=1"], "No such option"),
        (["run", "PIPELINE", "--set", "model.dimm=1"], "unknown key model.dimm; the nearest valid key is model.dim"),
        (["run", "PIPELINE", "--set", "model.dim=x"], "model.dim is 'x': must be a whole number"),
        (["run", "PIPELINE", "--out", "PIPELINE"], "is a file"),
        (["compare", "PIPELINE"], "Missing option '--grid'"),
        (["compare", "PIPELINE", "--grid", "nowhere.yaml"], "no grid file nowhere.yaml"),
        (["compare", "PIPELINE", "--grid", "PIPELINE"], "unknown key name; the nearest valid key is"),
        (["download", "ml-2m"], "no public data set 'ml-2m' is known"),
    ],
)
def test_wrong_calls(calls, capsys, pipeline, arguments, told):
    assert told in error_of(capsys, *[pipeline if one == "PIPELINE" else one for one in arguments])
    assert not calls


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch, pipeline):
    def run(*arguments, **options):
        raise RuntimeError("a leak")

    stand_in(monkeypatch, tfrec, "stages", types.SimpleNamespace(run=run))
    with pytest.raises(RuntimeError, match="a leak"):
        cli.main(["run", pipeline])


def test_an_interruption_has_its_own_status(monkeypatch, capsys, pipeline):
    def run(*arguments, **options):
        raise KeyboardInterrupt

    stand_in(monkeypatch, tfrec, "stages", types.SimpleNamespace(run=run))
    assert cli.main(["run", pipeline]) == 130
    assert capsys.readouterr().err == "tfrec: interrupted\n"


def test_another_backend_is_refused(monkeypatch, capsys, pipeline):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "KERAS_BACKEND is 'jax'" in error_of(capsys, "run", pipeline)
    with pytest.raises(ValueError, match="TensorFlow only"):
        tfrec.TwoTower  # noqa: B018


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "-h"]])
def test_help_is_no_mistake(capsys, arguments):
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: tfrec")


def test_the_version_is_said_once(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tfrec, version {tfrec.__version__}\n"


def test_importing_the_package_is_cheap():
    script = "import sys, tfrec; sys.exit(bool({'tensorflow', 'keras', 'pandas', 'numpy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=Path(tfrec.__file__).parents[1], check=False).returncode == 0
    )


def test_public_names_are_found_when_used():
    assert tfrec.data.prepare is not None
    assert set(tfrec._NAMES) <= set(dir(tfrec))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tfrec.nothing  # noqa: B018


@pytest.mark.slow
def test_the_command_itself_prints_one_line(tmp_path):
    arguments = [sys.executable, "-m", "tfrec.cli", "recommend", str(tmp_path), "--history", "a"]
    done = subprocess.run(arguments, cwd=Path(tfrec.__file__).parents[1], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "is not a SavedModel" in done.stderr


def test_rollback_hands_on_where_to_and_who_is_waited_for(monkeypatch, capsys):
    from tfrec.serving.waiting import RunningServer

    seen = []
    monkeypatch.setattr(
        "tfrec.serving.rollbacks.rollback", lambda *given, **named: seen.append((*given, named)) or "models/shop/3"
    )
    server = ["--server", "http://host:8501", "--settle", "9"]
    assert cli.main(["rollback", "models/shop", "--to", "3", "--label", "canary", *server]) == 0
    assert cli.main(["rollback", "models/shop"]) == 0
    assert seen == [
        (Path("models/shop"), 3, {"label": "canary", "server": RunningServer("http://host:8501", 9.0)}),
        (Path("models/shop"), None, {"label": "stable", "server": RunningServer(None, 0.0)}),
    ]
    assert capsys.readouterr().out == "models/shop/3\n" * 2
    told = error_of(capsys, "rollback", "models/shop", "--server", "host:8501")
    assert told.startswith("`server` must be the address") and "host:8501" in told
