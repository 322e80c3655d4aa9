"""Crosses and perceptron are what their papers write, train, and keep the contracts."""

import numpy as np
import pytest

from tests.contracts import TABLE_RULES, Subject, check, made, sequence_inputs
from tfrec.ranking import CrossNetwork, Perceptron

WIDTH = 6
SUBJECTS = {
    "cross": Subject(lambda: CrossNetwork(2), sequence_inputs(WIDTH), WIDTH),
    "low rank": Subject(lambda: CrossNetwork(2, rank=3), sequence_inputs(WIDTH), WIDTH),
    "perceptron": Subject(lambda: Perceptron((8, 5), 0.3), sequence_inputs(WIDTH), 5),
}


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("rule", TABLE_RULES)
def test_contract(rule, name, tmp_path):
    check(rule, SUBJECTS[name], tmp_path)


def test_a_cross_multiplies_the_input_by_a_map_of_itself():
    subject = SUBJECTS["cross"]
    layer, (x,) = made(subject), subject.inputs(2, 3)
    expected = x
    for cross in layer.crosses:
        kernel, bias = (weight.numpy() for weight in cross.weights)
        expected = x * (expected @ kernel + bias) + expected
    np.testing.assert_allclose(subject.outputs(layer, [x]), expected, atol=1e-4)


def test_a_perceptron_is_its_dense_layers_with_swish():
    subject = SUBJECTS["perceptron"]
    layer, (x,) = made(subject), subject.inputs(2, 3)
    expected = x
    for dense in layer.dense:
        kernel, bias = (weight.numpy() for weight in dense.weights)
        inner = expected @ kernel + bias
        expected = inner / (1 + np.exp(-inner))
    np.testing.assert_allclose(subject.outputs(layer, [x]), expected, atol=1e-5)


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_width_is_known_before_the_layer_is_built(name):
    subject = SUBJECTS[name]
    assert subject.make().compute_output_shape((None, None, WIDTH)) == (None, None, subject.width)


def test_no_layer_is_refused():
    with pytest.raises(ValueError, match="`layers` must be 1 or more; received 0"):
        CrossNetwork(0)
    with pytest.raises(ValueError, match="`units` must name the width of at least one layer"):
        Perceptron(())
