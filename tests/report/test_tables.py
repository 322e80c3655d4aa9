"""The tables of a report."""

import io

import pytest

from tests.report.runs import make_evaluation, make_results
from tfrec.evaluation import Difference, Evaluation
from tfrec.report import tables


def evaluation(slices=None, **metrics):
    named = {name.replace("_at_", "@"): value for name, value in metrics.items()}
    return Evaluation(named, slices or {}, per_user=None)


def test_cells_have_half_widths_and_headings_have_units():
    model = evaluation(
        hr_at_10=0.30581, hr_at_10_half_width=0.01164, recall_at_10=0.30581, coverage_at_10=0.4567,
        novelty_at_10=9.123, novelty_at_10_half_width=0.02, long_tail_at_10=0.25, long_tail_at_10_half_width=0.011,
    )  # fmt: skip
    headings, rows = tables.results_table({"model": model})
    assert headings == ["model", "HR@10 (0-1)", "coverage@10 (%)", "novelty@10 (bits)", "long tail@10 (%)"]
    assert rows == [["model", "0.3058 ± 0.0116", "45.7", "9.12 ± 0.02", "25.0 ± 1.1"]]


def test_recall_is_shown_where_it_differs_from_hr():
    rows = {"model": evaluation(hr_at_10=0.5, recall_at_10=0.25), "other": evaluation(hr_at_10=0.1, recall_at_10=0.1)}
    assert tables.results_table(rows)[0] == ["model", "HR@10 (0-1)", "recall@10 (0-1)"]


def test_the_share_of_cold_items_is_shown_where_there_are_some():
    plain, cold = evaluation(hr_at_10=0.5, cold_share_at_10=0.0), evaluation(hr_at_10=0.5, cold_share_at_10=0.125)
    assert tables.results_table({"model": plain})[0] == ["model", "HR@10 (0-1)"]
    headings, rows = tables.results_table({"model": cold, "baseline": plain})
    assert headings == ["model", "HR@10 (0-1)", "cold items@10 (%)"]
    assert [row[-1] for row in rows] == ["12.5", "0.0"]


def test_a_figure_that_a_row_lacks_is_a_dash():
    rows = {"model": evaluation(hr_at_10=0.5, ndcg_at_10=float("nan")), "other": evaluation(hr_at_10=0.1)}
    assert [row[-1] for row in tables.results_table(rows)[1]] == ["–", "–"]


@pytest.mark.parametrize(("cutoffs", "expected"), [((1, 5, 10, 20), 10), ((1, 5), 5), ((20, 50), 20)])
def test_the_main_cutoff_is_ten_where_the_lists_reach_it(cutoffs, expected):
    assert tables.main_cutoff({f"hr@{k}": 0.1 for k in cutoffs} | {"hr@99_half_width": 0.1}) == expected


def test_the_main_cutoff_wants_a_figure():
    with pytest.raises(ValueError, match="metrics must hold hr@k"):
        tables.main_cutoff({"ndcg@10": 1})


def test_differences_say_interval_and_word():
    gaps = {"popularity": {"hr@10": Difference("hr@10", 0.3, 0.1, 0.18, 0.22)}}
    assert tables.difference_table(gaps)[1] == [
        ["popularity", "hr@10", "0.3000", "0.1000", "+0.2000", "+0.1800 to +0.2200", "better"]
    ]


def test_slices_show_users_and_every_model():
    headings, rows = tables.slice_table({"shop": make_evaluation(0.6), "popularity": make_evaluation(0.1, seed=1)})
    assert headings == ["slice", "users", "HR@10 (0-1)", "NDCG@10 (0-1)", "HR@10 of popularity"]
    by_name = {row[0]: row for row in rows}
    assert {"cold items", "warm items", "cold users", "history of 20-49 events"} <= set(by_name)
    assert "target by popularity: top 1%" not in by_name  # 40 items have no top percent
    assert by_name["history of 1-4 events"][1] == "12"
    assert " ± " in by_name["cold items"][2] and " ± " not in by_name["cold items"][4]


def test_labels_of_slices():
    assert tables.slice_label("popularity:untrained") == "target never trained on"
    assert tables.slice_label("history_length:200+") == "history of 200+ events"


def test_markdown_escapes_what_would_end_a_cell():
    text = tables.markdown(["a|b", "c"], [["x\ny", "1"]])
    assert text == "| a\\|b | c |\n| --- | ---: |\n| x y | 1 |"
    assert tables.markdown(["a", "c"], [], text=True).endswith("| --- | --- |")


def test_the_console_shows_the_same_cells():
    from rich.console import Console

    file = io.StringIO()
    headings, rows = tables.results_table(make_results().evaluations)
    Console(file=file, width=200).print(tables.console(headings, [["[bold]odd[/]", *rows[0][1:]]], title="test"))
    assert "[bold]odd[/]" in file.getvalue()
    assert all(cell in file.getvalue() for cell in [*headings, *rows[0][1:], "test"])
