"""Several two-tower models of one data set as one, whose scores are the mean of theirs: their towers side by side.

A mean of products is a product of longer vectors, and a mean of cosines is a cosine of longer ones. What is made is a
`TwoTower` like any other: it is measured, saved and exported as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tfrec.retrieval.item_vectors import unit
from tfrec.retrieval.new_items import NewItems
from tfrec.retrieval.temperature import Temperature
from tfrec.retrieval.two_tower import TwoTower
from tfrec.towers import BehaviorTower, ItemTower


@keras.saving.register_keras_serializable(package="tfrec")
class JoinedItemTower(keras.layers.Layer):
    """The item vectors of several towers, one after the other."""

    def __init__(self, towers: Sequence[ItemTower], *, cosine: bool, **kwargs: Any) -> None:
        """Join the towers.

        Args:
            towers: of one catalogue.
            cosine: whether vectors are compared by their cosine: then each tower's has length 1.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        self.towers, self.cosine = list(towers), cosine
        self.dim, self.items = sum(tower.dim for tower in towers), towers[0].items
        self.text_width, self.categories = towers[0].text_width, towers[0].categories
        self.ids = False  # Those of the towers are no one table, and nothing is lent or attacked here.

    def build(self, input_shape: Any = None) -> None:
        """Create the weights of the towers that have none yet."""
        for tower in self.towers:
            if not tower.built:
                tower.build()
        for name in ("trained", "identified"):
            setattr(self, name, self.add_weight((self.items, 1), initializer="ones", trainable=False, name=name))
        self.built = True

    @property
    def tables(self) -> list[Any]:
        """The variables that hold the catalogue."""
        return [self.trained, self.identified, *(table for tower in self.towers for table in tower.tables)]

    @property
    def text(self) -> Any:
        """The text vectors of the catalogue, which all towers read."""
        return self.towers[0].text

    def is_new(self, rows: Any = None) -> Any:
        """See `ItemTower.is_new`."""
        return self.towers[0].is_new(rows)

    def call(self, rows: Any = None, training: bool = False, text: Any = None) -> Any:
        """See `ItemTower.call`."""
        found = [tower(rows, training=training, text=text) for tower in self.towers]
        return ops.concatenate([unit(each) for each in found] if self.cosine else found, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        towers = [keras.saving.serialize_keras_object(tower) for tower in self.towers]
        return {**super().get_config(), "towers": towers, "cosine": self.cosine}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> JoinedItemTower:
        """Rebuild the towers."""
        return cls(**{**config, "towers": [keras.saving.deserialize_keras_object(each) for each in config["towers"]]})


@keras.saving.register_keras_serializable(package="tfrec")
class JoinedBehaviorTower(keras.layers.Layer):
    """The states of several towers, one after the other, each from its own part of the items' vectors."""

    def __init__(self, towers: Sequence[BehaviorTower], *, cosine: bool, **kwargs: Any) -> None:
        """Join the towers.

        Args:
            towers: of the same inputs.
            cosine: whether states are compared by their cosine: then each tower's has length 1. Else they are divided
                by the number of towers, so that scores are means.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        self.towers, self.cosine, self.dim = list(towers), cosine, sum(tower.dim for tower in towers)
        first = towers[0]
        self.event_columns, self.user_columns = first.event_columns, first.user_columns
        self.timestamps, self.text_width = first.timestamps, first.text_width

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights of the towers that have none yet; `input_shape` is (B, T, D)."""
        for tower in self.towers:
            if not tower.built:
                tower.build((*input_shape[:-1], tower.dim))
        self.built = True

    @property
    def input_spec_dict(self) -> dict[str, Any]:
        """See `BehaviorTower.input_spec_dict`."""
        return self.towers[0].input_spec_dict

    def call(self, vectors: Any, context: Mapping[str, Any] | None = None, training: bool = False) -> Any:
        """See `BehaviorTower.call`."""
        found, start = [], 0
        for tower in self.towers:
            own = vectors[..., start : start + tower.dim]
            own = own if self.cosine else own * (tower.dim / self.dim) ** 0.5  # As the tower alone has them scaled.
            found.append(ops.cast(tower(own, context, training=training), "float32"))
            start += tower.dim
        if self.cosine:
            return ops.concatenate([unit(states) for states in found], axis=-1)
        return ops.concatenate(found, axis=-1) / len(found)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        towers = [keras.saving.serialize_keras_object(tower) for tower in self.towers]
        return {**super().get_config(), "towers": towers, "cosine": self.cosine}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> JoinedBehaviorTower:
        """Rebuild the towers."""
        return cls(**{**config, "towers": [keras.saving.deserialize_keras_object(each) for each in config["towers"]]})


def joined(models: Sequence[TwoTower]) -> TwoTower:
    """One model whose score of an item is the mean of the models' scores.

    Learnt temperatures become one, that of the mean factor: with `cosine` their models still count alike.

    Args:
        models: trained, of one data set and of the same settings but for the seed; what new items are lent they have.

    Raises:
        ValueError: there is none.
    """
    if not models:
        raise ValueError("`models` must hold at least one model; received none.")
    first, cosine = models[0], models[0].similarity == "cosine"
    items = JoinedItemTower([model.item_tower for model in models], cosine=cosine, name="item_tower")
    behavior = JoinedBehaviorTower([model.behavior_tower for model in models], cosine=cosine, name="behavior_tower")
    factor = sum(1 / model.temperature.value for model in models) / len(models)
    found = _like(first, items, behavior, 1 / factor)
    items.trained.assign(first.item_tower.trained)
    return found


def members(model: TwoTower) -> list[TwoTower]:
    """The models that `joined` was made of, with one temperature for all; none of a model of its own."""
    if not isinstance(model.item_tower, JoinedItemTower):
        return []
    pairs = zip(model.item_tower.towers, model.behavior_tower.towers, strict=True)
    return [_like(model, items, behavior, model.temperature.value) for items, behavior in pairs]


def _like(model: TwoTower, items: Any, behavior: Any, temperature: float) -> TwoTower:
    """Other towers under the rules of a model."""
    return TwoTower(
        items,
        behavior,
        model.objective,
        candidates=model.candidates,
        similarity=model.similarity,
        temperature=Temperature(temperature),
        cutoff=model.cutoff,
        new_items=NewItems(0, model.new_items.bonus),  # The towers have what was lent.
        name=model.name,
    )
