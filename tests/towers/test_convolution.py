import numpy as np
import pytest
import tensorflow as tf

from tests.contracts import SEQUENCE_RULES, Subject, check, made, sequence_inputs
from tfrec.towers import ConvolutionEncoder

DIM = 4
SUBJECT = Subject(lambda: ConvolutionEncoder(DIM, blocks=2, kernel=3, dropout=0.3), sequence_inputs(DIM), DIM)


@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, tmp_path):
    check(rule, SUBJECT, tmp_path)


def numpy_encoder(x, encoder):
    """The stack on one row [T, D], event by event."""
    for i, (norm, convolution, projection) in enumerate(
        zip(encoder.norms, encoder.convolutions, encoder.projections, strict=True)
    ):
        gamma, beta = (weight.numpy() for weight in norm.weights)
        normal = gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) + beta
        kernel = convolution.kernel.numpy().reshape(encoder.kernel, DIM, 2 * DIM)
        outputs = []
        for t in range(len(x)):
            total = convolution.bias.numpy()
            for tap in range(encoder.kernel):  # The last tap is the present event.
                before = t - (encoder.kernel - 1 - tap) * 2**i
                total = total + (normal[before] @ kernel[tap] if before >= 0 else 0)
            value, gate = np.split(total, 2)
            outputs.append(value / (1 + np.exp(-gate)))
        x = x + np.array(outputs) @ projection.kernel.numpy() + projection.bias.numpy()
    return x


def test_stack_is_a_dilated_convolution():
    encoder, inputs = made(SUBJECT), SUBJECT.inputs(2, 9)
    expected = [numpy_encoder(row, encoder) for row in inputs[0]]
    np.testing.assert_allclose(SUBJECT.outputs(encoder, inputs), expected, atol=1e-5)


@pytest.mark.parametrize(("blocks", "kernel", "reach"), [(1, 3, 2), (2, 3, 6), (3, 2, 7), (2, 1, 0)])
def test_reach_is_that_of_the_dilations_together(blocks, kernel, reach):
    subject = Subject(lambda: ConvolutionEncoder(DIM, blocks, kernel, dropout=0.0), sequence_inputs(DIM), DIM)
    encoder, x = made(subject), tf.constant(subject.inputs(1, 12)[0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        last = tf.reduce_sum(encoder(x)[:, -1] * tf.range(1.0, DIM + 1.0))
    read = np.abs(tape.gradient(last, x).numpy()[0]).max(axis=1) > 1e-7
    assert read.tolist() == [steps_back <= reach for steps_back in range(11, -1, -1)]
