"""The ledger of a run: whose folder it is, what is finished, and what a crash or a stranger leaves."""

import json
import os

import pytest

from tfrec import config
from tfrec.stages.ledger import Run, write_text

SHOP = "name: {name}\ndata: {{simulated: {{users: 10}}}}\n"


def pipeline(name="shop", *overrides):
    return config.parse(SHOP.format(name=name), overrides)


def finished(folder, stage="train", name="shop", **figures):
    run = Run(pipeline(name), folder)
    run.begin(stage)
    path = run.path("weights", "one.bin")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"12345")
    run.finish(stage, "k1", [run.path("weights")], **figures)
    return run


def test_what_is_finished_is_known_to_the_next_process(tmp_path):
    finished(tmp_path, seconds=1.5, history=[{"loss": 2.0}])
    again = Run(pipeline(), tmp_path)
    assert again.done("train", "k1")
    assert not again.done("train", "k2")
    assert not again.done("prepare", "k1")
    assert again.figures("train") == {"seconds": 1.5, "history": [{"loss": 2.0}]}
    assert again.figures("prepare") == {}


def test_what_another_run_finished_is_taken_over_and_is_not_shared(tmp_path):
    donor = finished(tmp_path / "one", seconds=1.5)
    Run(pipeline("shop", "seed=2"), tmp_path / "other").adopt("train", donor)
    again = Run(pipeline("shop", "seed=2"), tmp_path / "other")
    assert again.done("train", "k1") and again.figures("train") == {"seconds": 1.5}
    assert sorted(path.name for path in again.out.iterdir()) == ["config.yaml", "stages.json", "weights"]
    assert config.load(again.path("config.yaml")).seed == 2
    write_text(again.path("weights", "one.bin"), "changed")
    assert donor.path("weights", "one.bin").read_bytes() == b"12345"


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    Run(pipeline(), tmp_path / "other").adopt("train", finished(tmp_path / "one"))
    assert Run(pipeline(), tmp_path / "other").done("train", "k1")


@pytest.mark.parametrize("adopted", [False, True])
def test_the_disk_has_what_is_finished_before_the_ledger_says_so(tmp_path, monkeypatch, adopted):
    donor, happened, replace, flush = finished(tmp_path / "donor") if adopted else None, [], os.replace, os.fsync

    def replaced(source, place):
        happened.append(f"named {os.path.basename(place)}")
        replace(source, place)

    def flushed(handle):
        happened.append(f"flushed {os.path.basename(os.readlink(f'/proc/self/fd/{handle}'))}")
        flush(handle)

    monkeypatch.setattr("os.replace", replaced)
    monkeypatch.setattr("os.fsync", flushed)
    if donor:
        Run(pipeline(), tmp_path / "run").adopt("train", donor)
    else:
        finished(tmp_path / "run")
    named = happened.index("named stages.json")
    for what in ("one.bin", "weights", "run", ".writing-stages.json"):
        assert f"flushed {what}" in happened[:named]
    assert "flushed run" in happened[named:]


