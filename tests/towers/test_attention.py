"""The blocks of self-attention are what their equations say, and stack."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts import SEQUENCE_RULES, Subject, check, made, sequence_inputs
from tfrec.towers import HSTUBlock, LiGRBlock, SASRecBlock, SelfAttentionEncoder
from tfrec.towers.relative_bias import RelativeBias
from tfrec.towers.time_embedding import gap_buckets

DIM, HEADS, REACH = 6, 2, 4
BLOCKS = (LiGRBlock, SASRecBlock, HSTUBlock)


def timed(rows, length):
    """Events and their times, some of them missing."""
    rng = np.random.default_rng(5)
    times = 10**9 + rng.integers(0, 10**6, (rows, 40)).cumsum(axis=1)
    times[:, 2] = 0
    return [*sequence_inputs(DIM)(rows, length), times[:, :length].astype("int64")]


def of_events(block):
    return Subject(lambda: block(DIM, HEADS, 2.0, 0.3, REACH), sequence_inputs(DIM), DIM)


def of_times(block):
    return Subject(lambda: block(DIM, HEADS, 2.0, 0.3, REACH, timestamps=True), timed, DIM)


STACK = Subject(lambda: SelfAttentionEncoder([block(DIM, 3, timestamps=True) for block in BLOCKS]), timed, DIM)
SUBJECTS = [*map(of_events, BLOCKS), *map(of_times, BLOCKS), STACK]
NAMES = [f"{block.__name__}{kind}" for kind in ("", " with times") for block in BLOCKS] + ["stack"]


@pytest.mark.parametrize("subject", SUBJECTS, ids=NAMES)
@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, subject, tmp_path):
    check(rule, subject, tmp_path)


def layer_norm(x, gamma=1.0, beta=0.0):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) + beta


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    exponentials = np.exp(x - x.max())
    return exponentials / exponentials.sum()


def attended(query, key, value, bias, weigh):
    """The values that each event attends to in the past, head by head."""
    found = np.zeros_like(value)
    for head in range(HEADS):
        wide = [x.shape[1] // HEADS for x in (query, value)]
        of_query, of_value = (slice(head * width, (head + 1) * width) for width in wide)
        for t in range(len(query)):
            past = slice(0, t + 1)
            logits = key[past, of_query] @ query[t, of_query]
            found[t, of_value] = weigh(logits, bias[head, t, past]) @ value[past, of_value]
    return found


def scaled(logits, bias):
    return softmax(logits / np.sqrt(DIM // HEADS) + bias)


def numpy_ligr(x, block, bias):
    of = {layer.name: [weight.numpy() for weight in layer.weights] for layer in block._layers}
    query, key, value, gate = np.split(layer_norm(x, *of["attention_norm"]) @ of["attention_in"][0], 4, axis=1)
    x = x + sigmoid(gate) * (attended(query, key, value, bias, scaled) @ of["attention_out"][0])
    feed = layer_norm(x, *of["feed_norm"]) @ of["feed_in"][0]
    value, swish, gate = feed[:, : block.inner], feed[:, block.inner : 2 * block.inner], feed[:, 2 * block.inner :]
    return x + sigmoid(gate) * ((value * swish * sigmoid(swish)) @ of["feed_out"][0])


def numpy_sasrec(x, block, bias):
    of = {layer.name: [weight.numpy() for weight in layer.weights] for layer in block._layers}
    query, key, value = np.split(layer_norm(x, *of["attention_norm"]) @ of["attention_in"][0], 3, axis=1)
    kernel, shift = of["attention_out"]
    x = x + attended(query, key, value, bias, scaled) @ kernel + shift
    (kernel_in, shift_in), (kernel_out, shift_out) = of["feed_in"], of["feed_out"]
    return x + np.maximum(layer_norm(x, *of["feed_norm"]) @ kernel_in + shift_in, 0) @ kernel_out + shift_out


def numpy_hstu(x, block, bias):
    of = {layer.name: [weight.numpy() for weight in layer.weights] for layer in block._layers}
    kernel, shift = of["in"]
    inside = layer_norm(x, *of["norm"]) @ kernel + shift
    inside = inside * sigmoid(inside)
    gate, value, query, key = np.split(inside, np.cumsum([block.inner, block.inner, DIM]), axis=1)

    def weigh(logits, bias):
        return (logits + bias) * sigmoid(logits + bias) / len(logits)

    kernel, shift = of["out"]
    return x + (gate * layer_norm(attended(query, key, value, bias, weigh))) @ kernel + shift


@pytest.mark.parametrize(
    ("block", "written"), [(LiGRBlock, numpy_ligr), (SASRecBlock, numpy_sasrec), (HSTUBlock, numpy_hstu)]
)
def test_a_block_equals_its_equations_written_out_in_numpy(block, written):
    subject = of_times(block)
    layer, (x, times) = made(subject), timed(2, 7)
    bias = np.broadcast_to(layer.bias(x, times).numpy(), (2, HEADS, 7, 7))
    for row, states in enumerate(subject.outputs(layer, [x, times])):
        np.testing.assert_allclose(states, written(x[row].astype(float), layer, bias[row]), atol=2e-5)


def test_the_bias_is_of_the_distance_and_of_the_doublings_of_the_time():
    layer = RelativeBias(HEADS, REACH, timestamps=True)
    layer.build()
    rng = np.random.default_rng(0)
    for table in layer.weights:
        table.assign(rng.normal(size=table.shape))
    x, times = timed(2, 7)
    bias, plain = layer(x, times).numpy(), layer(x).numpy()
    assert bias.shape == (2, HEADS, 7, 7) and plain.shape == (1, HEADS, 7, 7)
    for later in range(7):
        for earlier in range(later + 1):
            of_distance = layer.distance.numpy()[:, min(later - earlier, REACH - 1)]
            np.testing.assert_allclose(plain[0, :, later, earlier], of_distance, atol=1e-6)
            for row in range(2):
                gap = int(gap_buckets(times[row : row + 1, later], times[row : row + 1, earlier])[0])
                assert (gap == 0) == (2 in (later, earlier))
                expected = of_distance + layer.gap.numpy()[:, gap]
                np.testing.assert_allclose(bias[row, :, later, earlier], expected, atol=1e-6)


@pytest.mark.parametrize("block", BLOCKS[:2])
def test_a_bias_that_bars_distances_leaves_the_event_alone(block):
    """With all but distance 0 barred, a state does not depend on what came before."""
    subject = of_events(block)
    layer = made(subject)
    layer.bias.distance.assign(np.where(np.arange(REACH) == 0, 0.0, -1e4) * np.ones((HEADS, 1)))
    together = subject.outputs(layer, subject.inputs(2, 5))
    alone = [subject.outputs(layer, [subject.inputs(2, 5)[0][:, t : t + 1]])[:, 0] for t in range(5)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1), atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
def test_dropout_is_of_training_alone(block):
    subject = of_events(block)
    layer, (x,) = made(subject), subject.inputs(2, 5)
    assert np.ptp([layer(x, training=True).numpy() for _ in range(3)], axis=0).max() > 1e-3
    assert np.ptp([layer(x, training=False).numpy() for _ in range(3)], axis=0).max() == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_eight_blocks_let_the_signal_through(block):
    """As they begin, the first block's gradient is neither lost nor grown out of hand."""
    stack = SelfAttentionEncoder([block(16, 2, dropout=0.0) for _ in range(8)])
    stack.build((None, None, 16))
    x = tf.constant(np.random.default_rng(0).normal(size=(4, 10, 16)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_mean(tf.square(stack(x)))
    size = float(tf.norm(tape.gradient(loss, x)) / tf.norm(2 * x / tf.cast(tf.size(x), tf.float32)))
    assert 0.2 < size < 50


def test_blocks_have_weights_of_their_own():
    stack = SelfAttentionEncoder([LiGRBlock(DIM, 2), LiGRBlock(DIM, 2)])
    stack.build((None, None, DIM))
    assert len(stack.trainable_weights) == 2 * len(stack.blocks[0].trainable_weights) > 0
    assert not stack.timestamps


@pytest.mark.parametrize(("block", "expansion"), [(LiGRBlock, 4), (SASRecBlock, 1), (HSTUBlock, 1)])
def test_the_expansion_is_the_papers_unless_said(block, expansion):
    assert (block(DIM, 2).expansion, block(DIM, 2).inner) == (expansion, expansion * DIM)
    for said in (None, 2, 1.5):
        layer = block(DIM, 2, said)
        assert layer.expansion == layer.get_config()["expansion"] == (said or expansion)
        assert block.from_config(layer.get_config()).expansion == layer.expansion


@pytest.mark.parametrize("block", BLOCKS)
def test_heads_divide_the_width(block):
    with pytest.raises(ValueError, match="`dim` must be a multiple of `heads`; received dim=6, heads=4"):
        block(6, 4)


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(ValueError, match="`blocks` must hold at least one layer; received none"):
        SelfAttentionEncoder([])
    with pytest.raises(ValueError, match="`dim \\* expansion` must be a multiple of `heads`; received 9, heads=2"):
        HSTUBlock(6, 2, expansion=1.5).build((None, None, 6))
