"""Attention between words is the sum written out, is neutral where there is no word, and keeps the contracts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.contracts import TABLE_RULES, Subject, check, disturb, made, padding_invariance
from tests.ranking.test_target_attention import normal
from tfrec.features import CANDIDATES, HISTORY, USER_WORDS, label_feature
from tfrec.ranking import BinaryHead, Perceptron, Ranker, WordAttention, word_attention
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower

DIM, HEADS, ITEMS, WIDTH, WORDS = 4, 2, 9, 6, 3


def words(count, most, seed=0):
    """float32 [count, most, WIDTH], each word of length 1; a text has 0 to `most` of them."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, most, WIDTH))
    held = np.arange(most) < rng.integers(0, most + 1, count)[:, None]
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) * held[:, :, None]).astype("float32")


def layer():
    attention = WordAttention(DIM, ITEMS, WIDTH, WORDS, heads=HEADS, dropout=0.3)
    table = words(ITEMS, WORDS, seed=1)
    table[0] = 0
    attention.set_words(table)
    return attention


def inputs(rows, length):
    candidates = np.random.default_rng(0).integers(0, ITEMS, (rows, 40))[:, :length].astype("int32")
    return [candidates, words(rows, 40)[:, :length]]


SUBJECT = Subject(layer, inputs, DIM)


@pytest.mark.parametrize("rule", [*TABLE_RULES, padding_invariance])
def test_contract(rule, tmp_path):
    check(rule, SUBJECT, tmp_path)


def side(attention, text, layer):
    """Queries, keys and values [n, D] of the words of one text that are there."""
    text = text[np.any(text != 0, axis=-1)].astype("float64")
    mapped = text @ attention.projection.kernel.numpy() + attention.projection.bias.numpy()
    mapped = mapped / np.linalg.norm(mapped, axis=-1, keepdims=True)
    return np.split(normal(mapped, attention.norm) @ layer.kernel.numpy(), 3, axis=-1)


def found(asked, keys, values):
    """The mean over the asking words of what each finds, one head and one word after the other."""
    width, total = DIM // HEADS, np.zeros(DIM)
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        for query in asked:
            weights = np.exp(keys[:, part] @ query[part] / np.sqrt(width))
            total[part] += weights @ values[:, part] / (1 + weights.sum())
    return total / max(1, len(asked))


def by_hand(attention, user_words, row):
    asked, keys, values = side(attention, user_words, attention.of_user)
    queries, item_keys, item_values = side(attention, attention.item_words.numpy()[row], attention.of_item)
    both = [found(asked, item_keys, item_values), found(queries, keys, values)]
    by_head = [each.reshape(HEADS, -1) for each in both]
    return np.concatenate(by_head, axis=-1).ravel() @ attention.out.kernel.numpy()


@pytest.mark.parametrize("at_once", [1, 7, 1024])
def test_it_is_the_sum_written_out_however_many_are_looked_at_at_once(at_once, monkeypatch):
    monkeypatch.setattr(word_attention, "PAIRS_AT_ONCE", at_once)
    attention, (candidates, texts) = made(SUBJECT), inputs(4, 5)
    outputs = SUBJECT.outputs(attention, [candidates, texts])
    for row, text in enumerate(texts):
        expected = [by_hand(attention, text, item) for item in candidates[row]]
        np.testing.assert_allclose(outputs[row], expected, atol=2e-3)  # The table is of 16 bits.


def test_training_computes_the_same_as_serving():
    attention = disturb(WordAttention(DIM, ITEMS, WIDTH, WORDS, heads=HEADS, hidden=0.0, trainable=True))
    attention.set_words(words(ITEMS, WORDS, seed=1))
    asked = inputs(3, 6)
    np.testing.assert_allclose(attention(*asked, training=True), attention(*asked), atol=1e-6)


def test_a_text_without_words_finds_nothing_and_one_with_words_does():
    attention, (candidates, texts) = made(SUBJECT), inputs(4, 6)
    texts[0] = 0
    outputs = SUBJECT.outputs(attention, [candidates, texts])
    described = attention.item_words.numpy().any(axis=(1, 2))[candidates]
    both = texts.any(axis=(1, 2))[:, None] & described
    assert both.any() and not both[1:].all()
    assert np.abs(outputs[both]).max(axis=-1).min() > 1e-3 and not outputs[~both].any()
    np.testing.assert_array_equal(attention(candidates, None), np.zeros_like(outputs))


