"""The titles beside a client's answers, whatever becomes of the folder that they come from."""

import shutil

import pandas as pd

from tfrec.serving.client.titles import KEPT, Titles


def versions_with(folder, *numbers):
    for number in numbers:
        place = folder / str(number)
        (place / "assets.extra").mkdir(parents=True)
        (place / "saved_model.pb").write_bytes(b"")
        table = pd.DataFrame({"item_id": ["007"], "title": [f"title of {number}"]})
        table.to_parquet(place / "assets.extra" / "items.parquet")
    return folder


def test_a_version_that_answered_has_its_own_titles(tmp_path):
    titles = Titles(versions_with(tmp_path, 1, 2))
    assert titles.of(1) == {"007": "title of 1"} and titles.of(2) == titles.of(9) == {"007": "title of 2"}


def test_a_folder_that_is_gone_costs_no_answer(tmp_path, caplog):
    titles = Titles(versions_with(tmp_path / "shop", 1))
    before = titles.of(1)
    shutil.rmtree(tmp_path / "shop")
    assert titles.of(2) == titles.of(2) == titles.of(1) == before
    assert caplog.text.count("cannot be read") == 1


def test_tables_of_versions_that_are_over_are_not_kept(tmp_path):
    titles = Titles(versions_with(tmp_path, *range(1, 6)))
    for number in range(1, 6):
        assert titles.of(number) == {"007": f"title of {number}"}
    assert len(titles._read) == KEPT
    assert titles.of(1) == {"007": "title of 1"}


def test_without_a_place_there_are_none():
    assert Titles(None).of(3) is None
