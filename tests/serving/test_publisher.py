import os
import shutil
import time

import pytest

from tests.serving.conftest import another
from tfrec.serving import publisher, server_config, waiting
from tfrec.serving.gate import verify
from tfrec.serving.publisher import publish
from tfrec.serving.versions import versions
from tfrec.serving.waiting import RunningServer

pytestmark = pytest.mark.usefixtures("unasked")


def test_a_published_version_is_whole_and_labelled(exported, root):
    assert publish(exported, root, "shop") == root / "shop" / "1"
    assert server_config.labels(root, "shop") == {"stable": 1}
    assert sorted(os.listdir(root / "shop")) == ["1"]
    assert exported.is_dir()


def test_publishing_again_changes_nothing(exported, root):
    publish(exported, root, "shop")
    before = (root / "shop" / "1").stat().st_mtime_ns
    assert publish(exported, root, "shop") == root / "shop" / "1"
    assert (root / "shop" / "1").stat().st_mtime_ns == before


def test_another_model_of_the_same_number_takes_the_next(exported, copied, root, caplog):
    publish(exported, root, "shop")
    assert publish(another(copied, 1), root, "shop").name == "2"
    assert "takes the next number" in caplog.text
    assert server_config.labels(root, "shop") == {"stable": 2}


def test_the_newest_and_the_labelled_are_kept(copied, root):
    publish(another(copied, 1), root, "shop", label="canary")
    for number in (2, 3, 4):
        publish(another(copied, number), root, "shop", keep=2)
    assert sorted(os.listdir(root / "shop")) == ["1", "3", "4"]
    assert server_config.labels(root, "shop") == {"canary": 1, "stable": 4}


def test_what_a_server_does_not_load_leaves_no_version(exported, copied, root, monkeypatch):
    publish(exported, root, "shop")

    def refuse(self, names, version):
        raise ValueError("the server has not loaded it")

    monkeypatch.setattr(RunningServer, "wait", refuse)
    monkeypatch.setattr(RunningServer, "check", lambda self, name: None)
    version = another(copied, 2)
    for name in ("shop", "new"):
        with pytest.raises(ValueError, match="has not loaded it"):
            publish(version, root, name, server=RunningServer("http://localhost:1", 1))
    assert os.listdir(root / "shop") == ["1"] and os.listdir(root / "new") == []
    assert server_config.labels(root, "shop") == {"stable": 1} and server_config.listed(root, "shop") == [1]


def test_what_a_label_has_moved_to_stays_whatever_breaks_off_then(exported, root, monkeypatch):
    def full(*arguments, **how):
        raise OSError("disk full")

    monkeypatch.setattr("tfrec.serving.label_history.record", full)
    with pytest.raises(OSError, match="disk full"):
        publish(exported, root, "shop")
    assert server_config.labels(root, "shop") == {"stable": 1} and (root / "shop" / "1" / "saved_model.pb").is_file()


def test_a_running_server_is_given_time_to_load(exported, copied, root, monkeypatch):
    publish(exported, root, "shop")
    seen = []
    monkeypatch.setattr(waiting.time, "sleep", lambda s: seen.append((s, (root / "models.config").read_text("utf-8"))))
    publish(another(copied, 2), root, "shop", server=RunningServer(settle=30))
    [(seconds, text)] = seen
    assert seconds == 30
    assert "versions: 1" in text and "versions: 2" in text and "value: 1" in text
    after = (root / "models.config").read_text("utf-8")
    assert "versions: 1" not in after and "value: 2" in after


@pytest.mark.parametrize("damage", ["variables/variables.index", "assets/item_ids.txt"])
def test_a_damaged_version_is_refused_and_what_is_there_stays(exported, copied, root, damage):
    publish(exported, root, "shop")
    before = (root / "models.config").read_bytes()
    (copied / damage).write_bytes(b"")
    with pytest.raises(ValueError, match=damage):
        publish(copied, root, "shop")
    assert (root / "models.config").read_bytes() == before
    assert sorted(os.listdir(root / "shop")) == ["1"]


def test_a_copy_that_breaks_off_is_never_seen(exported, root, monkeypatch):
    def half(source, target, **kwargs):
        shutil.copy(source / "saved_model.pb", target)
        raise OSError("disk full")

    monkeypatch.setattr(publisher.shutil, "copytree", half)
    with pytest.raises(OSError, match="disk full"):
        publish(exported, root, "shop")
    assert os.listdir(root / "shop") == []
    assert server_config.labels(root, "shop") == {}


