"""Codes start at 1; 0 is what is missing or unknown; files bring back any value."""

import numpy as np
import pytest

from tfrec.data import Vocabulary


def test_codes_of_known_unknown_and_missing_values():
    vocabulary = Vocabulary.of(["view", "cart", "", "view"])
    codes = vocabulary.codes(["cart", "view", "", "other", "cart", None])
    assert codes.dtype == np.int32 and codes.tolist() == [1, 2, 0, 0, 1, 0]
    assert (vocabulary.values, vocabulary.size, len(vocabulary)) == (("cart", "view"), 3, 2)


def test_no_values_at_all():
    assert Vocabulary([]).codes(["a"]).tolist() == [0] and Vocabulary([]).codes([]).tolist() == []


def test_a_file_brings_back_any_value(tmp_path):
    values = ["plain", "with\nbreak", 'quote"', "back\\slash", " blank ", "鞋🎁", "\u2028", "\r", "NaN"]
    Vocabulary(values).save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt").values == tuple(values)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "v.txt").write_text("view\ncart\n")
    with pytest.raises(ValueError, match=r"v\.txt is not a vocabulary"):
        Vocabulary.load(tmp_path / "v.txt")


@pytest.mark.parametrize(
    ("values", "message"), [(["a", "a"], "'a' occurs twice"), ([""], "cannot hold the empty text")]
)
def test_repeated_and_empty_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(values)
