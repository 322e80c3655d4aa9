"""The trail of a label: publishing lengthens it, going back shortens it, and what is lost breaks nothing."""

import json

import pytest

from tfrec.serving import label_history


def moved(folder, *versions, back=False, name="shop"):
    for version in versions:
        steps = label_history._read(folder / label_history.FILE).get(name, {}).get("stable", [None])
        label_history.record(folder, [name], "stable", {name: steps[-1]}, version, back=back)
    return label_history.trail(folder, name, "stable", versions[-1])


def test_publishing_lengthens_and_going_back_shortens(tmp_path):
    assert moved(tmp_path, 1, 2, 3) == [1, 2, 3]
    assert moved(tmp_path, 2, back=True) == [1, 2]
    assert moved(tmp_path, 4, 5) == [1, 2, 4, 5]
    assert moved(tmp_path, 1, back=True) == [1]
    assert moved(tmp_path, 9, back=True) == [1, 9]  # Named, and never served before.
    assert [path.name for path in tmp_path.iterdir()] == ["models.history.json"]


def test_the_same_version_again_is_no_step_and_an_older_one_is(tmp_path):
    assert moved(tmp_path, 1, 2, 2) == [1, 2]
    assert moved(tmp_path, 1) == [1, 2, 1]
    assert label_history.before([1, 2, 1], {1, 2}) == 2


@pytest.mark.parametrize(
    ("steps", "present", "expected"),
    [([1, 2, 3], {1, 3}, 1), ([3], {1, 2, 3}, None), ([], {1}, None), ([2, 3], {3}, None), ([1, 3, 3], {1, 3}, 1)],
)
def test_before_is_another_version_that_is_there(steps, present, expected):
    assert label_history.before(steps, present) == expected


def test_a_label_moved_by_hand_is_followed(tmp_path):
    moved(tmp_path, 1, 2, 3)
    assert label_history.trail(tmp_path, "shop", "stable", 2) == [1, 2]
    assert label_history.trail(tmp_path, "shop", "stable", 7) == [1, 2, 3, 7]
    assert label_history.trail(tmp_path, "films", "stable", 4) == [4]
    label_history.record(tmp_path, ["shop"], "stable", {"shop": 7}, 8, back=False)
    assert label_history.trail(tmp_path, "shop", "stable", 8) == [1, 2, 3, 7, 8]


def test_models_and_labels_are_apart(tmp_path):
    moved(tmp_path, 1, 2)
    moved(tmp_path, 5, name="films")
    label_history.record(tmp_path, ["shop"], "canary", {"shop": None}, 3, back=False)
    known = json.loads((tmp_path / label_history.FILE).read_text("utf-8"))
    assert known == {"films": {"stable": [5]}, "shop": {"canary": [3], "stable": [1, 2]}}


@pytest.mark.parametrize("damage", ["{", "[1]", '{"shop": [1]}', '{"shop": {"stable": ["x"]}}', "\udcff"])
def test_a_damaged_file_is_said_and_written_anew(tmp_path, caplog, damage):
    (tmp_path / label_history.FILE).write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert label_history.trail(tmp_path, "shop", "stable", 2) == [2]
    assert "models.history.json cannot be read" in caplog.text
    assert moved(tmp_path, 3) == [3]


def test_a_trail_has_an_end(tmp_path):
    assert len(moved(tmp_path, *range(1, 120))) == label_history.LONGEST
