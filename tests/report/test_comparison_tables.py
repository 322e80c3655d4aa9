"""The tables of a comparison, and the files that hold them."""

import json

import pytest

from tests.report.contenders import GROUPS, USERS, contender, trained
from tfrec.report import comparison_tables as made
from tfrec.report.comparison import Comparison


@pytest.fixture
def comparison():
    ids = contender("ids", "none", "–", trained={1: trained([0, 0, 0, 0], seconds=4.24, memory=812.6)})
    models = {1: trained([1, 0, 1, 0], seconds=1000, speed=40), 3: trained([1, 1, 0, 0], seconds=2001)}
    frozen = contender("frozen", trained=models, failed={2: "killed | dead"}, changes={"model.text": "minilm"})
    full = contender("full", "my_bert", "full", "attention + lstm", failed={1: "no memory"})
    return Comparison("shop", "ids", [ids, frozen, full])


def test_quality_is_shown_by_part_with_half_widths(comparison):
    headings, rows = made.quality_table(comparison)
    assert headings == [
        "variant", "seeds", "HR@10", "NDCG@10", "HR@10 cold", "NDCG@10 cold", "HR@10 tail", "NDCG@10 tail",
    ]  # fmt: skip
    assert rows[1] == [
        "frozen", "1, 3 (2 failed)", "0.5000 ± 0.3465", "0.2500 ± 0.1732", "0.5000 ± 0.0000", "0.2500 ± 0.0000",
        "0.5000 ± 0.6930", "0.2500 ± 0.3465",
    ]  # fmt: skip
    assert rows[2] == ["full", "– (1 failed)", *["–"] * 6]


def test_a_part_that_nobody_has_is_no_column():
    groups = GROUPS.assign(cold_items=False)
    headings, _ = made.quality_table(
        Comparison("shop", "a", [contender("a", trained={1: trained([1] * 4, groups=groups)})])
    )
    assert headings == ["variant", "seeds", "HR@10", "NDCG@10", "HR@10 tail", "NDCG@10 tail"]


def test_costs_stand_beside_what_a_variant_is_made_of(comparison):
    assert made.cost_table(comparison)[1] == [
        ["ids", "none", "–", "attention", "1,234,567", "4.2", "0.4", "813"],
        ["frozen", "minilm (pretrained)", "frozen", "attention", "1,234,567", "1,500", "150", "1,000"],
        ["full", "my_bert", "full", "attention + lstm", "–", "–", "–", "–"],
    ]


def test_differences_say_interval_and_verdict(comparison):
    rows = made.difference_table(comparison)[1]
    assert [row[:3] for row in rows[:3]] == [
        ["frozen", "all", "HR@10"],
        ["frozen", "all", "NDCG@10"],
        ["frozen", "cold", "HR@10"],
    ]
    assert rows[2] == ["frozen", "cold", "HR@10", "0.5000", "0.0000", "+0.5000", "+0.5000 to +0.5000", "better"]


def test_the_page_holds_every_table(comparison, tmp_path):
    made.write_comparison(tmp_path, comparison, "comparison.png")
    page = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "| frozen | minilm (pretrained) | frozen | attention | 1, 3 (2 failed) | 0.5000 ± 0.3465 |" in page
    assert "| 1,234,567 | 1,500 | 150 | 1,000 |" in page
    assert "\nTest users: all 4, cold 1, tail 2.\n" in page
    assert "## Against ids" in page and "+0.5000 to +0.5000 | better |" in page
    assert "| frozen | 2 | killed \\| dead |" in page
    assert "![NDCG@10 by training seconds](comparison.png)" in page
    assert "| frozen | `model.text=minilm` |" in page and "| ids | none |" in page
    assert "a chip, 2 cores; float32 matmul 40 to 100 GFLOP/s" in page
    document = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert document["variants"]["frozen"]["slices"]["tail"]["users"] == 2


def test_the_page_says_what_could_not_be_compared(comparison, tmp_path):
    groups = GROUPS.rename(index={"d": "e"})
    stranger = contender("time", trained={1: trained([1] * 4, users=[*USERS[:3], "e"], groups=groups)})
    made.write_comparison(tmp_path, Comparison("shop", "ids", [*comparison.contenders, stranger]), "p.png")
    assert "Not compared, because their test users or labels are others: time." in (
        tmp_path / "comparison.md"
    ).read_text("utf-8")
    made.write_comparison(tmp_path, Comparison("shop", "full", comparison.contenders), "p.png")
    assert "full was not trained: nothing can be compared with it." in (tmp_path / "comparison.md").read_text("utf-8")
