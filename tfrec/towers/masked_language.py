"""Masked language modelling over a text model: what pretrains a text tower, and the second loss of joint tuning."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.towers.text_models import TextModel

HIDDEN, RANDOM = 0.8, 0.1  # Of the chosen tokens; the others stay as they are.
_UNKNOWN = ("[UNK]", "<unk>")


class MaskedLanguageModel(keras.layers.Layer):
    """Hides some tokens of each text and asks the backbone for them (Devlin et al., BERT, arXiv:1810.04805).

    Of the chosen tokens 80 % become the mask token, 10 % another token, 10 % stay. Each text with a word has at least
    one; marks, padding and unknown words are never chosen. Weights of the layer are the head alone: a dense layer, a
    layer norm and a bias. The matrix of the vocabulary is the backbone's token embedding, and like all of the backbone
    it belongs to the model around; only the states of chosen tokens are multiplied by it.

    Attributes:
        rounds: how often a text is asked, with other tokens hidden, where few texts have to give a steady figure.
        answers: how many tokens there are to be told apart.
    """

    rounds = 4

    def __init__(self, model: TextModel, share: float = 0.15, seed: int | None = None, **kwargs: Any) -> None:
        """Build the head, with random weights.

        Args:
            model: tokenizer and backbone; the backbone may be what `text_tuning.tune` made.
            share: of a text's tokens that are chosen, above 0 and below 1.
            seed: of the choice. The generator's state is a variable named `seed_generator_state`.
            **kwargs: as for any Keras layer.

        Raises:
            ValueError: `share` is out of range, the tokenizer has no mask token, or the backbone no token embedding.
        """
        if not 0 < share < 1:
            raise ValueError(f"`share` must be above 0 and below 1; received {share}.")
        mask = mask_token(model)
        super().__init__(**{"dtype": "float32", **kwargs})
        self.model, self.share, self.mask = model, share, mask
        self.ordinary = np.setdiff1d(np.arange(model.tokenizer.vocabulary_size()), special_tokens(model)).astype("i4")
        if not len(self.ordinary):
            raise ValueError(f"{model.source!r}: its vocabulary holds no words, and there is nothing to learn.")
        self.answers = len(self.ordinary)
        embedding = token_embedding(model.backbone)
        self.dense = keras.layers.Dense(embedding.output_dim, activation="gelu", name="transform")
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, name="norm")
        self.dense.build((None, model.width))
        self.norm.build((None, embedding.output_dim))
        self.bias = self.add_weight((embedding.input_dim,), initializer="zeros", name="bias")
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def loss(self, ids: Any, lengths: Any, training: bool = False) -> Any:
        """float32: the mean cross-entropy over newly chosen tokens; 0, with a gradient of 0, where none can be.

        Args:
            ids: int32 [N, T], as `TextModel.tokens` returns them.
            lengths: int32 [N].
            training: whether the backbone drops activations.
        """
        return mean(self.losses(*self.examples(ids, lengths), training=training))

    def examples(self, ids: Any, lengths: Any) -> tuple[Any, Any, Any, Any]:
        """Choose and hide tokens.

        Returns:
            The ids as they are shown, int32 [N, T], the lengths, int32 [N], the places of the M chosen tokens in the
            flattened ids, int32 [M], and what stood there, int32 [M].
        """
        chosen = self._chosen(ids, lengths)
        draw = self._uniform(tf.shape(ids))
        others = tf.cast(self._uniform(tf.shape(ids)) * len(self.ordinary), tf.int32)
        others = tf.gather(tf.constant(self.ordinary), tf.minimum(others, len(self.ordinary) - 1))
        shown = tf.where(draw < HIDDEN, self.mask, tf.where(draw < HIDDEN + RANDOM, others, ids))
        places = tf.cast(tf.where(tf.reshape(chosen, [-1]))[:, 0], tf.int32)
        return tf.where(chosen, shown, ids), lengths, places, tf.gather(tf.reshape(ids, [-1]), places)

    def targets(self, ids: Any, lengths: Any) -> Any:
        """Bool [N, T]: the tokens that may be asked for, which are the words."""
        return tf.sequence_mask(lengths, tf.shape(ids)[1]) & tf.gather(self._is_ordinary(), ids)

    def losses(self, ids: Any, lengths: Any, places: Any, truth: Any, training: bool = False) -> Any:
        """float32 [M]: the cross-entropy of each chosen token; arguments as `examples` returns them."""
        states = tf.cast(self.model.states(ids, lengths, training), tf.float32)
        states = tf.gather(tf.reshape(states, [-1, states.shape[-1]]), places)
        logits = token_embedding(self.model.backbone)(self.norm(self.dense(states)), reverse=True)
        logits = tf.cast(logits, tf.float32) + tf.cast(self.bias, tf.float32)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)

    def _chosen(self, ids: Any, lengths: Any) -> Any:
        """Bool [N, T]: max(1, round(share * words)) words of each text, and none where there is none."""
        words = self.targets(ids, lengths)
        count = tf.reduce_sum(tf.cast(words, tf.float32), axis=1)
        count = tf.minimum(count, tf.maximum(1.0, tf.round(self.share * count)))
        order = tf.argsort(tf.where(words, self._uniform(tf.shape(ids)), -1.0), axis=1, direction="DESCENDING")
        return tf.cast(tf.argsort(order, axis=1), tf.float32) < count[:, None]

    def _is_ordinary(self) -> Any:
        """Bool [V]: tokens that can be chosen."""
        known = np.zeros(token_embedding(self.model.backbone).input_dim, bool)
        known[self.ordinary] = True
        return tf.constant(known)

    def _uniform(self, shape: Any) -> Any:
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)


def mean(losses: Any) -> Any:
    """float32: the mean of losses [M], and a 0 that can be differentiated where M is 0."""
    return tf.reduce_sum(losses) / tf.maximum(tf.cast(tf.size(losses), tf.float32), 1.0)


def mask_token(model: TextModel) -> int:
    """The id of the token that hides another.

    Raises:
        ValueError: the model has none, or is causal.
    """
    token = getattr(model.tokenizer, "mask_token_id", None)
    if token is None or model.causal:
        raise ValueError(
            f"model.text.source: {model.source!r} ({type(model.tokenizer).__name__}) knows no masked tokens, as causal "
            "models do not: masked language modelling needs a model of BERT's kind."
        )
    return int(token)


def special_tokens(model: TextModel) -> np.ndarray:
    """int64: the ids of marks, padding, mask and unknown words."""
    tokenizer = model.tokenizer
    names = ("cls", "sep", "start", "end", "pad", "mask", "unk")
    found = [getattr(tokenizer, f"{name}_token_id", None) for name in names]
    pieces = set(tokenizer.get_vocabulary())
    unknown = [tokenizer.token_to_id(piece) for piece in _UNKNOWN if piece in pieces]
    return np.unique([*(int(one) for one in found if one is not None), *unknown, *tokenizer.special_token_ids])


def token_embedding(backbone: Any) -> Any:
    """The embedding of tokens, which also turns states into logits; wherever in the backbone it sits.

    Raises:
        ValueError: there is none.
    """
    for layer in backbone._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.ReversibleEmbedding):
            return layer
    raise ValueError(f"{backbone.name!r} has no reversible token embedding, which a language model needs.")