def test_what_a_killed_process_left_goes_after_a_day(exported, root):
    left = [root / "shop" / name for name in (".partial-old", ".removed-old", ".partial-new")]
    for folder in left:
        (folder / "variables").mkdir(parents=True)
    for folder in left[:2]:
        os.utime(folder, (time.time() - 2 * 24 * 3600,) * 2)
    publish(exported, root, "shop")
    assert [folder.exists() for folder in left] == [False, False, True] and versions(root / "shop") == [1]


@pytest.mark.parametrize(
    "wrong", [{"name": "a/b"}, {"name": ".."}, {"name": ""}, {"label": "a-b"}, {"keep": 0}, {"keep": True}]
)
def test_wrong_arguments_are_named(exported, root, wrong):
    arguments = {"name": "shop", **wrong}
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
        publish(exported, root, **arguments)
    assert not root.exists()


def test_a_folder_that_is_no_version_is_refused(tmp_path, root):
    with pytest.raises(ValueError, match="is not a SavedModel"):
        publish(tmp_path, root, "shop")
    assert not root.exists()


def test_a_folder_that_cannot_be_written_is_named(exported, root, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(PermissionError, match="saved_models/shop cannot be written"):
        publish(exported, root, "shop")


def test_a_text_model_is_published_with_its_model(pair, root):
    assert publish(pair[0], root, "shop", text_folder=pair[1]) == root / "shop" / "1"
    assert server_config.labels(root, "shop") == server_config.labels(root, "shop_text") == {"stable": 1}
    verify(root / "shop_text" / "1")
    before = (root / "shop_text" / "1").stat().st_mtime_ns
    publish(pair[0], root, "shop", text_folder=pair[1])
    assert (root / "shop_text" / "1").stat().st_mtime_ns == before


def test_both_take_one_number_and_one_step(pair, exported, root, monkeypatch):
    publish(exported, root, "shop")
    (root / "shop_text" / "2").mkdir(parents=True)
    seen = []
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: seen.append((root / "models.config").read_text()))
    assert (
        publish(pair[0], root, "shop", text_folder=pair[1], server=RunningServer(settle=1), keep=1)
        == root / "shop" / "3"
    )
    assert server_config.labels(root, "shop") == server_config.labels(root, "shop_text") == {"stable": 3}
    assert seen[0].count("versions: 3") == 2 and seen[0].count("value: 1") == 1 and "value: 3" not in seen[0]
    # What a server still answers with stays until the next one.
    assert (sorted(os.listdir(root / "shop")), sorted(os.listdir(root / "shop_text"))) == (["1", "3"], ["2", "3"])


def test_a_model_without_text_takes_the_label_from_an_older_text_model(pair, exported, root):
    publish(pair[0], root, "shop", text_folder=pair[1])
    assert publish(exported, root, "shop").name == "2"
    assert server_config.labels(root, "shop") == {"stable": 2}
    assert "shop_text" not in (root / "models.config").read_text("utf-8")


def test_a_text_model_that_fails_leaves_both_as_they_were(pair, exported, root, tmp_path):
    publish(exported, root, "shop")
    damaged = shutil.copytree(pair[1], tmp_path / "damaged" / "1")
    (damaged / "assets" / "item_ids.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"damaged/1 was changed after its export: assets/item_ids\.txt"):
        publish(pair[0], root, "shop", text_folder=damaged)
    assert server_config.labels(root, "shop") == {"stable": 1}
    assert sorted(os.listdir(root)) == [
        ".models.config.lock", "README.md", "batching_params.pbtxt", "models.config", "models.history.json",
        "monitoring.config", "shop",
    ]  # fmt: skip


def test_a_pipeline_called_like_a_text_model_is_refused(pair, exported, root):
    publish(exported, root, "shop_text")
    with pytest.raises(ValueError, match="shop_text holds the versions of another pipeline, and the suffix '_text'"):
        publish(pair[0], root, "shop", text_folder=pair[1])
    assert server_config.labels(root, "shop") == {} and not (root / "shop").exists()
    publish(exported, root, "shop")  # A pipeline of its own, whose label stays.
    assert server_config.labels(root, "shop_text") == {"stable": 1}
    publish(pair[0], root, "films", text_folder=pair[1])
    with pytest.raises(ValueError, match="films_text holds the versions of a text model"):
        publish(exported, root, "films_text")
