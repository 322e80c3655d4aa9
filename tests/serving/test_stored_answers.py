"""What the Keras model answered goes along with a version: its answers are held to that, ids may swap within it."""

import shutil

import numpy as np
import pytest

from tfrec.serving import prediction_logs, stored_answers
from tfrec.serving.session import open_session
from tfrec.serving.signatures import NO_ITEM_SCORE

EMPTY = NO_ITEM_SCORE


def answer(*pairs):
    ids, scores = zip(*pairs, strict=True)
    return {"item_ids": np.array([[one.encode() for one in ids]], object), "scores": np.array([scores], np.float32)}


class Bundle:
    """A version that answers what it is told to."""

    def __init__(self, given):
        self.given = given

    def run(self, signature, inputs):
        return self.given


@pytest.fixture
def folder(tmp_path):
    """A version whose model answered a, b and c to somebody, and has no more."""
    (tmp_path / "assets.extra").mkdir()
    request = {"history": np.array([["x"]], object)}
    outputs = answer(("a", 3.0), ("b", 2.0), ("c", 1.0), ("", EMPTY))
    prediction_logs.write(tmp_path / stored_answers.FILE, [("serving_default", request, outputs)])
    return tmp_path


@pytest.mark.parametrize(
    ("given", "off"),
    [
        ((("a", 3.0), ("b", 2.0), ("c", 1.0), ("", EMPTY)), 0.0),
        ((("b", 2.5), ("a", 2.5), ("c", 1.0), ("", EMPTY)), 0.5 / 3),
        ((("a", 3.0), ("b", 2.0), ("d", 1.3), ("", EMPTY)), 0.3 / 3),
    ],
)
def test_ids_swap_as_far_as_scores_may_differ(folder, given, off):
    assert stored_answers.compare(folder, Bundle(answer(*given)), 0.2) == {
        "largest_difference": pytest.approx(off, abs=1e-6),
        "made_up": 1,
        "real": 0,
    }
    if off:
        with pytest.raises(ValueError, match="serving_default answers otherwise than the model did at its export, row"):
            stored_answers.compare(folder, Bundle(answer(*given)), off / 2)


@pytest.mark.parametrize(
    "given",
    [
        (("a", 3.0), ("b", 2.0), ("", EMPTY), ("", EMPTY)),
        (("a", 3.0), ("b", 2.0), ("c", 1.0), ("d", 1.0)),
        (("a", 3.0), ("a", 3.0), ("c", 1.0), ("", EMPTY)),
        (("a", 3.0), ("b", 2.0), ("e", 2.0), ("", EMPTY)),
        (("a", 3.0), ("b", float("nan")), ("c", 1.0), ("", EMPTY)),
        (("c", 3.0), ("b", 2.0), ("a", 1.0), ("", EMPTY)),
    ],
)
def test_another_answer_is_refused(folder, given):
    with pytest.raises(ValueError, match="scores differ by .* of their scale, not 0.001|other items are left"):
        stored_answers.compare(folder, Bundle(answer(*given)), 1e-3)


def test_another_shape_is_refused(folder):
    with pytest.raises(ValueError, match="serving_default answers in another shape than the model"):
        stored_answers.compare(folder, Bundle(answer(("a", 3.0))), 1e-3)


def test_an_approximate_index_passes_by_its_recall(folder):
    given = Bundle(answer(("a", 3.0), ("c", 1.0), ("z", 0.5), ("", EMPTY)))
    assert stored_answers.compare(folder, given, 1e-3, 0.6)["largest_difference"] == 0
    with pytest.raises(ValueError, match=r"the index finds 0\.667 of what it found before, not 0\.9"):
        stored_answers.compare(folder, given, 1e-3, 0.9)
    with pytest.raises(ValueError, match="scores differ"):
        stored_answers.compare(folder, Bundle(answer(("a", 3.1), ("b", 2.0), ("c", 1.0), ("", EMPTY))), 1e-3, 0.6)


def test_of_an_approximate_version_its_own_answers_are_kept(exported, tmp_path):
    class Approximate:
        recall_floor = 0.9

        def answered(self, histories=None, bundle=None):
            asked, of_model = {"history": np.array([["007"]], object)}, answer(("of", 2.0), ("model", 1.0))
            yield "serving_default", asked, bundle.run("serving_default", asked) if bundle else of_model

    shutil.copytree(exported, tmp_path / "1")
    stored_answers.write(tmp_path / "1", Approximate())
    [(_, _, kept)] = prediction_logs.read(tmp_path / "1" / stored_answers.FILE)
    assert b"of" not in kept["item_ids"] and kept["item_ids"].shape == kept["scores"].shape == (1, 6)
    with open_session(exported) as bundle:
        assert stored_answers.compare(tmp_path / "1", bundle, 1e-5, 0.9)["largest_difference"] < 1e-5


def test_a_damaged_or_missing_file_is_named(folder):
    for damage in (b"damaged", b"damaged" * 9):
        (folder / stored_answers.FILE).write_bytes(damage)
        with pytest.raises(ValueError, match="stored_answers is damaged.*; export the model again"):
            stored_answers.compare(folder, Bundle({}), 1e-3)
    (folder / stored_answers.FILE).unlink()
    with pytest.raises(ValueError, match="stored_answers is missing; export the model again"):
        stored_answers.compare(folder, Bundle({}), 1e-3)


def test_an_export_holds_the_models_answers_to_nobodys_histories(exported):
    asked = {signature: inputs for signature, inputs, _ in prediction_logs.read(exported / stored_answers.FILE)}
    assert set(asked) == {
        "serving_default", "recommend_full", "recommend_delimited", "recommend_full_delimited", "recommend_filtered",
        "recommend_filtered_delimited",
    }  # fmt: skip
    assert asked["serving_default"]["history"].shape[0] == 8 and asked["recommend_full"].keys() > {"history"}
    with open_session(exported) as bundle:
        assert stored_answers.compare(exported, bundle, 1e-5)["largest_difference"] < 1e-5
