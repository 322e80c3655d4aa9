import numpy as np
import pytest

from tests.contracts import SEQUENCE_RULES, Subject, check, made, sequence_inputs
from tfrec.towers import LSTMEncoder

DIM, UNITS = 5, 3
ONE = Subject(lambda: LSTMEncoder(DIM, layers=1, units=UNITS, dropout=0.3), sequence_inputs(DIM), DIM)
TWO = Subject(lambda: LSTMEncoder(DIM, layers=2, dropout=0.3), sequence_inputs(DIM), DIM)


@pytest.mark.parametrize("subject", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, subject, tmp_path):
    check(rule, subject, tmp_path)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_layer(x, gamma, beta, kernel, recurrent, bias, projection, shift):
    """One layer on one row [T, D], event by event."""
    normal = gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) + beta
    state, memory, outputs = np.zeros(len(recurrent)), np.zeros(len(recurrent)), []
    for event in normal:
        into, forget, new, out = np.split(event @ kernel + state @ recurrent + bias, 4)
        memory = sigmoid(forget) * memory + sigmoid(into) * np.tanh(new)
        state = sigmoid(out) * np.tanh(memory)
        outputs.append(state @ projection + shift)
    return x + np.array(outputs)


def test_layer_is_the_recurrence():
    encoder = made(ONE)
    parts = [encoder.norms[0], encoder.cells[0], encoder.projections[0]]
    weights = [weight.numpy() for part in parts for weight in part.weights]
    inputs = ONE.inputs(3, 6)
    expected = [numpy_layer(row, *weights) for row in inputs[0]]
    np.testing.assert_allclose(ONE.outputs(encoder, inputs), expected, atol=1e-5)


def test_layers_follow_each_other():
    encoder, x = made(TWO), TWO.inputs(1, 6)[0][0]
    for norm, cell, projection in zip(encoder.norms, encoder.cells, encoder.projections, strict=True):
        x = numpy_layer(x, *[weight.numpy() for part in (norm, cell, projection) for weight in part.weights])
    np.testing.assert_allclose(TWO.outputs(encoder, TWO.inputs(1, 6))[0], x, atol=1e-5)


def test_units_are_the_width_unless_said():
    assert made(TWO).cells[1].units == DIM
    assert made(ONE).cells[0].units == UNITS


def test_it_remembers_the_first_event():
    encoder, (x,) = made(ONE), ONE.inputs(1, 12)
    other = x.copy()
    other[:, 0] = -other[:, 0]
    assert np.abs(ONE.outputs(encoder, [x]) - ONE.outputs(encoder, [other]))[:, -1].max() > 1e-6
