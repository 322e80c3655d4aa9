"""A program in C, without Python, gets the answers that the session loader gets; where a compiler is there."""

import os
import shutil

import numpy as np
import pytest

from tfrec.serving import c_runner, gate, operations, stored_answers
from tfrec.serving.session import load_text_ops, open_session

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


@pytest.fixture(autouse=True)
def _compiler(monkeypatch):
    monkeypatch.setenv("CC", "gcc")


@pytest.fixture(scope="module")
def runner(exported):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", "gcc")
        with c_runner.open_runner(exported) as model:
            yield model


@pytest.mark.parametrize(
    "history",
    [
        [["007", "商品", "item3"], ["item1", "no such", "item1"], ["", "who?", ""], ["🎬", "", "item11"]],
        [["x" * 10_000, "007"]],
        [[""]],
        np.zeros((0, 3)),
        np.zeros((2, 0)),
    ],
    ids=["texts", "long", "empty", "nobody", "no time"],
)
def test_a_program_in_c_gets_the_same_answer(exported, runner, history):
    request = {"history": np.array(history, object)}
    with open_session(exported) as bundle:
        expected = bundle.run("serving_default", request)
    given = runner.run("serving_default", request)
    assert given.keys() == expected.keys()
    for name, values in expected.items():
        assert given[name].shape == values.shape and given[name].dtype == values.dtype
    np.testing.assert_array_equal(given["item_ids"], expected["item_ids"])
    np.testing.assert_allclose(given["scores"], expected["scores"], rtol=1e-5, atol=1e-5)


def test_numbers_and_texts_of_all_inputs_arrive(exported, runner):
    assert stored_answers.compare(exported, runner, 1e-5)["largest_difference"] < 1e-5


def test_what_tensorflow_says_of_a_bad_request_is_told_and_the_next_one_is_answered(exported, runner):
    with pytest.raises(ValueError, match=r"serving_default does not answer through TensorFlow's C API: .+"):
        runner.run("serving_default", {"history": np.array(["a"], object)})
    with pytest.raises(ValueError, match="does not answer"):
        runner.run("serving_default", {"history": np.array([[1.5]], np.float32)})
    assert runner.run("serving_default", {"history": np.array([["007"]], object)})["item_ids"].shape == (1, 6)


def test_a_text_model_needs_the_libraries_of_tensorflow_text_and_nothing_else(pair):
    load_text_ops()
    request = {"history": np.array(["007\nitem3"], object), "text": np.array(["nail polish"], object)}
    with open_session(pair[1]) as bundle:
        expected = bundle.run("recommend_delimited", request)
    with c_runner.open_runner(pair[1], operations.text_libraries()) as model:
        given = model.run("recommend_delimited", request)
    assert given["item_ids"].tolist() == expected["item_ids"].tolist()
    np.testing.assert_allclose(given["scores"], expected["scores"], rtol=2e-5, atol=2e-5)
    with pytest.raises(ValueError, match="does not load through TensorFlow's C API: Op type not registered"):
        c_runner.open_runner(pair[1]).__enter__()


def test_a_program_that_dies_is_a_version_that_does_not_answer(exported):
    with c_runner.open_runner(exported) as model:
        model._process.kill()
        model._process.wait()
        with pytest.raises(ValueError, match=r"the process ended with status -9 \("):
            model.run("serving_default", {"history": np.array([["007"] * 20_000], object)})


def test_the_gate_asks_there_what_it_asks_in_a_session(exported, copied, monkeypatch):
    assert gate.verify(exported) == {"asked_in": ["session", "c"], "made_up": 8, "real": 0}
    run = c_runner.CModel.run

    def otherwise(model, signature, inputs):
        answer = run(model, signature, inputs)
        return {**answer, "scores": answer["scores"] + 1}

    monkeypatch.setattr(c_runner.CModel, "run", otherwise)
    with pytest.raises(ValueError, match="answers otherwise than the model did"):
        gate.verify(copied)


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("", "CC is empty"),
        ("no-such-cc -O3", "there is no C compiler 'no-such-cc'"),
        ("false", r"false could not build c_runner\.c: status 1"),
    ],
)
def test_without_a_compiler_a_version_is_asked_in_a_session_and_that_is_said(
    exported, monkeypatch, caplog, compiler, said
):
    monkeypatch.setenv("CC", compiler)
    caplog.set_level("DEBUG", logger="tfrec.serving.gate")
    assert gate.verify(exported)["asked_in"] == ["session"]
    with pytest.raises(c_runner.NotBuilt, match=said):
        c_runner.built()
    assert "was not asked in a process without Python" in caplog.text


def test_it_is_built_once_also_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("TFREC_CACHE", str(tmp_path / "cache"))
    first = c_runner.built()
    assert first.parent == tmp_path / "cache" and os.access(first, os.X_OK)
    with monkeypatch.context() as patch:
        patch.setattr(c_runner.subprocess, "run", lambda *words, **options: pytest.fail("built again"))
        assert c_runner.built() == first
    monkeypatch.setenv("TFREC_CACHE", str(first / "not a folder"))
    assert c_runner._folder().is_dir() and c_runner._folder() == c_runner._folder()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache of the test's own with the program in it: building takes as long as all else."""
    program = c_runner.built()
    monkeypatch.setenv("TFREC_CACHE", str(tmp_path))
    shutil.copy2(program, tmp_path)
    assert c_runner.built() == tmp_path / program.name
    return tmp_path / program.name


def test_a_program_that_others_may_change_is_not_run(tmp_path, kept):
    planted = kept
    planted.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    planted.chmod(0o777)
    assert c_runner.built().read_bytes()[:4] == b"\x7fELF"
    tmp_path.chmod(0o777)
    assert c_runner._folder() != tmp_path


def test_a_program_that_cannot_be_run_is_as_none(exported, kept):
    kept.chmod(0o644)
    with pytest.raises(c_runner.NotBuilt, match="cannot be run: Permission denied"):
        c_runner.open_runner(exported).__enter__()
    assert gate.verify(exported)["asked_in"] == ["session"]


def test_a_program_that_does_not_answer_is_not_waited_for(exported, monkeypatch):
    monkeypatch.setattr(c_runner, "LONGEST_SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"the process ended with status -9 \("):
        c_runner.open_runner(exported).__enter__()
