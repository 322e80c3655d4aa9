import numpy as np
import pytest

from tests.contracts import SEQUENCE_RULES, Subject, check, made, sequence_inputs
from tfrec.towers import GatedFusion

DIM, ENCODERS = 3, 2
SUBJECT = Subject(lambda: GatedFusion(DIM, ENCODERS), sequence_inputs(DIM * ENCODERS), DIM)


@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, tmp_path):
    check(rule, SUBJECT, tmp_path)


def test_it_starts_as_the_mean():
    inputs = SUBJECT.inputs(2, 4)
    mean = inputs[0].reshape(2, 4, ENCODERS, DIM).mean(axis=2)
    np.testing.assert_allclose(SUBJECT.outputs(SUBJECT.make(), inputs), mean, atol=1e-6)


def test_weights_are_a_softmax_over_the_encoders_for_each_dimension():
    fusion, (x,) = made(SUBJECT), SUBJECT.inputs(2, 4)
    gate = np.exp(x @ fusion.gate.kernel.numpy() + fusion.gate.bias.numpy())
    first, second = gate[..., :DIM], gate[..., DIM:]
    expected = (first * x[..., :DIM] + second * x[..., DIM:]) / (first + second)
    np.testing.assert_allclose(SUBJECT.outputs(fusion, [x]), expected, atol=1e-5)


def test_a_gate_can_choose_one_encoder():
    fusion, (x,) = made(SUBJECT), SUBJECT.inputs(2, 4)
    fusion.gate.kernel.assign(np.zeros(fusion.gate.kernel.shape))
    fusion.gate.bias.assign([50.0] * DIM + [-50.0] * DIM)
    np.testing.assert_allclose(SUBJECT.outputs(fusion, [x]), x[..., :DIM], atol=1e-6)
