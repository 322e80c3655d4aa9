"""The pictures: that they are drawn, from which figures, and that missing figures leave them out."""

import struct
import subprocess
import sys

import pytest

from tests.report.runs import make_evaluation, make_results
from tfrec.evaluation import Evaluation
from tfrec.report import plots

TRAINING = {"loss": [3.0, 2.5, 2.2], "val_ndcg@10": [0.1, 0.3, 0.2], "val_loss": [3.1, 2.7, 2.6]}


def size_of(path):
    """Width and height of a PNG file."""
    with open(path, "rb") as file:
        head = file.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def drawn(monkeypatch):
    """The panels of the next figure, kept from the file writer."""
    seen = {}
    monkeypatch.setattr(plots, "save", lambda figure, path, labelled: seen.update(panels=figure.axes))
    return seen


def test_every_picture_is_written_with_its_caption(tmp_path):
    written = plots.write_plots(tmp_path / "plots", make_results(), TRAINING)
    assert [path.rsplit("/", 1)[1] for path in written.values()] == ["cutoffs.png", "training.png", "slices.png"]
    assert all(size_of(path)[0] > 1000 and size_of(path)[1] > 400 for path in written.values())


def test_no_curve_without_training(tmp_path):
    written = plots.write_plots(tmp_path, make_results(), {"loss": []})
    assert [path.rsplit("/", 1)[1] for path in written.values()] == ["cutoffs.png", "slices.png"]


def test_the_lines_by_cutoff_are_the_figures(monkeypatch):
    seen = drawn(monkeypatch)
    model = make_evaluation(0.6)
    plots.cutoff_plot("unused.png", {"shop": model, "oracle": make_evaluation(0.9)})
    line, oracle = seen["panels"][1].lines
    assert line.get_xdata().tolist() == [1, 5, 10, 20]
    assert line.get_ydata().tolist() == [model.metrics[f"ndcg@{k}"] for k in (1, 5, 10, 20)]
    assert (line.get_label(), oracle.get_linestyle()) == ("shop", "--")
    assert line.get_color() != oracle.get_color() and line.get_marker() != oracle.get_marker()


def test_the_best_epoch_is_marked(monkeypatch):
    seen = drawn(monkeypatch)
    plots.training_plot("unused.png", TRAINING)
    loss, validation = seen["panels"]
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert [text.get_text() for text in validation.texts] == ["best: 0.3000, epoch 2"]
    assert validation.get_title(loc="left") == "Validation ndcg@10"


def test_one_epoch_and_no_validation_figure_are_enough(tmp_path):
    plots.training_plot(tmp_path / "training.png", {"loss": [1.0]})
    assert size_of(tmp_path / "training.png")[0] > 500


def test_a_curve_wants_its_figures():
    with pytest.raises(ValueError, match="training must hold loss"):
        plots.training_plot("unused.png", {"val_loss": [1.0]})
    with pytest.raises(ValueError, match="training must hold loss and val_hr@10"):
        plots.training_plot("unused.png", TRAINING, "val_hr@10")


def test_slices_show_the_users_of_each_bin(monkeypatch):
    seen = drawn(monkeypatch)
    model = make_evaluation(0.6)
    assert plots.slice_plot("unused.png", {"shop": model, "other": make_evaluation(0.2, seed=1)})
    by_popularity, by_history = seen["panels"]
    labels = [label.get_text() for label in by_history.get_xticklabels()]
    assert labels == ["none\n3", "1-4\n12", "5-9\n15", "10-19\n20", "20-49\n10"]
    assert by_popularity.get_ylabel() == "mean over users of ndcg@10"
    assert len(by_popularity.containers) == 2


def test_no_slices_no_picture(tmp_path):
    assert not plots.slice_plot(tmp_path / "slices.png", {"shop": Evaluation({"hr@10": 0.1}, {}, per_user=None)})
    assert not list(tmp_path.iterdir())


def test_the_report_imports_neither_matplotlib_nor_tensorflow():
    code = "import sys, tfrec.report; print(sorted({'matplotlib', 'tensorflow', 'keras', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
