"""Lists in one string a row: parted, aligned and cut, whatever stands in them."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.serving import delimited


def texts(ragged):
    return [[item.decode() for item in row] for row in ragged.to_list()]


@pytest.mark.parametrize(
    ("ids", "values", "expected"),
    [
        (["a\nb\nc"], ["1\n2\n3"], [["1", "2", "3"]]),
        (["a\nb\nc", "d"], ["1", "2\n3\n4"], [["1", "", ""], ["2"]]),
        (["", "a\n\nb", ""], ["9\n9", "\n\n7", ""], [["9"], ["", "", "7"], [""]]),
        (["a\nb", "c\nd"], ["", "x\ny"], [["", ""], ["x", "y"]]),
        ([], [], []),
    ],
)
def test_values_stand_beside_their_ids_and_nobody_elses(ids, values, expected):
    aligned = delimited.aligned(tf.constant(values, tf.string), delimited.parts(tf.constant(ids, tf.string)))
    assert texts(aligned) == expected


def test_the_newest_known_ones_are_read(monkeypatch):
    monkeypatch.setattr(delimited, "LONGEST", 2)
    ids = delimited.parts(tf.constant(["a\n?\nb\nc\n?", "?", "d"]))
    assert texts(delimited.newest_known(ids, ids.flat_values != "?")) == [["b", "c"], [], ["d"]]


def test_what_is_no_number_is_missing_and_fails_nobody():
    given = ["12", "", "-3", "1e5", " 7", "9" * 18, "9" * 19, "٣", "007"]
    assert delimited.numbers(tf.constant(given)).numpy().tolist() == [12, 0, 0, 0, 0, int("9" * 18), 0, 0, 7]


def test_a_request_is_joined_vectors_apart():
    vectors, ids = np.ones((2, 3), np.float32), np.array([["a", "b"], ["c", ""]], object)
    joined = delimited.joined({"history": ids, "timestamp": np.array([[1, 2], [3, 0]]), "v": vectors, "u": ids[:, 0]})
    assert joined["history"].tolist() == ["a\nb", "c\n"] and joined["timestamp"].tolist() == ["1\n2", "3\n0"]
    assert joined["v"] is vectors and joined["u"].tolist() == ["a", "c"]
