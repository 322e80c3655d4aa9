"""Going back: to what was served before, one step further each time, of a model and of its text model."""

import os
import shutil

import pytest

from tests.serving.conftest import another
from tfrec.serving import gate, label_history, server_config
from tfrec.serving.publisher import publish
from tfrec.serving.rollbacks import rollback, withdraw

VERIFY = gate.verify
pytestmark = pytest.mark.usefixtures("unasked")


def test_a_rollback_moves_the_label_to_the_version_before(copied, root, caplog):
    for number in (1, 2, 3):
        publish(another(copied, number), root, "shop")
    publish(root / "shop" / "2", root, "shop", label="canary")
    assert rollback(root / "shop").name == "2"
    assert server_config.labels(root, "shop") == {"canary": 2, "stable": 2}
    assert rollback(root / "shop", 3).name == "3" and rollback(root / "shop", 1).name == "1"
    assert server_config.labels(root, "shop") == {"canary": 2, "stable": 1}
    assert sorted(os.listdir(root / "shop")) == ["1", "2", "3"]


def test_a_canary_is_withdrawn(copied, root):
    for number in (1, 2):
        publish(another(copied, number), root, "shop", label=("stable", "canary")[number - 1])
    assert server_config.labels(root, "shop") == {"stable": 1, "canary": 2}
    withdraw(root / "shop", "canary")
    assert server_config.labels(root, "shop") == {"stable": 1}
    assert server_config.listed(root, "shop") == [1] and (root / "shop" / "2").is_dir()
    for label, told in (("canary", r"'canary'; there is stable \(1\)"), ("stable", "move it")):
        with pytest.raises(ValueError, match=told):
            withdraw(root / "shop", label)
    with pytest.raises(FileNotFoundError, match="name the folder of a published model"):
        withdraw(root / "nope", "canary")
    assert server_config.labels(root, "shop") == {"stable": 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "has no version before 1, which is stable; there are 1, 2"),
        ({"version": 7}, "has no version 7; there are 1, 2"),
        ({"label": "canary"}, "has no version that is labelled 'canary': publish one first"),
        ({"version": 2}, "2 is incomplete: variables/variables.index is missing"),
    ],
)
def test_a_rollback_that_cannot_be_moves_nothing(copied, root, arguments, told):
    publish(another(copied, 1), root, "shop")
    publish(another(copied, 2), root, "shop")
    rollback(root / "shop")
    (root / "shop" / "2" / "variables" / "variables.index").unlink()
    before = (root / "models.config").read_bytes()
    with pytest.raises(ValueError, match=told):
        rollback(root / "shop", **arguments)
    assert (root / "models.config").read_bytes() == before
    with pytest.raises(FileNotFoundError, match="nowhere is not there: name the folder of a published model"):
        rollback(root / "nowhere")


def test_other_answers_do_not_bar_the_way_back(copied, root, caplog, monkeypatch):
    publish(another(copied, 1), root, "shop")
    publish(another(copied, 2), root, "shop")
    monkeypatch.setattr(gate, "verify", VERIFY)
    monkeypatch.setattr(gate.stored_answers, "_difference", lambda *sides, exact: (1.0, 1.0))
    with pytest.raises(ValueError, match="answers otherwise than the model did"):
        gate.verify(root / "shop" / "1")
    assert rollback(root / "shop") == root / "shop" / "1"
    assert "answers otherwise than the model did" in caplog.text


def test_a_rollback_takes_the_text_model_along(pair, exported, root):
    publish(pair[0], root, "shop", text_folder=pair[1])
    publish(exported, root, "shop")  # A model without text: the older text model lost its label.
    rollback(root / "shop")
    assert server_config.labels(root, "shop") == server_config.labels(root, "shop_text") == {"stable": 1}
    rollback(root / "shop", 2)
    assert server_config.labels(root, "shop") == {"stable": 2} and server_config.labels(root, "shop_text") == {}


def test_going_back_is_to_what_was_served_and_not_to_the_number_below(copied, root, caplog):
    publish(another(copied, 1), root, "shop")
    publish(another(copied, 2), root, "shop", label="canary")  # Never stable.
    publish(another(copied, 3), root, "shop")
    rollback(root / "shop")
    assert server_config.labels(root, "shop") == {"canary": 2, "stable": 1}
    publish(another(copied, 4), root, "shop")  # 3 was taken out of service: it does not return by itself.
    assert rollback(root / "shop").name == "1" and "nothing is recorded" not in caplog.text


def test_twice_back_is_one_further_and_a_moved_folder_remembers(copied, root, tmp_path):
    for number in (1, 2, 3):
        publish(another(copied, number), root, "shop")
    moved = tmp_path / "elsewhere"
    os.rename(root, moved)
    assert rollback(moved / "shop").name == "2" and rollback(moved / "shop").name == "1"
    assert rollback(moved / "shop", 3).name == "3" and rollback(moved / "shop").name == "1"


def test_what_is_pruned_is_passed_over(copied, root):
    for number in (1, 2, 3):
        publish(another(copied, number), root, "shop")
    shutil.rmtree(root / "shop" / "2")
    assert rollback(root / "shop").name == "1"


def test_a_folder_of_before_there_was_a_history_goes_to_the_newest_lower_one_and_says_so(copied, root, caplog):
    for number in (1, 2):
        publish(another(copied, number), root, "shop")
    (root / label_history.FILE).unlink()
    assert rollback(root / "shop").name == "1"
    assert "of what was stable before 2 nothing is recorded or still there: 1 is the newest version" in caplog.text


def test_a_label_of_no_version_that_is_there_is_said(copied, root):
    publish(another(copied, 1), root, "shop")
    with pytest.raises(ValueError, match="has no version before 1, which is stable; there is 1"):
        rollback(root / "shop")
