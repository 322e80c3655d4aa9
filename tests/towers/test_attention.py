import numpy as np
import pytest

from tests.contracts import SEQUENCE_RULES, Subject, check, made, sequence_inputs
from tfrec.towers import SelfAttentionEncoder
from tfrec.towers.attention import AttentionBlock

DIM, HEADS, REACH = 6, 2, 4
BLOCK = Subject(
    lambda: AttentionBlock(DIM, HEADS, expansion=1.5, dropout=0.3, max_length=REACH), sequence_inputs(DIM), DIM
)
STACK = Subject(
    lambda: SelfAttentionEncoder(DIM, blocks=2, heads=3, expansion=2.0, dropout=0.3, max_length=5),
    sequence_inputs(DIM),
    DIM,
)


@pytest.mark.parametrize("subject", [BLOCK, STACK], ids=["block", "stack"])
@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, subject, tmp_path):
    check(rule, subject, tmp_path)


def layer_norm(x, gamma):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    exponentials = np.exp(x - x.max())
    return exponentials / exponentials.sum()


def numpy_block(x, weights):
    """The block on one row [T, D], event by event, as the paper writes it."""
    query, key, value, gate = np.split(layer_norm(x, weights["attention_norm"]) @ weights["attention_in"], 4, axis=1)
    width = DIM // HEADS
    attended = np.zeros_like(x)
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        for t in range(len(x)):
            bias = [weights["distance_bias"][head, min(t - s, REACH - 1)] for s in range(t + 1)]
            logits = key[: t + 1, part] @ query[t, part] / np.sqrt(width) + bias
            attended[t, part] = softmax(logits) @ value[: t + 1, part]
    x = x + sigmoid(gate) * (attended @ weights["attention_out"])
    inner = weights["feed_out"].shape[0]
    feed = layer_norm(x, weights["feed_norm"]) @ weights["feed_in"]
    value, swish, gate = feed[:, :inner], feed[:, inner : 2 * inner], feed[:, 2 * inner :]
    return x + sigmoid(gate) * ((value * swish * sigmoid(swish)) @ weights["feed_out"])


def test_block_is_the_one_of_the_paper():
    block = made(BLOCK)
    weights = {w.path.rpartition("/")[0].rpartition("/")[2]: w.numpy() for w in block.weights if "bias" not in w.path}
    weights["distance_bias"] = block.distance_bias.numpy()
    inputs = BLOCK.inputs(2, 7)
    for row, states in zip(inputs[0], BLOCK.outputs(block, inputs), strict=True):
        np.testing.assert_allclose(states, numpy_block(row, weights), atol=1e-5)


def test_distance_alone_counts_and_far_distances_share_a_bias():
    block = made(BLOCK)
    bias = block._bias(7, "float32").numpy()
    table = block.distance_bias.numpy()
    assert bias.shape == (HEADS, 7, 7)
    assert (bias[:, np.triu_indices(7, 1)[0], np.triu_indices(7, 1)[1]] < -1e8).all()
    for later in range(7):
        for earlier in range(later + 1):
            np.testing.assert_array_equal(bias[:, later, earlier], table[:, min(later - earlier, REACH - 1)])


def test_a_bias_that_bars_distances_leaves_the_event_alone():
    """With all but distance 0 barred, a state does not depend on what came before."""
    block = made(BLOCK)
    block.distance_bias.assign(np.where(np.arange(REACH) == 0, 0.0, -1e4) * np.ones((HEADS, 1)))
    together = BLOCK.outputs(block, BLOCK.inputs(2, 5))
    alone = [BLOCK.outputs(block, [BLOCK.inputs(2, 5)[0][:, t : t + 1]])[:, 0] for t in range(5)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1), atol=1e-5)


def test_dropout_is_of_training_alone():
    block, (x,) = made(BLOCK), BLOCK.inputs(2, 5)
    assert np.ptp([block(x, training=True).numpy() for _ in range(3)], axis=0).max() > 1e-3
    assert np.ptp([block(x, training=False).numpy() for _ in range(3)], axis=0).max() == 0


def test_blocks_have_weights_of_their_own():
    stack = made(STACK)
    assert len(stack.stack) == 2
    assert len(stack.trainable_weights) == 2 * len(stack.stack[0].trainable_weights)


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="`dim` must be a multiple of `heads`; received dim=6, heads=4"):
        SelfAttentionEncoder(6, heads=4)
