import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_text
from tfrec.towers.masked_language import MaskedLanguageModel
from tfrec.towers.next_token import NextTokenModel
from tfrec.towers.text_tuning import Tuning, tune
from tfrec.training import TrainingCheckpoint, train
from tfrec.training.pretraining import (
    IDS,
    LENGTHS,
    MONITOR,
    PLACES,
    SECONDS,
    TRUTH,
    EpochSeconds,
    HeldOut,
    LanguageLearner,
    split,
    unigram_perplexity,
)
from tfrec.training.text_batches import TextPlan, tokenize

TITLES = tiny_text.titles(120)


class Work:
    """A pretraining from its beginning; the model is new, and always the same."""

    def __init__(self, kind):
        keras.utils.set_random_seed(1)
        self.model = getattr(tiny_text, kind)(TITLES)
        tuned = tune(self.model, Tuning("full"))
        self.objective = MaskedLanguageModel(tuned, 0.3, 1) if kind == "bert" else NextTokenModel(tuned)
        self.tokens = tokenize(self.model, TITLES)
        self.training, self.validation = split(len(TITLES), 0.2, 1)
        self.held_out = HeldOut(self.objective, self.tokens, self.validation, tokens_per_batch=256, seed=1)
        self.learner = LanguageLearner(self.objective)
        self.learner.compile(optimizer=keras.optimizers.AdamW(0.01), jit_compile=False)

    def train(self, folder, epochs, callbacks=()):
        plan = TextPlan(self.tokens, self.training, tokens_per_batch=256, seed=1)
        checkpoint = TrainingCheckpoint(folder, monitor=MONITOR)
        held_out, callbacks = self.held_out.dataset(), [EpochSeconds(), *callbacks]
        return train(self.learner, plan, held_out, checkpoint, epochs=epochs, seed=1, callbacks=callbacks, verbose=0)

    def weights(self):
        return [keras.ops.convert_to_numpy(weight).copy() for weight in self.model.backbone.trainable_weights]


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_it_learns_more_than_how_frequent_words_are(kind, tmp_path):
    work = Work(kind)
    before = work.weights()
    history = work.train(tmp_path, 12)
    unigram = unigram_perplexity(work.objective, work.tokens, work.training, work.held_out.truth)
    assert history[0]["val_perplexity"] > unigram > 1.5 * history[-1]["val_perplexity"] > 1
    assert history[-1]["val_perplexity"] == pytest.approx(np.exp(-history[-1][MONITOR]), rel=1e-4)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[0][SECONDS] > 0
    changed = [(one != other).any() for one, other in zip(before, work.weights(), strict=True)]
    assert np.mean(changed) > 0.9


def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path):
    whole = Work("bert")
    expected = whole.train(tmp_path / "whole", 3)
    Work("bert").train(tmp_path / "parts", 1)
    resumed = Work("bert")
    history = resumed.train(tmp_path / "parts", 3)
    assert [epoch[MONITOR] for epoch in history] == pytest.approx([epoch[MONITOR] for epoch in expected], abs=1e-6)
    for one, other in zip(whole.weights(), resumed.weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_held_out_questions_are_the_same_each_time_and_each_text_is_asked():
    first, second = Work("bert"), Work("bert")
    for one, other in zip(first.held_out.batches, second.held_out.batches, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in (IDS, LENGTHS, PLACES, TRUTH))
    per_round = len(first.held_out.batches) // MaskedLanguageModel.rounds
    assert not np.array_equal(first.held_out.batches[0][IDS], first.held_out.batches[per_round][IDS])
    assert sum(len(batch[LENGTHS]) for batch in first.held_out.batches) == 4 * len(first.validation)


def test_the_perplexity_is_over_tokens_not_over_batches():
    work = Work("gpt2")
    losses = [
        work.objective.losses(*(tf.constant(batch[name]) for name in (IDS, LENGTHS, PLACES, TRUTH)))
        for batch in work.held_out.batches
    ]
    figures = work.learner.evaluate(work.held_out.dataset(), verbose=0, return_dict=True)
    assert figures["perplexity"] == pytest.approx(np.exp(np.concatenate(losses).mean()), rel=1e-4)
    assert len(work.held_out.truth) == (work.tokens.lengths[work.validation] - 1).sum()


def test_the_unigram_model_knows_the_frequencies():
    work = Work("gpt2")
    asked = np.concatenate([work.tokens.padded(np.array([one]))[IDS][0, 1:] for one in work.training])
    counts = np.bincount(asked, minlength=work.objective.answers) + 1
    expected = np.exp(-np.log(counts / counts.sum())[work.held_out.truth].mean())
    found = unigram_perplexity(work.objective, work.tokens, work.training, work.held_out.truth)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("texts", "share", "held_out"), [(100, 0.05, 5), (3, 0.05, 1), (2, 0.9, 1), (10, 0.99, 9)])
def test_a_share_of_the_texts_is_held_out(texts, share, held_out):
    training, validation = split(texts, share, 1)
    assert len(validation) == held_out
    assert sorted([*training, *validation]) == list(range(texts))
    assert np.array_equal(split(texts, share, 1)[1], validation)


def test_too_little_to_hold_out_is_refused():
    with pytest.raises(ValueError, match="two different texts or more.*there are 1"):
        split(1, 0.05, 1)
    model = tiny_text.bert(["red hat", "blue hat"])
    tokens = tokenize(model, ["red hat", "🎁"])
    with pytest.raises(ValueError, match="validation texts hold no word that the vocabulary knows"):
        HeldOut(MaskedLanguageModel(model), tokens, np.array([1]), tokens_per_batch=64, seed=1)
