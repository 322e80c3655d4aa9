import os
import shutil

import pytest

from tfrec.serving import publisher, server_config
from tfrec.serving.publisher import publish


def another(copied, number):
    """The same model under another number, told apart by its manifest."""
    target = copied.parent.parent / "exports" / str(number)
    shutil.copytree(copied, target)
    (target / "fingerprint.pb").write_bytes(b"")
    text = (target / "assets.extra" / "manifest.json").read_text("utf-8")
    head, _, tail = text.partition('"fingerprint.pb": {')
    body = '\n"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"'
    (target / "assets.extra" / "manifest.json").write_text(
        f'{head}"fingerprint.pb": {{{body}{tail[tail.index("}") :]}', "utf-8"
    )
    return target


@pytest.fixture
def root(tmp_path):
    return tmp_path / "saved_models"


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


def test_a_running_server_is_given_time_to_load(exported, copied, root, monkeypatch):
    publish(exported, root, "shop")
    seen = []
    monkeypatch.setattr(
        publisher.time, "sleep", lambda s: seen.append((s, (root / "models.config").read_text("utf-8")))
    )
    publish(another(copied, 2), root, "shop", settle=30)
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
