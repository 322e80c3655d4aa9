"""What cannot be measured of a ranker's predictions is said, and what can is not spoken of."""

import numpy as np
import pytest

from tfrec.evaluation import Predictions
from tfrec.stages.evaluate_ranker import _tell_of_new_items, _tell_of_what_cannot_be_measured


def told(caplog, labels, values, threshold=0.5, *, binary=True):
    caplog.clear()
    found = Predictions(np.arange(len(labels)), np.array(labels, float), np.array(values), binary, threshold)
    _tell_of_what_cannot_be_measured("click", {"test": found})
    return caplog.messages


@pytest.mark.parametrize(
    ("labels", "values", "words"),
    [
        ([1, 1], [0.9, 0.2], "click: all 2 events of test have the label 1: there is no AUC"),
        ([1, 0], [0.4, 0.2], "click: no prediction of test reaches the threshold 0.5, which was the best one"),
    ],
)
def test_one_class_and_a_threshold_that_nothing_reaches_are_told(caplog, labels, values, words):
    (message,) = told(caplog, labels, values)
    assert message.startswith(words)


def test_what_can_be_measured_is_not_spoken_of(caplog):
    assert told(caplog, [1, 0], [0.5, 0.2]) == []
    assert told(caplog, [3, 3], [2.5, 4.5], None, binary=False) == []


def test_items_that_training_lacks_are_told_of(caplog):
    _tell_of_new_items(np.array([False, False]))
    assert caplog.messages == []
    _tell_of_new_items(np.array([False, True, True]))
    (message,) = caplog.messages
    assert message.startswith("2 of 3 events of test are of items without a training event")
