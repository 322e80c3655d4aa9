import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_text
from tfrec.towers.masked_language import HIDDEN, RANDOM, MaskedLanguageModel, mask_token, special_tokens
from tfrec.towers.text_models import TextModel
from tfrec.towers.text_tuning import Tuning, tune

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(30))]
FIRST = 5  # The first word's id.
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8, "max_sequence_length": 64}


def model(kind="Bert", width=8):
    tokenizer = getattr(keras_nlp.models, f"{kind}Tokenizer")(PIECES)
    backbone = getattr(keras_nlp.models, f"{kind}Backbone")(
        vocabulary_size=len(PIECES), dropout=0.0, **{**SIZES, "hidden_dim": width}
    )
    return TextModel("tiny", tokenizer, backbone, "mean", 64)


def texts(words):
    """A batch of texts of `words` words each: ids int32 [N, T], lengths int32 [N]."""
    rng = np.random.default_rng(0)
    ids = np.zeros((len(words), max(words) + 2), "int32")
    for row, count in zip(ids, words, strict=True):
        row[: count + 2] = [2, *rng.integers(FIRST, len(PIECES), count), 3]
    return tf.constant(ids), tf.constant(np.array(words, "int32") + 2)


def asked(shape, places):
    found = np.zeros(int(np.prod(shape)), bool)
    found[places] = True
    return found.reshape(shape)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
def test_a_share_of_the_words_is_chosen_and_at_least_one(share):
    words = [0, 1, 2, 7, 20, 60]
    ids, lengths = texts(words)
    _, same, places, truth = MaskedLanguageModel(model(), share, seed=1).examples(ids, lengths)
    chosen = asked(ids.shape, places.numpy())
    expected = [min(count, max(1, round(np.float32(share) * count))) for count in words]
    np.testing.assert_array_equal(chosen.sum(1), expected)
    np.testing.assert_array_equal(truth, ids.numpy()[chosen])
    np.testing.assert_array_equal(same, lengths)


def test_marks_padding_and_unknown_words_are_never_chosen():
    masked = MaskedLanguageModel(model(), 0.9, seed=1)
    ids = tf.constant([[2, 1, 9, 3, 0, 0], [2, 1, 1, 1, 1, 3], [2, 3, 0, 0, 0, 0]])
    for _ in range(20):
        shown, _, places, _ = masked.examples(ids, tf.constant([4, 6, 2]))
        assert places.numpy().tolist() == [2]
        np.testing.assert_array_equal(np.delete(shown.numpy().ravel(), 2), np.delete(ids.numpy().ravel(), 2))


def test_a_token_past_the_text_is_not_chosen_whatever_it_is():
    ids = tf.constant([[2, 9, 3, 9, 9, 9]])
    masked = MaskedLanguageModel(model(), 0.9, seed=1)
    assert all(masked.examples(ids, tf.constant([3]))[2].numpy().tolist() == [1] for _ in range(20))


def test_chosen_tokens_are_hidden_replaced_or_left():
    ids, lengths = texts([60] * 200)
    shown, _, places, truth = MaskedLanguageModel(model(), 0.5, seed=1).examples(ids, lengths)
    shown = shown.numpy()[asked(ids.shape, places.numpy())]
    hidden, kept = shown == 4, shown == truth.numpy()
    assert hidden.mean() == pytest.approx(HIDDEN, abs=0.02)
    assert (~hidden & ~kept).mean() == pytest.approx(RANDOM, abs=0.02)
    assert set(shown[~hidden]) == set(range(FIRST, len(PIECES)))


def test_the_choice_follows_from_the_generator_alone():
    masked, (ids, lengths) = MaskedLanguageModel(model(), seed=1), texts([20, 30])
    (state,) = [one for one in masked.non_trainable_variables if one.name == "seed_generator_state"]
    start = state.numpy().copy()
    first, second = (masked.examples(ids, lengths)[0].numpy() for _ in range(2))
    assert (first != second).any()
    state.assign(start)
    np.testing.assert_array_equal(masked.examples(ids, lengths)[0], first)


def test_a_batch_without_words_costs_nothing():
    masked, ids, lengths = MaskedLanguageModel(model()), tf.constant([[2, 3, 0]]), tf.constant([2])
    with tf.GradientTape() as tape:
        loss = masked.loss(ids, lengths, training=True)
    weights = [*masked.trainable_variables, *masked.model.backbone.trainable_variables]
    gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, weights) if one is not None]
    assert loss.numpy() == 0 and loss.dtype == tf.float32
    assert gradients and not any(one.numpy().any() for one in gradients)


@pytest.mark.parametrize(
    ("kind", "tuning"),
    [("Bert", None), ("Bert", "full"), ("Bert", "prefix"), ("DistilBert", "lora"), ("DistilBert", "adapter")],
)
def test_it_works_over_any_tuned_backbone_in_one_graph(kind, tuning):
    text = model(kind)
    text = tune(text, Tuning(tuning, 1)) if tuning else text
    masked = MaskedLanguageModel(text)
    graph = tf.function(masked.loss, reduce_retracing=True)
    for words in ([3, 4], [9, 1, 30], [2], [40, 2]):
        assert np.isfinite(graph(*texts(words)).numpy())
    assert graph.experimental_get_tracing_count() <= 3
    assert len(masked.trainable_variables) == 5


def test_the_loss_starts_at_a_guess_and_falls():
    keras.utils.set_random_seed(0)
    masked = MaskedLanguageModel(tune(model(width=16), Tuning("full")), 0.3, seed=0)
    row = tf.constant([[2, *range(FIRST, FIRST + 10), 3]] * 16)
    weights = [*masked.model.backbone.trainable_variables, *masked.trainable_variables]
    optimizer, losses = keras.optimizers.Adam(0.02), []
    for _ in range(40):
        with tf.GradientTape() as tape:
            loss = masked.loss(row, tf.constant([12] * 16), training=True)
        gradients = tape.gradient(loss, weights)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        losses.append(float(loss))
    assert losses[0] == pytest.approx(np.log(len(PIECES)), abs=0.5)
    assert losses[-1] < 0.5 * losses[0]


def test_only_the_chosen_tokens_meet_the_vocabulary(monkeypatch):
    rows = []
    plain = keras.layers.ReversibleEmbedding.call

    def counting(self, inputs, reverse=False):
        if reverse:
            rows.append(inputs.shape[0])
        return plain(self, inputs, reverse)

    monkeypatch.setattr(keras.layers.ReversibleEmbedding, "call", counting)
    MaskedLanguageModel(model(), 0.1).loss(*texts([20, 10]))
    assert rows == [3]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"`share` must be above 0 and below 1; received"):
        MaskedLanguageModel(model(), share)


def test_a_causal_model_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"GPT2Tokenizer.* knows no masked tokens.*of BERT's kind") as error:
        MaskedLanguageModel(tiny_text.gpt2())
    assert "\n" not in str(error.value)


def test_unknown_words_of_any_spelling_are_special():
    tokens = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "r": 5, "e": 6, "re": 7}
    tokenizer = keras_nlp.models.RobertaTokenizer(tokens, ["r e"])
    backbone = keras_nlp.models.RobertaBackbone(vocabulary_size=len(tokens), **SIZES)
    text = TextModel("tiny", tokenizer, backbone, "mean", 64)
    assert special_tokens(text).tolist() == [0, 1, 2, 3, 4]
    assert mask_token(text) == 4
    assert np.isfinite(MaskedLanguageModel(text).loss(*text.tokens(tf.constant(["re", ""]))).numpy())
