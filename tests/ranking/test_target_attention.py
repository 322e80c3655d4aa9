"""Target attention is the sum written out, reads no event beyond its own past, and keeps the contracts."""

import numpy as np
import pytest

from tests.contracts import TABLE_RULES, Subject, check, made
from tfrec.ranking import TargetAttention

DIM, HEADS = 4, 2


def inputs(rows, length):
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(rows, 40, DIM)).astype("float32")[:, :length]
    events = rng.normal(size=(rows, 40, DIM)).astype("float32")[:, : length + 1]
    after = rng.integers(0, 40, (rows, 40))[:, :length] % (length + 2)
    return [candidates, events, after.astype("int32")]


SUBJECT = Subject(lambda: TargetAttention(DIM, HEADS, 0.3), inputs, DIM)


@pytest.mark.parametrize("rule", TABLE_RULES)
def test_contract(rule, tmp_path):
    check(rule, SUBJECT, tmp_path)


def normal(x, layer):
    gamma, beta = (weight.numpy() for weight in layer.weights)
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) + beta


def by_hand(layer, candidate, events):
    """What one candidate [D] finds in the events before it [s, D], one head and one event after the other."""
    query = normal(candidate, layer.candidate_norm) @ layer.query.kernel.numpy()
    both = normal(events, layer.event_norm) @ layer.key_value.kernel.numpy()
    key, value = both[:, :DIM], both[:, DIM:]
    width, found = DIM // HEADS, np.zeros(DIM)
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        weights, total = [], 1.0  # The slot that says nothing has the weight exp(0).
        for place in range(len(events)):
            ago = len(events) - 1 - place
            bias = layer.distance.numpy()[head, int(np.log2(ago + 1))]
            weights.append(np.exp(query[part] @ key[place, part] / np.sqrt(width) + bias))
            total += weights[-1]
        found[part] = sum(w / total * value[place, part] for place, w in enumerate(weights))
    return found @ layer.out.kernel.numpy()


def test_it_is_the_sum_written_out():
    layer, (candidates, events, after) = made(SUBJECT), inputs(3, 8)
    found = SUBJECT.outputs(layer, [candidates, events, after])
    assert (after == 0).any() and (after == events.shape[1]).any()
    for row, asked in enumerate(candidates):
        expected = [by_hand(layer, one, events[row, :s]) for one, s in zip(asked, after[row], strict=True)]
        np.testing.assert_allclose(found[row], expected, atol=1e-4)


def test_an_event_that_is_not_past_changes_nothing_and_a_past_one_does():
    layer, (candidates, events, after) = made(SUBJECT), inputs(2, 9)
    after = np.full_like(after, 4)
    before = SUBJECT.outputs(layer, [candidates, events, after])
    later, earlier = events.copy(), events.copy()
    later[:, 4:], earlier[:, 3] = 7.0, 1 - events[:, 3]
    np.testing.assert_array_equal(SUBJECT.outputs(layer, [candidates, later, after]), before)
    assert np.abs(SUBJECT.outputs(layer, [candidates, earlier, after]) - before).max() > 1e-3


def test_without_a_history_there_is_nothing_to_find():
    layer, (candidates, events, after) = made(SUBJECT), inputs(2, 5)
    np.testing.assert_array_equal(SUBJECT.outputs(layer, [candidates, events, 0 * after]), 0 * candidates)


def test_a_width_that_is_no_multiple_of_the_heads_is_refused():
    with pytest.raises(ValueError, match="`dim` must be a multiple of `heads`; received dim=4, heads=3"):
        TargetAttention(4, 3)
