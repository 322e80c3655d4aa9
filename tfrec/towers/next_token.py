"""Next-token prediction over a causal text model such as GPT-2: what pretrains a text tower of that family."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrec.towers.masked_language import mean, token_embedding
from tfrec.towers.text_models import TextModel


class NextTokenModel(keras.layers.Layer):
    """Asks the backbone at each token for the next one, the closing mark included (Radford et al., GPT-2, 2019).

    It has no weights: the backbone's token embedding turns states into logits, and belongs to the model around. The
    first token of a text is asked of nobody. The methods are those of `MaskedLanguageModel`.

    Attributes:
        rounds: how often a text is asked where few have to give a steady figure: once, since nothing is drawn.
        answers: how many tokens there are to be told apart.
    """

    rounds = 1

    def __init__(self, model: TextModel, **kwargs: Any) -> None:
        """Take the model; `kwargs` are as for any Keras layer.

        Raises:
            ValueError: the model is not causal, or has no token embedding.
        """
        if not model.causal:
            raise ValueError(
                f"model.text.source: {model.source!r} ({type(model.backbone).__name__}) is not causal: each token "
                "reads the next ones, and could not be asked for them. Use masked language modelling."
            )
        super().__init__(**{"dtype": "float32", **kwargs})
        self.model, self.answers = model, int(token_embedding(model.backbone).input_dim)
        self.built = True

    def loss(self, ids: Any, lengths: Any, training: bool = False) -> Any:
        """float32: the mean cross-entropy over all tokens but the first of each text; 0 where there is none."""
        return mean(self.losses(*self.examples(ids, lengths), training=training))

    def examples(self, ids: Any, lengths: Any) -> tuple[Any, Any, Any, Any]:
        """Pair each token with the next one.

        Returns:
            The ids int32 [N, T] and lengths int32 [N] as they are, the places of the M tokens that another one follows
            in the flattened ids, int32 [M], and what follows, int32 [M].
        """
        followed = tf.pad(self.targets(ids, lengths)[:, 1:], [[0, 0], [0, 1]])
        places = tf.cast(tf.where(tf.reshape(followed, [-1]))[:, 0], tf.int32)
        return ids, lengths, places, tf.gather(tf.reshape(ids, [-1]), places + 1)

    def targets(self, ids: Any, lengths: Any) -> Any:
        """Bool [N, T]: the tokens that are asked for: all but the first."""
        real = tf.sequence_mask(lengths, tf.shape(ids)[1])
        return real & (tf.range(tf.shape(ids)[1]) > 0)

    def losses(self, ids: Any, lengths: Any, places: Any, truth: Any, training: bool = False) -> Any:
        """float32 [M]: the cross-entropy of each asked token; arguments as `examples` returns them."""
        states = self.model.states(ids, lengths, training)
        states = tf.gather(tf.reshape(states, [-1, states.shape[-1]]), places)
        logits = tf.cast(token_embedding(self.model.backbone)(states, reverse=True), tf.float32)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
