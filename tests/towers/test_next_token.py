import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_text
from tfrec.towers.next_token import NextTokenModel


@pytest.fixture(scope="module")
def following():
    return NextTokenModel(tiny_text.gpt2())


def test_each_token_is_asked_for_the_next_one(following):
    ids = tf.constant([[5, 6, 7, 0], [8, 0, 9, 9], [0, 9, 9, 9]])
    shown, _, places, truth = following.examples(ids, tf.constant([4, 2, 1]))
    np.testing.assert_array_equal(shown, ids)
    assert places.numpy().tolist() == [0, 1, 2, 4]
    assert truth.numpy().tolist() == [6, 7, 0, 0]
    asked = following.targets(ids, tf.constant([4, 2, 1])).numpy()
    np.testing.assert_array_equal(ids.numpy()[asked], truth)


def test_padding_does_not_matter(following):
    ids, lengths = following.model.tokens(tf.constant(["red running shoes", "hat"]))
    wider = tf.pad(ids, [[0, 0], [0, 3]], constant_values=7)
    np.testing.assert_allclose(following.loss(ids, lengths), following.loss(wider, lengths), rtol=1e-5)


def test_no_token_sees_what_it_is_asked_for(following):
    ids = tf.constant([[20, 21, 22, 23]])
    losses = following.losses(*following.examples(ids, tf.constant([4])))
    other = following.losses(*following.examples(tf.constant([[20, 21, 22, 99]]), tf.constant([4])))
    np.testing.assert_allclose(losses[:2], other[:2], rtol=1e-5)


def test_a_batch_with_nothing_to_ask_costs_nothing(following):
    assert following.loss(tf.constant([[0, 0]]), tf.constant([1])).numpy() == 0


def test_it_has_no_weights_of_its_own(following):
    assert not following.variables
    assert following.loss(*following.model.tokens(tf.constant(["red hat"]))).numpy() > 0


def test_a_model_that_reads_ahead_is_refused():
    with pytest.raises(ValueError, match=r"BertBackbone\) is not causal.*Use masked language modelling"):
        NextTokenModel(tiny_text.bert())
