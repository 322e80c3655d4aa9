"""Several rankers of one data set as one, which predicts what the mean of their logits says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrec.ranking.candidate_context import CandidateContext
from tfrec.ranking.heads import Head
from tfrec.ranking.ranker import Encoder, Ranker
from tfrec.towers import BehaviorTower, ItemTower


@keras.saving.register_keras_serializable(package="tfrec")
class RankerEnsemble(keras.Model):
    """Called and asked as a `Ranker` is; it is made of trained ones, and does not train.

    The mean is taken before the sigmoid: a mean of probabilities would be too cautious, and needs the same setting
    right of a weighted head.
    """

    def __init__(self, members: Sequence[Ranker], **kwargs: Any) -> None:
        """Join the rankers.

        Args:
            members: trained, of one data set and of the same settings but for the seed; at least one.
            **kwargs: as for any Keras model.

        Raises:
            ValueError: there is none.
        """
        super().__init__(**kwargs)
        if not members:
            raise ValueError("`members` must hold at least one ranker; received none.")
        self.members = list(members)
        self.built = True

    @property
    def heads(self) -> list[Head]:
        """A head a label; what it makes of logits is the same for all members."""
        return self.members[0].heads

    @property
    def item_tower(self) -> ItemTower:
        """That of the first member: the catalogue is the same for all of them, and so are the inputs below."""
        return self.members[0].item_tower

    @property
    def behavior_tower(self) -> BehaviorTower:
        """That of the first member."""
        return self.members[0].behavior_tower

    @property
    def context(self) -> CandidateContext | None:
        """That of the first member."""
        return self.members[0].context

    @property
    def input_spec_dict(self) -> dict[str, tf.TensorSpec]:
        """The features that predictions are made from."""
        return self.members[0].input_spec_dict

    def item_vectors(self) -> Any:
        """The members' item vectors side by side, float [I, sum of their widths]."""
        return ops.concatenate([member.item_tower() for member in self.members], axis=-1)

    @property
    def left_behind(self) -> list[keras.layers.Layer]:
        """Parts that predictions from given item vectors do not read."""
        return [part for member in self.members for part in member.left_behind]

    def call(self, features: Mapping[str, Any], training: bool = False, item_vectors: Encoder = None) -> dict[str, Any]:
        """Mean logits of each candidate by the label's name, float32 [B, C]; see `Ranker.call`.

        `item_vectors` gives vectors as `item_vectors` of this class does.
        """
        found = []
        for place, member in enumerate(self.members):
            of_member = None if item_vectors is None else self._part(item_vectors, place)
            found.append(member(features, training=training, item_vectors=of_member))
        return {head.name: sum(each[head.name] for each in found) / len(found) for head in self.heads}

    def _part(self, item_vectors: Callable[[Any], Any], place: int) -> Callable[[Any], Any]:
        widths = [member.item_tower.dim for member in self.members]
        first = sum(widths[:place])
        return lambda rows: item_vectors(rows)[:, first : first + widths[place]]

    def predictions(self, features: Mapping[str, Any], item_vectors: Encoder = None) -> dict[str, Any]:
        """What is predicted of each candidate, by the label's name, float32 [B, C]: probabilities, ratings."""
        logits = self(features, item_vectors=item_vectors)
        return {head.name: head.value(logits[head.name]) for head in self.heads}

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights."""
        members = [keras.saving.serialize_keras_object(member) for member in self.members]
        return {**super().get_config(), "members": members}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RankerEnsemble:
        """Rebuild the members, their weights at their initial values."""
        made = [keras.saving.deserialize_keras_object(each, custom_objects) for each in config["members"]]
        return cls(**{**config, "members": made})
