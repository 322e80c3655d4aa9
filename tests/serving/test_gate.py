"""The gate: a version that answers, or costs, otherwise than it should is not published, and the reason is said."""

import json
import os

import pytest

from tests.serving.conftest import another, changed, make_data, make_model
from tfrec.serving import gate, server_config
from tfrec.serving.exporter import export
from tfrec.serving.gate import Limits, compare, verify
from tfrec.serving.publisher import publish


def told_of(folder):
    return json.loads((folder / "assets.extra" / "manifest.json").read_text("utf-8"))


def test_the_weights_of_another_model_are_found_by_their_answers(exported, copied, tmp_path):
    verify(exported)
    other = make_model()
    other.item_tower.embedding.assign(other.item_tower.embedding + 0.01)
    other = export(other, make_data(), tmp_path / "other", k_max=6)
    name = "variables/variables.data-00000-of-00001"
    index = "variables/variables.index"
    changed(copied, index, (other / index).read_bytes())
    with pytest.raises(ValueError, match="serving_default answers otherwise than the model did at its export"):
        verify(changed(copied, name, (other / name).read_bytes()))


def test_a_published_version_says_what_it_costs_beside_the_one_before(exported, copied, root, caplog):
    caplog.set_level("INFO")
    publish(exported, root, "shop")
    publish(another(copied, 2), root, "shop", label="canary")
    assert told_of(root / "shop" / "1")["gate"] == {"asked_in": ["session"], "made_up": 8, "real": 0}
    report = told_of(root / "shop" / "2")["gate"]
    assert report["compared_with"] == 1 and len(report["bytes"]) == 2
    assert all(0 < each < 1000 for each in report["milliseconds"])
    assert "beside version 1: " in caplog.text


@pytest.mark.parametrize(
    ("costs", "limits", "told"),
    [
        (
            ([9e6, 9e6], [9.0, 3.0]),
            Limits(),
            "is 3.0 times as slow as version 1 of shop, which is served: 9.0 ms",
        ),
        (([9e6, 9e6], [9.0, 3.0]), Limits(max_slowdown=3.5), None),
        (([9e6, 9e6], [9.0, 3.0]), Limits(max_slowdown=None), None),
        (([9e6, 9e6], [1.9, 0.2]), Limits(), None),  # Nobody notices.
        (([9e8, 3e8], [1.0, 1.0]), Limits(), r"3.0 times as large as .*: 858.3 MiB.*--set export.max_growth=4$"),
        (([9e8, 3e8], [1.0, 1.0]), Limits(max_growth=4), None),
        (([3e6, 3e5], [1.0, 1.0]), Limits(), None),
    ],
)
def test_what_costs_too_much_is_not_published(exported, copied, root, monkeypatch, costs, limits, told):
    monkeypatch.setattr(gate, "verify", lambda folder: {"asked_in": []})
    publish(exported, root, "shop")
    before = (root / "models.config").read_bytes()
    report = {"compared_with": 1, "bytes": costs[0], "milliseconds": costs[1]}
    monkeypatch.setattr(gate, "_measured", lambda new, old: report)
    if told is None:
        publish(another(copied, 2), root, "shop", limits=limits)
        assert server_config.labels(root, "shop") == {"stable": 2}
        return
    with pytest.raises(ValueError, match=told):
        publish(another(copied, 2), root, "shop", limits=limits)
    assert (root / "models.config").read_bytes() == before and os.listdir(root / "shop") == ["1"]


def test_a_version_that_was_slow_once_is_timed_again(copied, monkeypatch):
    costs = iter([[9.0, 3.0], [3.1, 3.0]])
    monkeypatch.setattr(
        gate, "_measured", lambda new, old: {"compared_with": 1, "bytes": [1, 1], "milliseconds": next(costs)}
    )
    assert compare(copied, copied, Limits())["milliseconds"] == [3.1, 3.0]


def test_a_served_version_that_is_broken_does_not_bar_a_good_one(exported, copied, root, caplog, monkeypatch):
    monkeypatch.setattr(gate, "verify", lambda folder: {"asked_in": []})
    publish(exported, root, "shop")
    (root / "shop" / "1" / "saved_model.pb").write_bytes(b"broken")
    publish(another(copied, 2), root, "shop")
    assert "is not compared with" in caplog.text
    assert server_config.labels(root, "shop") == {"stable": 2}


def test_both_are_asked_alike(exported, copied):
    one, two = (gate._requests(folder, told_of(folder)) for folder in (exported, copied))
    assert [each["history"].tolist() for each in one] == [each["history"].tolist() for each in two]
    assert [each["history"].shape[1] for each in one] == [1, 2, 3, 4, 5]


def test_a_text_model_is_compared_with_its_like(pair, root):
    publish(pair[0], root, "shop", text_folder=pair[1])
    report = compare(pair[1], root / "shop_text" / "1", Limits())
    assert report["compared_with"] == 1 and report["milliseconds"][0] > 0


@pytest.mark.parametrize("wrong", [{"max_slowdown": 0.5}, {"max_growth": float("nan")}])
def test_limits_that_let_nothing_through_are_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be at least 1, or None for no limit"):
        Limits(**wrong)