@pytest.mark.parametrize(("rows", "count", "said"), [(0, 3, 2), (2, 0, 2), (2, 3, 0), (0, 0, 0)])
def test_nothing_to_judge_and_nothing_said_have_a_shape(rows, count, said):
    attention = made(SUBJECT)
    outputs = attention(np.ones((rows, count), "int32"), np.ones((rows, said, WIDTH), "float32"))
    assert outputs.shape == (rows, count, DIM) and (said or not np.any(outputs))


def test_training_hides_the_words_of_some_users():
    attention = WordAttention(DIM, ITEMS, WIDTH, WORDS, heads=HEADS, hidden=0.5)
    attention.set_words(np.random.default_rng(0).normal(size=(ITEMS, WORDS, WIDTH)))
    outputs = np.asarray(attention(np.ones((400, 1), "int32"), np.ones((400, 2, WIDTH), "float32"), training=True))
    assert 0.4 < np.mean(~outputs.any(axis=(1, 2))) < 0.6


def matches(rng, vocabulary, items, rows, users):
    """Users of two words without a history, and candidates of which half have one of those; they are liked."""
    said = np.stack([rng.choice(vocabulary, 2, replace=False) for _ in range(users)])
    judged = rng.choice(rows, (users, 8))
    shared = (items[:, None, :, None] == said[None, :, None, :]).any(axis=(2, 3))  # [item, user]
    for user in range(users):
        judged[user, :4] = rng.choice(rows[shared[rows, user]], 4)
    return said, judged, shared[judged, np.arange(users)[:, None]]


@pytest.mark.slow
@pytest.mark.long
def test_it_learns_that_words_are_alike_and_knows_it_of_words_that_it_never_met():
    rng, width, count = np.random.default_rng(0), 12, 300
    words = rng.normal(size=(120, width))
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    halves = [np.stack([rng.permutation(np.arange(first, first + 60))[:3] for _ in range(count)]) for first in (0, 60)]
    items = np.concatenate([np.full((1, 3), -1), *halves])
    attention = WordAttention(16, len(items), width, 3)
    attention.set_words(np.concatenate([np.zeros((1, 3, width)), words[items[1:]]]))
    keras.utils.set_random_seed(1)
    model = Ranker(
        ItemTower(16, len(items), id_dropout=0.0),
        BehaviorTower(16, [ConvolutionEncoder(16, blocks=1)], dropout=0.0),
        [BinaryHead(name="like")],
        interactions=[Perceptron((32, 16))],
        word_attention=attention,
    )
    model.compile(keras.optimizers.AdamW(0.01))

    def batches(first, users):
        rows = np.flatnonzero((items // 60 == first).all(axis=1))
        said, judged, liked = matches(rng, np.arange(60 * first, 60 * first + 60), items, rows, users)
        features = {HISTORY: np.zeros((users, 1), "int32"), CANDIDATES: judged.astype("int32")}
        features |= {USER_WORDS: words[said].astype("float32"), label_feature("like"): liked.astype("float32")}
        return tf.data.Dataset.from_tensor_slices(features).batch(100)

    model.fit(batches(0, 3000), epochs=6, verbose=0)
    assert model.evaluate(batches(1, 400), verbose=0, return_dict=True)["auc"] > 0.85


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`dim` must be a multiple of `heads`; received dim=4, heads=3"):
        WordAttention(4, ITEMS, WIDTH, heads=3)
    with pytest.raises(ValueError, match=r"`words` must have the shape \(9, 3, 6\); received \(9, 3, 5\)"):
        layer().set_words(np.zeros((9, 3, 5)))
    towers = ItemTower(DIM, ITEMS), BehaviorTower(DIM, [ConvolutionEncoder(DIM, blocks=1)], user_columns={"words": 3})
    with pytest.raises(ValueError, match="`user_words`, which is the name of a user column too"):
        Ranker(*towers, [BinaryHead(name="like")], interactions=[Perceptron((4,))], word_attention=layer())
    with pytest.raises(ValueError, match="`interactions` must hold at least one layer"):
        Ranker(*towers, [BinaryHead(name="like")], word_attention=layer())
