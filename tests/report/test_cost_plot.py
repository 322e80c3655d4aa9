"""The picture of a comparison: its points are the figures, its labels are legible, and the file is whole."""

import itertools
import struct

import matplotlib.figure
import pytest

from tests.report.contenders import contender, trained
from tfrec.report.comparison import Comparison
from tfrec.report.cost_plot import write_cost_plot


@pytest.fixture
def seen(monkeypatch):
    """The figures that are written."""
    figures, save = [], matplotlib.figure.Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def variants(number, seconds=lambda place: 100.0 + place):
    return [
        contender(f"variant_number_{place}", f"text {place % 3}", encoder=("lstm", "attention")[place % 2],
                  trained={1: trained([1, 0, place % 2, 0], seconds=seconds(place))})
        for place in range(number)
    ]  # fmt: skip


def test_points_are_the_figures_and_the_reference_is_ringed(tmp_path, seen):
    write_cost_plot(tmp_path / "p.png", Comparison("shop", "variant_number_1", variants(2)))
    (panel,) = seen[0].axes
    points = [
        tuple(float(values[0]) for values in line.get_data()) for line in panel.lines if line.get_marker() in "os"
    ]
    assert (100.0, 0.125) in points and points.count((101.0, 0.25)) == 2
    assert [note.get_text() for note in panel.texts] == ["variant_number_0", "variant_number_1"]
    assert "(ringed: variant_number_1)" in panel.get_title(loc="left")
    legend = [text.get_text() for text in seen[0].legends[0].get_texts()]
    assert legend == ["text: text 0", "text: text 1", "lstm", "attention"]


def test_the_file_is_a_picture_and_nothing_is_left_beside_it(tmp_path):
    write_cost_plot(tmp_path / "p.png", Comparison("shop", "variant_number_0", variants(1)))
    head = (tmp_path / "p.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and min(struct.unpack(">II", head[16:24])) > 500
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_labels_of_close_points_do_not_cover_one_another(tmp_path, seen):
    write_cost_plot(tmp_path / "p.png", Comparison("shop", "variant_number_0", variants(8)))
    (panel,) = seen[0].axes
    boxes = [matplotlib.text.Text.get_window_extent(note) for note in panel.texts]
    assert len(boxes) == 8
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


@pytest.mark.parametrize(("longest", "scale"), [(300, "linear"), (3000, "log")])
def test_seconds_that_lie_far_apart_are_drawn_on_a_logarithmic_axis(tmp_path, seen, longest, scale):
    few = variants(2, lambda place: (100, longest)[place])
    write_cost_plot(tmp_path / "p.png", Comparison("shop", "variant_number_0", few))
    assert seen[0].axes[0].get_xscale() == scale