def test_looking_writes_nothing(tmp_path):
    Run(pipeline(), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_begins_anew_is_not_done(tmp_path):
    finished(tmp_path)
    Run(pipeline(), tmp_path).begin("train")
    assert not Run(pipeline(), tmp_path).done("train", "k1")


def test_files_elsewhere_count_too(tmp_path):
    outside = tmp_path / "published" / "1"
    outside.mkdir(parents=True)
    (outside / "saved_model.pb").write_bytes(b"123")
    run = Run(pipeline(), tmp_path / "run")
    run.begin("publish")
    run.finish("publish", "k1", [outside])
    assert Run(pipeline(), tmp_path / "run").done("publish", "k1")
    (outside / "saved_model.pb").unlink()
    assert not Run(pipeline(), tmp_path / "run").done("publish", "k1")


def test_the_settings_lie_beside_and_are_those_of_the_last_work(tmp_path):
    run = finished(tmp_path)
    assert config.load(run.path("config.yaml")) == pipeline()
    Run(pipeline("shop", "model.dim=8"), tmp_path)
    assert config.load(run.path("config.yaml")) == pipeline()
    Run(pipeline("shop", "model.dim=8"), tmp_path).begin("train")
    assert config.load(run.path("config.yaml")).model.dim == 8


def test_keys_depend_on_stage_settings_and_what_is_read(tmp_path):
    one, other = Run(pipeline(), tmp_path), Run(pipeline("shop", "model.dim=8"), tmp_path)
    assert one.key("train", "x") == Run(pipeline(), tmp_path / "b").key("train", "x")
    assert len({one.key("train", "x"), other.key("train", "x"), one.key("train", "y"), one.key("evaluate", "x")}) == 4
    assert one.key("evaluate", "x") == other.key("evaluate", "x")


@pytest.mark.parametrize("name", ["007", "1e3", "on", "null", "2024-01-01", "0x1F"])
def test_names_that_look_like_something_else_are_names(tmp_path, name):
    quoted = f"'{name}'"
    finished(tmp_path, name=quoted)
    assert Run(pipeline(quoted), tmp_path).done("train", "k1")


def test_another_pipelines_folder_is_refused(tmp_path):
    finished(tmp_path)
    with pytest.raises(ValueError, match="is the run of the pipeline 'shop', and this one is 'other'. Name another"):
        Run(pipeline("other"), tmp_path)


@pytest.mark.parametrize("config_file", [None, "", "- a list", "name: [", "other: 1", b"\xff\xfe"])
def test_a_folder_of_something_else_is_refused(tmp_path, config_file):
    (tmp_path / "thesis.txt").write_text("years of work")
    if config_file is not None:
        content = config_file if isinstance(config_file, bytes) else config_file.encode()
        (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="holds files that are no run of tfrec. Name an empty folder"):
        Run(pipeline(), tmp_path)


def test_hidden_files_make_no_folder_foreign(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    assert not finished(tmp_path).done("train", "k2")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match="run is a file, and a run needs a folder"):
        Run(pipeline(), tmp_path / "run")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"train": 3}', "null"])
def test_a_damaged_ledger_says_what_to_do(tmp_path, text):
    finished(tmp_path)
    (tmp_path / "stages.json").write_text(text)
    with pytest.raises(ValueError, match=r"stages.json: not the ledger of a run \(.*\). Remove it to do every stage"):
        Run(pipeline(), tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    run = Run(pipeline(), tmp_path / "file" / "run")
    with pytest.raises(PermissionError, match="--out .*run cannot be written: Not a directory. Name another folder"):
        run.begin("train")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def denied(path, text):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tfrec.stages.ledger.write_text", denied)
    with pytest.raises(PermissionError, match="cannot be written: Permission denied. Name another folder"):
        Run(pipeline(), tmp_path).begin("train")


def test_a_new_folder_vanishes_when_its_first_stage_fails(tmp_path):
    run = Run(pipeline(), tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run.opened():
        assert run.path("config.yaml").exists()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_older_run_stays_when_a_first_stage_fails(tmp_path):
    finished(tmp_path)
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(ZeroDivisionError), Run(pipeline("shop", "model.dim=8"), tmp_path).opened():
        raise ZeroDivisionError
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert json.loads((tmp_path / "stages.json").read_text())["train"]["key"] == "k1"


def test_a_text_file_is_never_half_written(tmp_path, monkeypatch):
    write_text(tmp_path / "a.json", "whole")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.json", "half")
    assert (tmp_path / "a.json").read_text() == "whole"


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    finished(tmp_path)
    with Run(pipeline(), tmp_path).locked(), pytest.raises(ValueError, match="another tfrec is at work"):
        with Run(pipeline(), tmp_path).locked():
            pass
    with Run(pipeline(), tmp_path).locked():
        assert Run(pipeline(), tmp_path).done("train", "k1")


def test_a_new_folder_is_locked_once_it_is_made(tmp_path):
    first = Run(pipeline(), tmp_path / "new")
    with first.locked(), first.opened(), pytest.raises(ValueError, match="another tfrec is at work"):
        with Run(pipeline(), tmp_path / "new").locked():
            pass
