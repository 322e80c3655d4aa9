"""A program in C, without Python, gets the answers that the session loader gets; where a compiler is there."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrec.serving.session import load_text_ops, open_session

SM_RUN = Path(__file__).parents[3] / "shared" / "tools" / "sm_run.c"
SHOWN = 12  # cells that the program prints of an output
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SM_RUN.exists() or not shutil.which("gcc"), reason="needs ../shared/tools/sm_run.c and gcc"),
]
HISTORIES = [["007", "商品", "item3"], ["item1", "no such", "item1"], ["", "who?", ""], ["🎬", "", "item11"]]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program, built against the libraries of the installed TensorFlow."""
    place, built = Path(tf.__file__).parent, tmp_path_factory.mktemp("program") / "sm_run"
    libraries = [f"-L{place}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{place}"]
    command = ["gcc", "-O1", "-std=c11", "-D_GNU_SOURCE", "-o", built, SM_RUN, f"-I{place / 'include'}"]
    subprocess.run([*command, *libraries], check=True, capture_output=True)
    return built


def answered(program, folder, signature, libraries=(), **inputs):
    """The first cells of item_ids, blanks between them, and of scores."""
    request = [f"{name}={text}" for name, text in inputs.items()]
    environment = {**os.environ, "TFLIBS": ":".join(map(str, libraries))}
    run = subprocess.run(
        [program, folder, signature, *request], env=environment, check=True, capture_output=True, text=True
    )
    lines = {line.partition(" ")[0]: line.partition("] ")[2] for line in run.stdout.splitlines()}
    return lines["item_ids"], np.array(lines["scores"].split(" "), float)


def check_alike(given, expected):
    ids, scores = given
    assert ids == " ".join(item.decode() for item in expected["item_ids"].ravel()[:SHOWN])
    expected = expected["scores"].ravel()[:SHOWN].astype(float)
    assert np.abs(scores - expected).max() <= 2e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("history", HISTORIES, ids=range(len(HISTORIES)))
def test_a_program_in_c_gets_the_same_answer(exported, program, history):
    with open_session(exported) as bundle:
        plain = bundle.run("serving_default", {"history": np.array([history], object)})
        lines = np.array(["\n".join(history)], object)
        delimited = bundle.run("recommend_delimited", {"history": lines})
    check_alike(answered(program, exported, "serving_default", history=",".join(history)), plain)
    check_alike(answered(program, exported, "recommend_delimited", history=lines[0]), delimited)


def test_a_text_model_needs_the_libraries_of_tensorflow_text_and_nothing_else(pair, program):
    import tensorflow_text

    load_text_ops()
    libraries = sorted((Path(tensorflow_text.__file__).parent / "python" / "ops").glob("_*.so"))
    with open_session(pair[1]) as bundle:
        request = {"history": np.array(["007\nitem3"], object), "text": np.array(["nail polish"], object)}
        expected = bundle.run("recommend_delimited", request)
    given = answered(program, pair[1], "recommend_delimited", libraries, history="007\nitem3", text="nail polish")
    check_alike(given, expected)
