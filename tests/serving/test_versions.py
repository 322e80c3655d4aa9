import errno
import os

import pytest

from tfrec.serving.versions import building, next_version, place, remove, version_of, versions


def folder(parent, name):
    (parent / name).mkdir(parents=True)
    (parent / name / "saved_model.pb").write_bytes(b"x")
    return parent / name


def test_versions_are_numbers_spelled_plainly(tmp_path):
    for name in ("10", "9", "007", "x", "-1", "٣", ".partial-1"):
        folder(tmp_path, name)
    (tmp_path / "11").mkdir()
    assert versions(tmp_path) == [9, 10]
    assert versions(tmp_path / "nowhere") == []
    assert version_of(tmp_path / "007") is None


def test_the_next_version_is_above_all_folders(tmp_path):
    assert next_version(tmp_path / "nowhere") == 1
    folder(tmp_path / "a", "3")
    (tmp_path / "b" / "8").mkdir(parents=True)
    assert next_version(tmp_path / "a", tmp_path / "b") == 9


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), building(tmp_path / "new") as built:
        (built / "half").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []


def test_a_finished_folder_gets_its_number(tmp_path):
    folder(tmp_path, "1")
    with building(tmp_path) as built:
        (built / "saved_model.pb").write_bytes(b"new")
        assert versions(tmp_path) == [1]
        target = place(built, tmp_path, None)
    assert target == tmp_path / "2"
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_a_version_is_never_overwritten(tmp_path):
    old = folder(tmp_path, "1")
    with building(tmp_path) as built, pytest.raises(ValueError, match="exists already"):
        (built / "saved_model.pb").write_bytes(b"new")
        place(built, tmp_path, 1)
    assert (old / "saved_model.pb").read_bytes() == b"x"


def test_a_number_taken_meanwhile_is_passed_over(tmp_path, monkeypatch):
    rename, taken = os.rename, []

    def race(source, target):
        if not taken:
            taken.append(folder(tmp_path, "1"))
        rename(source, target)

    monkeypatch.setattr(os, "rename", race)
    with building(tmp_path) as built:
        (built / "saved_model.pb").write_bytes(b"new")
        assert place(built, tmp_path, None).name == "2"


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, reason):
    def refuse(*args, **kwargs):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(PermissionError, match=f"{tmp_path}/out cannot be written .* choose another folder"):
        with building(tmp_path / "out"):
            pass


def test_a_file_is_no_folder_of_versions(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"), building(tmp_path / "file"):
        pass


def test_a_removed_version_is_gone(tmp_path):
    remove(folder(tmp_path, "1"))
    assert list(tmp_path.iterdir()) == []
