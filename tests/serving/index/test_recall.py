import numpy as np
import pytest

from tfrec.serving.index.recall import share

EXPECTED = np.array([5.0, 4, 3, 2, 1, 0])


@pytest.mark.parametrize(
    ("answer", "cutoff", "found"),
    [([5, 4, 3], 3, 1), ([5, 3, 2], 3, 2 / 3), ([2, 1, 0], 3, 0), ([5, 4, 3, 2, 1, 0, -1e9], 10, 1), ([4, 3], 1, 0)],
)
def test_it_is_the_share_of_the_best_that_is_shown(answer, cutoff, found):
    assert share(EXPECTED, np.array(answer, np.float32), cutoff, 1e-5) == pytest.approx(found)


def test_equal_items_stand_for_one_another():
    assert share(np.array([1.0, 1 + 1e-7, 0]), np.array([1.0]), 1, 1e-5) == 1
    assert share(np.array([1.0, 1 + 1e-3, 0]), np.array([1.0]), 1, 1e-5) == 0
