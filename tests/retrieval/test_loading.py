"""A saved model is read again by whoever imports tfrec alone; what is none is named."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import tfrec
from tests import tiny_shop
from tfrec import build, data


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    columns = data.EventColumns("who", "what", "at", event_type="kind")
    prepared = data.prepare(tiny_shop.events(), options=data.PrepareOptions(events=columns, max_length=6))
    model = build.two_tower(prepared, dim=8, seed=1)
    model.save(path)
    return path, model.item_vectors().numpy()


def test_a_saved_model_is_read_again(saved):
    path, vectors = saved
    np.testing.assert_array_equal(tfrec.load_model(path).item_vectors(), vectors)


def test_a_new_process_needs_nothing_but_the_package(saved):
    code = f"import tfrec; print(type(tfrec.load_model({str(saved[0])!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "TwoTower", done.stderr[-500:]


def test_what_is_no_model_is_named(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.keras is not there"):
        tfrec.load_model(tmp_path / "nowhere.keras")
    half = tmp_path / "half.keras"
    half.write_bytes(saved[0].read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"half\.keras is damaged"):
        tfrec.load_model(half)
    other = tmp_path / "other.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(other)
    with pytest.raises(ValueError, match="holds a Sequential, and no two-tower model"):
        tfrec.load_model(other)
