"""What a request may hold, before a graph is asked."""

import numpy as np
import pytest

from tfrec.serving.server.loaded import Signature, Spec, check
from tfrec.serving.server.problems import ProblemError

SIGNATURE = Signature({"user_text": Spec(np.dtype("float32"), (-1, 2))}, ("scores",), None, None)


def test_numbers_are_finite():
    rows = np.zeros((3, 2), "float32")
    assert check(SIGNATURE, {"user_text": rows}, 10) == 3
    for wrong in (np.nan, np.inf, -np.inf):
        rows[1, 1] = wrong
        with pytest.raises(ProblemError, match="Input 'user_text' holds a number that is not finite"):
            check(SIGNATURE, {"user_text": rows}, 10)
