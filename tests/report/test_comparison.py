"""Variants side by side: figures by part, the seeds averaged a user, costs, and differences from the reference."""

import json
import math

import pytest

from tests.report.contenders import GROUPS, USERS, contender, trained
from tfrec.report.comparison import Comparison
from tfrec.report.results import plain

NAMES = ["hr@10", "ndcg@10"]


def two_seeds():
    """By user, the mean over seeds of HR@10 is 1, 0.5, 0.5, 0."""
    models = {1: trained([1, 0, 1, 0], seconds=50, memory=900), 2: trained([1, 1, 0, 0], seconds=70, memory=1100)}
    return contender("frozen", trained=models)


def none_hit(name="ids", **options):
    return contender(name, "none", "–", trained={1: trained([0, 0, 0, 0], **options)})


@pytest.mark.parametrize(
    ("part", "users", "mean", "deviation"),
    [("all", 4, 0.5, math.sqrt(0.125)), ("cold", 1, 0.5, 0), ("tail", 2, 0.5, 0.5)],
)
def test_seeds_are_averaged_a_user_before_the_users(part, users, mean, deviation):
    found = two_seeds().figures(part, NAMES)
    assert found["users"] == users
    assert found["hr@10"] == pytest.approx(mean)
    assert found["hr@10_half_width"] == pytest.approx(1.96 * deviation / math.sqrt(users))
    assert found["ndcg@10"] == pytest.approx(mean / 2)


def test_seeds_may_hold_their_users_in_another_order():
    models = {1: trained([1, 0, 1, 0]), 2: trained([0, 1, 0, 0], users=["d", "b", "c", "a"])}
    assert contender(trained=models).figures("tail", NAMES)["hr@10"] == pytest.approx((1 + 0) / 2 / 2)


def test_costs_are_means_of_seconds_and_the_most_of_memory():
    expected = {"parameters": 1234567, "train_seconds": 60, "epoch_seconds": 6, "peak_memory_mb": 1100}
    assert two_seeds().costs() == expected


def test_a_part_without_users_is_left_out():
    groups = GROUPS.drop(columns="cold_items").assign(few_events=False)
    comparison = Comparison("shop", "ids", [none_hit(groups=groups)])
    assert set(comparison.figures["ids"]) == {"all"}
    assert comparison.differences == {}


def test_every_variant_is_compared_with_the_reference_on_each_part():
    better = contender("lstm", trained={1: trained([1, 1, 1, 1]), 2: trained([1, 1, 1, 1])})
    found = Comparison("shop", "ids", [better, none_hit(), none_hit("other")]).differences
    assert set(found) == {"lstm", "other"} and set(found["lstm"]) == {"all", "cold", "tail"}
    gap = found["lstm"]["tail"]["ndcg@10"]
    assert (gap.ours, gap.theirs, gap.low, gap.high, gap.verdict, gap.seeds) == (0.5, 0, 0.5, 0.5, "better", 2)
    assert found["other"]["all"]["hr@10"].verdict == "not better"
    swapped = Comparison("shop", "lstm", [better, none_hit()]).differences
    assert swapped["ids"]["cold"]["hr@10"].verdict == "worse"


def test_a_difference_is_over_the_references_users_of_a_part():
    other = GROUPS.assign(few_events=[False, True, True, False])
    ours = contender("lstm", trained={1: trained([1, 0, 0, 1], groups=other)})
    gap = Comparison("shop", "ids", [none_hit(), ours]).differences["lstm"]["tail"]["hr@10"]
    assert (gap.ours, gap.verdict) == (1, "better")  # Of `a` and `d`; its own `b` and `c` are missed.


def test_variants_of_other_test_users_are_not_compared():
    groups = GROUPS.rename(index={"d": "e"})
    stranger = contender("time", trained={1: trained([1, 1, 1, 1], users=[*USERS[:3], "e"], groups=groups)})
    assert Comparison("shop", "ids", [none_hit(), stranger]).differences == {}


def test_without_the_reference_nothing_is_compared():
    comparison = Comparison("shop", "ids", [contender("ids", failed={1: "no memory"}), two_seeds()])
    assert comparison.differences == {}
    assert comparison.failures == [("ids", 1, "no memory")]


def test_the_document_says_what_the_tables_do_and_is_json():
    failed = contender("full", failed={1: "no memory", 2: "no memory"}, changes={"model.text.tuning": "full"})
    comparison = Comparison("shop", "ids", [none_hit(), two_seeds(), failed])
    document = json.loads(json.dumps(plain(comparison.document()), allow_nan=False))
    assert (document["name"], document["reference"], document["cutoff"]) == ("shop", "ids", 10)
    frozen = document["variants"]["frozen"]
    assert frozen["slices"]["all"]["hr@10"] == 0.5 and frozen["train_seconds"] == 60
    assert frozen["test"]["cold_share@10"] == 0.25 and frozen["validation"]["ndcg@10"] == 0.25
    assert (frozen["seeds"], frozen["text"], frozen["environment"]["cores"]) == ([1, 2], "minilm (pretrained)", 2)
    assert document["variants"]["full"] == {
        "changes": {"model.text.tuning": "full"}, "text": "minilm (pretrained)", "tuning": "frozen",
        "encoder": "attention", "seeds": [], "failed_seeds": [1, 2],
    }  # fmt: skip
    assert document["failures"][1] == {"variant": "full", "seed": 2, "reason": "no memory"}
    gap = document["differences"]["frozen"]["cold"]["hr@10"]
    assert (gap["ours"], gap["theirs"], gap["verdict"]) == (0.5, 0, "better")
