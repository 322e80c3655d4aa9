import numpy as np
import pytest

from tests.serving.conftest import K_MAX, make_model
from tfrec.serving.contract import Contract
from tfrec.serving.selfcheck import Check


def check_of(model, data, **changes):
    contract = Contract.of(model, data, K_MAX)
    for name, value in changes.items():
        object.__setattr__(contract, name, value)
    return Check(model, model.item_vectors().numpy(), contract)


def test_a_right_export_passes_with_real_histories(exported, model, data):
    report = check_of(model, data).run(exported, [["007", "商品"], ["item1"]])
    assert report["histories"] == 2 + 8
    assert 0 <= report["largest_difference"] < 1e-5


def test_of_many_items_few_histories_are_asked_at_once(exported, model, data, monkeypatch):
    check, asked = check_of(model, data), []
    whole = check.run(exported, [["007", "商品"], ["item1"]])
    monkeypatch.setattr("tfrec.serving.selfcheck.SCORES_HELD", 3 * len(check.vectors) + 1)
    scored = Check._raw_scores
    monkeypatch.setattr(Check, "_raw_scores", lambda self, *told: asked.append(len(told[0])) or scored(self, *told))
    parts = check.run(exported, [["007", "商品"], ["item1"]])
    assert max(asked) == 3 and sum(asked) == 2 * (10 + 2) and parts["histories"] == whole["histories"]


def test_an_answer_is_kept_with_its_best_items_first(model, data):
    check = check_of(model, data)
    for _, _, answer in check.answered([["007", "商品"], [], ["item1"]]):
        scores = answer["scores"]
        assert scores.shape == (3, check.contract.width) and (np.diff(scores) <= 0).all()
    rows, best = check._ranked({"history": np.array([["007", "item1"]], object)})
    expected = check._expected({"history": np.array([["007", "item1"]], object)})
    np.testing.assert_array_equal(best, -np.sort(-expected)[:, : check.contract.width])
    np.testing.assert_array_equal(best, np.take_along_axis(expected, rows, 1))


def test_other_weights_are_noticed(exported, data):
    other = make_model()
    weight = other.behavior_tower.norm.gamma
    weight.assign(weight * 1.001)
    with pytest.raises(ValueError, match="scores differ from the model's"):
        check_of(other, data).run(exported)


def test_a_seen_rule_that_the_graph_lacks_is_noticed(exported, model, data):
    with pytest.raises(ValueError, match="serving_default"):
        check_of(model, data, seen="keep").run(exported)


def test_another_length_limit_is_noticed(exported, model, data):
    with pytest.raises(ValueError, match="scores differ"):
        check_of(model, data, max_length=3).run(exported)


def test_items_that_must_not_be_shown_are_noticed(exported, model, data):
    contract = Contract.of(model, data, K_MAX)
    fewer = contract.candidates.copy()
    fewer[1:9] = False
    with pytest.raises(ValueError, match="shows one that was seen or is no candidate"):
        check_of(model, data, candidates=fewer).run(exported)


def test_another_number_of_items_is_noticed(exported, model, data):
    with pytest.raises(ValueError, match="item_ids"):
        check_of(model, data, k_max=K_MAX + 1).run(exported)


def test_items_may_swap_within_the_tolerance_only(model, data):
    check = check_of(model, data)
    expected = np.full(21, -1e9, np.float32)
    expected[[3, 5, 7]] = [0.5, 0.5 + 1e-7, 0.1]
    scores = np.array([0.5, 0.5, 0.1, -1e9, -1e9, -1e9], np.float32)
    assert check._difference("here", expected, np.array([3, 5, 7, 0, 0, 0]), scores) < 1e-6
    with pytest.raises(ValueError, match="scores differ"):
        check._difference("here", expected, np.array([7, 5, 3, 0, 0, 0]), scores)
    with pytest.raises(ValueError, match="2 items are shown where the model has 3"):
        check._difference("here", expected, np.array([3, 5, 0, 0, 0, 0]), scores)
