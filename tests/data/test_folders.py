"""A dataset's folder is written whole or not at all, never over something else, and opened only when it is whole."""

import contextlib
import fcntl
import json
import os

import pandas as pd
import pytest

from tfrec.data import Dataset, EventColumns, Label, PrepareOptions, content_hash, folders, prepare
from tfrec.data.folders import new_folder


def listing(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def made(tmp_path, tiny):
    return prepare(tiny, folder=tmp_path / "dataset").folder


def test_the_hash_is_of_content_and_options(tiny, titles, tmp_path):
    tiny.to_csv(tmp_path / "a.csv", index=False)
    tiny.to_csv(tmp_path / "b.csv", index=False)
    assert content_hash(tmp_path / "a.csv") == content_hash(tmp_path / "b.csv")
    assert content_hash(tiny) == content_hash(tiny.copy())
    others = [
        content_hash(tiny.iloc[:-1]),
        content_hash(tiny.rename(columns={"position": "timestamp"})),
        content_hash(tiny, titles),
        content_hash(tiny, users=titles),
        content_hash(tiny, options=PrepareOptions(max_length=7)),
    ]
    assert len({content_hash(tiny), *others}) == 6


def test_the_hash_sees_the_content_of_a_list_of_items(tiny, tmp_path):
    path = tmp_path / "cold.csv"
    options = PrepareOptions(hold_out_items=path)
    path.write_text("item_id\nv\n")
    before = content_hash(tiny, options=options)
    path.write_text("item_id\nw\n")
    assert content_hash(tiny, options=options) != before


@pytest.mark.parametrize("option", ["hold_out_items", "hold_out_validation_items"])
def test_the_hash_does_not_see_the_name_of_a_list_of_items(tiny, tmp_path, option):
    hashes = set()
    for name in ("cold.csv", "renamed.csv"):
        (tmp_path / name).write_text("item_id\nv\n")
        hashes.add(content_hash(tiny, options=PrepareOptions(**{option: tmp_path / name})))
    assert len(hashes) == 1 and content_hash(tiny) not in hashes


def test_another_datasets_folder_is_refused_and_stays(made, tiny):
    before = listing(made)
    with pytest.raises(ValueError, match=r"holds another dataset \(content \w{12}, now \w{12}\): give another folder"):
        prepare(tiny, options=PrepareOptions(max_length=7), folder=made)
    assert listing(made) == before


def test_another_dataset_is_replaced_where_that_is_said(made, tiny):
    dataset = prepare(tiny, options=PrepareOptions(max_length=7), folder=made, replace=True)
    assert dataset.max_length == 7 and [path.name for path in made.parent.iterdir()] == ["dataset"]


def test_the_same_dataset_is_written_again_with_the_same_bytes(made, tiny):
    before = listing(made)
    prepare(tiny, folder=made)
    assert listing(made) == before


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_something_else_is_refused_and_stays(tmp_path, tiny, replace):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else than a dataset: give another folder"):
        prepare(tiny, folder=tmp_path, replace=replace)
    assert listing(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_strange_file_in_a_datasets_folder_is_not_lost(made, tiny):
    (made / "notes.txt").write_text("mine")
    before = listing(made)
    with pytest.raises(ValueError, match="holds 'notes.txt', no part of the dataset there, which would be lost"):
        prepare(tiny, folder=made, replace=True)
    assert listing(made) == before


def test_a_file_in_place_of_the_folder_or_above_it_is_refused(tmp_path, tiny):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="file is a file: give another folder"):
        prepare(tiny, folder=tmp_path / "file")
    with pytest.raises(ValueError, match="cannot be made: .*file is a file"):
        prepare(tiny, folder=tmp_path / "file" / "below")


@contextlib.contextmanager
def nobody():
    """Give up the rights of root, to which every folder is writable."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, tiny):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o500)
    with nobody(), pytest.raises(PermissionError, match="output folder .* cannot be written"):
        prepare(tiny, folder=tmp_path / "locked" / "dataset")
    assert not list((tmp_path / "locked").iterdir())


def test_bad_input_leaves_an_existing_dataset_alone(made, tiny):
    before = listing(made)
    with pytest.raises(ValueError, match="'events' has no column 'item_id'"):
        prepare(tiny.drop(columns="item_id"), folder=made, replace=True)
    assert listing(made) == before and len(list(made.parent.iterdir())) == 1


def test_an_error_while_writing_leaves_what_was(made):
    before = listing(made)
    with pytest.raises(KeyboardInterrupt), new_folder(made) as partial:
        (partial / "half").write_text("x")
        raise KeyboardInterrupt
    assert listing(made) == before and len(list(made.parent.iterdir())) == 1


def test_a_full_disk_is_said(made):
    with pytest.raises(ValueError, match="the disk is full. Make room"), new_folder(made):
        raise OSError(28, "No space left on device")


def test_an_empty_folder_is_taken(tmp_path, tiny):
    assert prepare(tiny, folder=tmp_path).manifest["counts"]["users"] == 4


def test_a_folder_is_opened_only_when_it_is_a_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="no dataset folder .*absent: prepare the data first"):
        Dataset.open(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"is not the folder of a dataset: it has no manifest\.json"):
        Dataset.open(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match="is not the folder of a dataset"):
        Dataset.open(tmp_path)


def test_labelled_data_sets_have_a_version_of_their_own(tmp_path, tiny, monkeypatch):
    options = PrepareOptions(events=EventColumns(position="position", labels={"liked": Label("stars")}))
    before = content_hash(tiny), content_hash(tiny, options=options)
    folder = prepare(tiny.assign(stars=[0, 1] * 5 + [1]), options=options, folder=tmp_path / "labelled").folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["version"] == 3
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    with pytest.raises(ValueError, match="holds a dataset of version 2, and this tfrec reads 3: prepare the data anew"):
        Dataset.open(folder)
    assert json.loads((prepare(tiny, folder=tmp_path / "plain").folder / "manifest.json").read_text())["version"] == 2
    monkeypatch.setattr(folders, "LABELLED", 4)
    after = content_hash(tiny), content_hash(tiny, options=options)
    assert after[0] == before[0] and after[1] != before[1]  # What was prepared by the rules of before is made anew.


def test_another_version_is_refused(made):
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(
        ValueError, match="holds a dataset of version 99, and this tfrec reads 2: prepare the data anew"
    ):
        Dataset.open(made)


@pytest.mark.parametrize("name", ["users-00001-of-00004.tfrecord", "items.parquet", "events_scored.csv.gz"])
def test_a_missing_or_truncated_file_is_named(made, name):
    whole = (made / name).read_bytes()
    (made / name).write_bytes(whole[:-1] if whole else b"x")
    with pytest.raises(
        ValueError,
        match=f"is damaged: {name} has .* bytes instead of {len(whole)}. Remove .* and prepare the data anew",
    ):
        Dataset.open(made)
    (made / name).unlink()
    with pytest.raises(ValueError, match=f"is damaged: {name} is missing"):
        Dataset.open(made)


@pytest.mark.parametrize("name", ["items.parquet", "item_features.npz"])
def test_a_file_that_changed_is_named(made, name):
    content = bytearray((made / name).read_bytes())
    content[len(content) // 2] ^= 0x01
    (made / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"is damaged: {name} has other content than was written. Remove .* and prep"):
        Dataset.open(made)


def test_a_missing_table_is_named_and_nothing_is_made(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match=r"'items': there is no file .*absent\.csv\. Correct the path"):
        prepare(tiny, tmp_path / "absent.csv", folder=tmp_path / "dataset")
    assert not list(tmp_path.iterdir())


def test_a_temporary_dataset_lives_as_long_as_its_object(tiny):
    dataset = prepare(tiny)
    folder = dataset.folder
    assert (folder / "manifest.json").is_file()
    del dataset
    assert not folder.exists()


def test_a_table_of_another_type_is_refused():
    with pytest.raises(ValueError, match="items must be a path or a pandas DataFrame; got dict"):
        content_hash(pd.DataFrame({"user_id": ["a"]}), {"item_id": ["a"]})
    with pytest.raises(ValueError, match="'events': a column holds lists or the like"):
        content_hash(pd.DataFrame({"tags": [["a"]]}))


def test_what_a_killed_process_left_is_taken_away_and_a_running_ones_work_stays(tmp_path, tiny):
    for name in (".dataset.1.partial", ".dataset.2.partial", ".data.3.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    handle = os.open(tmp_path / ".dataset.2.partial", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    prepare(tiny, folder=tmp_path / "dataset")
    os.close(handle)
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", ".dataset.2.partial", ".data.3.partial"}


def test_a_dataset_that_a_killed_process_had_moved_away_comes_back(made, tiny):
    before = listing(made)
    (made.parent / ".dataset.1.partial").mkdir()
    made.rename(made.parent / ".dataset.1.old")
    with pytest.raises(ValueError, match="holds another dataset"):
        prepare(tiny, options=PrepareOptions(max_length=7), folder=made)
    assert listing(made) == before and [path.name for path in made.parent.iterdir()] == ["dataset"]
    (made.parent / ".dataset.1.old").mkdir()
    prepare(tiny, options=PrepareOptions(max_length=7), folder=made, replace=True)
    assert [path.name for path in made.parent.iterdir()] == ["dataset"]
